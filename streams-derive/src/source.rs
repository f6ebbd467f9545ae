//! `#[event_source]` on a module collects its handlers; on a unit struct it takes `handlers = [..]`. Both end in
//! `wire`, which sees the contract's record types and every handler's row.
use crate::diagnostics::{Errors, did_you_mean, list};
use crate::handler::{self, Function, Kind};
use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Attribute, LitInt, LitStr, Path, Token, Visibility, braced, bracketed};

const OPTIONS: [&str; 3] = ["events", "store", "handlers"];

#[derive(Default)]
struct Args {
    events: Option<Path>,
    store: Option<Path>,
    handlers: Vec<Path>,
}

fn args(attr: TokenStream, errors: &mut Errors) -> Args {
    let mut a = Args::default();
    let parser = |input: ParseStream| {
        while !input.is_empty() {
            let name = input.call(Ident::parse_any)?;
            input.parse::<Token![=]>()?;
            match name.to_string().as_str() {
                "events" => a.events = Some(input.parse()?),
                "store" => a.store = Some(input.parse()?),
                "handlers" => {
                    let content;
                    bracketed!(content in input);
                    a.handlers =
                        content.parse_terminated(Path::parse, Token![,])?.into_iter().collect();
                }
                wrong => {
                    let near = did_you_mean(wrong, OPTIONS)
                        .map(|n| format!(", did you mean `{n}`?"))
                        .unwrap_or_default();
                    return Err(syn::Error::new(
                        name.span(),
                        format!(
                            "unknown option `{wrong}`{near}\nthe options are {}",
                            list(OPTIONS)
                        ),
                    ));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(())
    };
    if let Err(e) = parser.parse2(attr) {
        errors.push(e);
    } else if a.events.is_none() {
        errors.at(Span::call_site(), "which contract does it consume? `events = ContactEvent`");
    } else if a.store.is_none() {
        errors.at(Span::call_site(), "where is its state? `store = ContactStore`; `store = ()` is not needed: `NoStore` keeps none");
    }
    a
}

enum Item {
    Module {
        attrs: Vec<Attribute>,
        vis: Visibility,
        mod_token: Token![mod],
        ident: Ident,
        content: Group,
    },
    Struct {
        ident: Ident,
    },
}

impl Parse for Item {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        if input.peek(Token![struct]) {
            input.parse::<Token![struct]>()?;
            let ident = input.parse()?;
            input.parse::<Token![;]>()?;
            return Ok(Self::Struct { ident });
        }
        let mod_token = input.parse()?;
        let ident: Ident = input.parse()?;
        match input.parse()? {
            TokenTree::Group(content) if content.delimiter() == Delimiter::Brace => {
                Ok(Self::Module { attrs, vis, mod_token, ident, content })
            }
            t => Err(syn::Error::new(
                t.span(),
                format!(
                    "the handlers in another file can't be seen from here\nwrite `#[event_source(.., handlers = [{ident}::create, ..])] struct Source;`"
                ),
            )),
        }
    }
}

pub(crate) fn attribute(attr: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let args = args(attr, &mut errors);
    let parsed = match syn::parse2::<Item>(item.clone()) {
        Ok(i) => i,
        Err(e) => {
            errors.push(e);
            let errors = errors.tokens();
            return quote!(#item #errors);
        }
    };
    let (emitted, source, rows, span) = match parsed {
        Item::Struct { ident } => (item, quote!(#ident), vec![], ident.span()),
        Item::Module { attrs, vis, mod_token, ident, content } => {
            let (items, rows) = collect(content.stream(), &ident);
            // As visible as the module: the contract and the store may be private too.
            let source_vis = outward(&vis);
            let mut group = Group::new(
                Delimiter::Brace,
                quote! {
                    #items
                    /// The event source that this module's handlers make up.
                    #[derive(Clone, Copy, Debug, Default)]
                    #source_vis struct Source;
                },
            );
            group.set_span(content.span());
            (
                quote!(#(#attrs)* #vis #mod_token #ident #group),
                quote!(#ident::Source),
                rows,
                ident.span(),
            )
        }
    };
    let (Some(events), Some(store), true) = (&args.events, &args.store, errors.is_empty()) else {
        let errors = errors.tokens();
        return quote!(#emitted #errors);
    };
    // `events = Readings<'_>`: the macro has the bare name, the type takes any lifetime.
    let events_type = if events.to_token_stream().to_string().contains('\'') {
        any_lifetime(events.to_token_stream())
    } else {
        events.to_token_stream()
    };
    let mut events = events.clone();
    if let Some(last) = events.segments.last_mut() {
        last.arguments = syn::PathArguments::None;
    }
    let span = quote_spanned!(span => source);
    let context = quote!({#events} {#store} #span);
    let table = match args.handlers.as_slice() {
        // Everything is known: straight to the contract.
        [] => quote!(#events! { {::streams_core::__wire} [#(#rows)*] #context }),
        // Each listed handler adds its row and calls the next, the last one the contract.
        [first, rest @ ..] => quote!(#first! { [#({#rest})*] {#first} [#(#rows)*] #context }),
    };
    // In expression position, so that a contract or handler that isn't one leaves the impl standing.
    let type_events = quote_spanned!(events.span() => type Events = #events_type;);
    let type_store = quote_spanned!(store.span() => type Store = #store;);
    quote! {
        #emitted
        impl ::streams_core::EventSource for #source {
            #type_events
            #type_store
            const TABLE: ::streams_core::RoutingTable<#store> = #table;
        }
    }
}

fn any_lifetime(tokens: TokenStream) -> TokenStream {
    tokens
        .into_iter()
        .map(|t| match t {
            TokenTree::Ident(i) if i == "_" => TokenTree::Ident(Ident::new("static", i.span())),
            t => t,
        })
        .collect()
}

/// The same visibility, said from one module further in.
fn outward(vis: &Visibility) -> Visibility {
    match vis {
        Visibility::Inherited => syn::parse_quote!(pub(super)),
        v => v.clone(),
    }
}

/// Items pass through as tokens; only a function under one of our attributes is looked at.
fn collect(content: TokenStream, module: &Ident) -> (TokenStream, Vec<TokenStream>) {
    let mut rows = vec![];
    let parser = |input: ParseStream| {
        let mut out = TokenStream::new();
        while !input.is_empty() {
            if input.peek(Token![#]) && !input.peek2(Token![!]) {
                let mut attrs = input.call(Attribute::parse_outer)?;
                if let Some(i) = attrs.iter().position(|a| Kind::of(a).is_some()) {
                    let ahead = input.fork();
                    if let (Ok(_), Ok(_)) =
                        (ahead.parse::<Visibility>(), ahead.parse::<syn::Signature>())
                        && ahead.peek(syn::token::Brace)
                    {
                        let attr = attrs.remove(i);
                        let kind = Kind::of(&attr).unwrap_or(Kind::Event);
                        let mut f = Function {
                            attrs,
                            vis: input.parse()?,
                            sig: input.parse()?,
                            body: handler::body(input)?,
                        };
                        let tokens = match &attr.meta {
                            syn::Meta::List(l) => l.tokens.clone(),
                            _ => TokenStream::new(),
                        };
                        let vis = outward(&f.vis);
                        let e = handler::expand(kind, attr.path().span(), tokens, &mut f, vis);
                        out.extend(e.items);
                        let (ident, meta) = (e.ident, e.meta);
                        rows.push(quote!({{#module::#ident} #meta}));
                        continue;
                    }
                }
                // Not a function: the attribute itself says so when it is expanded.
                attrs.iter().for_each(|a| a.to_tokens(&mut out));
            } else {
                out.extend([input.parse::<TokenTree>()?]);
            }
        }
        Ok(out)
    };
    match parser.parse2(content.clone()) {
        Ok(out) => (out, rows),
        Err(e) => {
            let e = e.to_compile_error();
            (quote!(#content #e), vec![])
        }
    }
}

struct Variant {
    wire: LitStr,
    ident: Ident,
    payload: String,
    index: usize,
}

struct Row {
    path: TokenStream,
    kind: String,
    whole: bool,
    name: LitStr,
    ctx: (Span, Span),
    payload: (Span, Span),
    /// `#[cfg(..)]` of the handler, unevaluated: the module's macro runs before they are.
    cfgs: Vec<TokenStream>,
}

struct Wire {
    contract: String,
    whole: bool,
    variants: Vec<Variant>,
    rows: Vec<Row>,
    events: TokenStream,
    store: TokenStream,
    at: Span,
}

fn braces(input: ParseStream) -> syn::Result<TokenStream> {
    let content;
    braced!(content in input);
    content.parse()
}

impl Parse for Wire {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let (c, list);
        braced!(c in input);
        let contract = c.parse::<LitStr>()?.value();
        let whole = c.parse::<Ident>()? == "whole";
        let borrows = c.parse::<Ident>()? == "borrows";
        bracketed!(list in c);
        let mut variants = vec![];
        while !list.is_empty() {
            let v;
            syn::parenthesized!(v in list);
            variants.push(Variant {
                wire: v.parse()?,
                ident: v.parse()?,
                payload: v.parse::<LitStr>()?.value(),
                index: v.parse::<LitInt>()?.base10_parse()?,
            });
        }
        let list;
        bracketed!(list in input);
        let mut rows = vec![];
        while !list.is_empty() {
            let r;
            braced!(r in list);
            rows.push(Row {
                path: braces(&r)?,
                kind: r.parse::<Ident>()?.to_string(),
                whole: r.parse::<Ident>()? == "whole",
                name: r.parse()?,
                ctx: (r.parse::<Ident>()?.span(), r.parse::<Ident>()?.span()),
                payload: (r.parse::<Ident>()?.span(), r.parse::<Ident>()?.span()),
                cfgs: {
                    let mut c = vec![];
                    while r.peek(syn::token::Brace) {
                        c.push(braces(&r)?);
                    }
                    c
                },
            });
        }
        let events = braces(input)?;
        let events = if borrows { quote!(#events<'static>) } else { events };
        Ok(Self {
            contract,
            whole,
            variants,
            rows,
            events,
            store: braces(input)?,
            at: input.parse::<Ident>()?.span(),
        })
    }
}

pub(crate) fn wire(input: TokenStream) -> TokenStream {
    match syn::parse2::<Wire>(input) {
        Ok(w) => {
            let mut errors = Errors::default();
            let routes = verify(&w, &mut errors);
            expand(&w, &routes, &errors)
        }
        Err(e) => e.to_compile_error(),
    }
}

fn verify<'w>(w: &'w Wire, errors: &mut Errors) -> Vec<(&'w Variant, &'w Row)> {
    let mut routes: Vec<(&Variant, &Row)> = vec![];
    let mut unnamed = false;
    let mut default: Option<&Row> = None;
    for row in &w.rows {
        match row.kind.as_str() {
            "event" => {}
            "default" => {
                if let Some(first) = default.replace(row) {
                    errors.at(
                        row.ctx.0,
                        format!(
                            "a source has one default handler, and `{}` is one already",
                            tidy(&first.path)
                        ),
                    );
                }
                continue;
            }
            _ => continue,
        }
        let name = row.name.value();
        if name.is_empty() {
            unnamed = true;
            continue;
        }
        let Some(v) = w.variants.iter().find(|v| v.wire.value() == name) else {
            if w.whole {
                errors.at(row.name.span(), unknown(w, &name));
                // Probably the handler of the one that would now be reported missing.
                unnamed = true;
            }
            continue;
        };
        if let Some((_, first)) = routes
            .iter()
            .find(|(r, o)| r.wire.value() == name && o.cfgs.is_empty() && row.cfgs.is_empty())
        {
            errors.at(row.name.span(), format!("`{name}` has two handlers: `{}` and `{}`\nremove one: a record type has exactly one handler", tidy(&first.path), tidy(&row.path)));
            continue;
        }
        routes.push((v, row));
    }
    let missing: Vec<_> = w
        .variants
        .iter()
        .filter(|v| !routes.iter().any(|(r, _)| r.wire.value() == v.wire.value()))
        .collect();
    if let ([first, ..], true, false, None) = (missing.as_slice(), w.whole, unnamed, default) {
        let names = list(
            missing.iter().map(|v| v.wire.value()).collect::<Vec<_>>().iter().map(String::as_str),
        );
        errors.at(w.at, format!(
            "no handler for {names} of `{}`\nadd `#[event_handler(\"{}\")] fn ..(ctx: &mut EventContext<{}>, event: {}) -> Result<ExecutionState>`, or a `#[default_handler]`",
            w.contract, first.wire.value(), w.store, first.payload,
        ));
    }
    routes
}

fn unknown(w: &Wire, name: &str) -> String {
    let wires: Vec<String> = w.variants.iter().map(|v| v.wire.value()).collect();
    let hint = if let Some(v) = w.variants.iter().find(|v| v.ident == name) {
        format!("`{name}` is the variant, its record type is `{}`", v.wire.value())
    } else if let Some(near) = did_you_mean(name, wires.iter().map(String::as_str)) {
        format!("did you mean `{near}`?")
    } else {
        format!("its record types are {}", list(wires.iter().map(String::as_str)))
    };
    format!("`{name}` is not a record type of `{}`\n{hint}", w.contract)
}

/// `<path as twin>::name`, underlined where the user wrote the type: the first token's place to the last one's.
/// Only paths may have such a span: a local would be looked up with the hygiene of whatever it came through.
fn projection(
    (from, to): (Span, Span),
    path: &TokenStream,
    twin: TokenStream,
    name: &str,
) -> TokenStream {
    let name = Ident::new(name, to);
    let open = quote_spanned!(from => <);
    quote!(#open #path as #twin>::#name)
}

fn tidy(path: &TokenStream) -> String {
    path.to_string().replace(' ', "")
}

fn expand(w: &Wire, routes: &[(&Variant, &Row)], errors: &Errors) -> TokenStream {
    let (events, store) = (&w.events, &w.store);
    let p = quote!(::streams_core::__private);
    let mut checks = TokenStream::new();
    let mut arms = TokenStream::new();
    let mut table = TokenStream::new();
    for (v, row) in routes.iter().filter(|(_, r)| r.whole) {
        let (wire, index, path) = (&v.wire.value(), v.index, &row.path);
        let (payload_trait, payload_name) = (format_ident!("PayloadOf{}", v.ident), &v.payload);
        let message = format!("the payload of `{wire}` is `{payload_name}`, not `{{Self}}`");
        let label = format!("should be `{payload_name}`");
        // One trait a record type: the check is the conversion that the call needs anyway, so it can't be said twice.
        let first = routes.iter().position(|(o, _)| o.wire.value() == *wire)
            == routes.iter().position(|(_, r)| std::ptr::eq(*r, *row));
        checks.extend(first.then(|| quote! {
            #[diagnostic::on_unimplemented(message = #message, label = #label)]
            trait #payload_trait<'record>: Sized { fn take(payload: <#events as #p::Variant<#index>>::Payload<'record>) -> Self; }
            #[diagnostic::do_not_recommend]
            impl<'record> #payload_trait<'record> for <#events as #p::Variant<#index>>::Payload<'record> { #[inline(always)] fn take(payload: Self) -> Self { payload } }
        }));
        let cfgs: Vec<_> = row.cfgs.iter().map(|c| quote!(#[cfg(#c)])).collect();
        let call = {
            let payload = projection(row.payload, path, quote!(#p::Handler), "Payload");
            let lifetime = quote_spanned!(row.payload.1 => <'_>); // the type's last token: it bounds the underline
            let payload = quote!(#payload #lifetime);
            let context = projection(row.ctx, path, quote!(#p::Handler), "Context");
            quote!(<#path as #p::Handler>::call(<#context as ContextOfThisSource>::take(ctx), <#payload as #payload_trait>::take(payload)))
        };
        // A handler that is configured away leaves a hole that only the compiler's own `cfg` can see.
        let alone = routes
            .iter()
            .filter(|(o, _)| o.wire.value() == v.wire.value())
            .all(|(_, r)| !r.cfgs.is_empty());
        if alone && !w.rows.iter().any(|r| r.kind == "default") && !row.cfgs.is_empty() {
            let all: Vec<_> = routes
                .iter()
                .filter(|(o, _)| o.wire.value() == v.wire.value())
                .map(|(_, r)| {
                    let c = &r.cfgs;
                    quote!(all(#(#c),*))
                })
                .collect();
            let message = format!(
                "no handler for `{wire}` in this configuration: the one it has is under `#[cfg]`"
            );
            let hole = quote_spanned!(row.name.span() => ::core::compile_error!(#message););
            checks.extend(quote!(#[cfg(not(any(#(#all),*)))] #hole));
        }
        arms.extend(quote! {
            #(#cfgs)* #wire => match #p::decode::<#events, #index>(record) {
                ::core::result::Result::Ok(payload) => #call,
                ::core::result::Result::Err(e) => ::streams_core::Outcome::Undecodable(e),
            },
        });
        let handler = tidy(path);
        table.extend(quote!(#(#cfgs)* ::streams_core::Route { record_type: #wire, payload: #payload_name, handler: #handler },));
    }
    let default = w.rows.iter().find(|r| r.kind == "default" && r.whole).map_or_else(|| quote!(::streams_core::Outcome::Unrouted), |row| {
        let path = &row.path;
        let context = projection(row.ctx, path, quote!(#p::DefaultHandler), "Context");
        quote!(<#path as #p::DefaultHandler>::call(<#context as ContextOfThisSource>::take(ctx), record))
    });
    let interjections = w.rows.iter().filter(|r| r.kind == "interjection" && r.whole).map(|row| {
        let path = &row.path;
        let context = projection(row.ctx, path, quote!(#p::InterjectionHandler), "Context");
        let cfgs = row.cfgs.iter().map(|c| quote!(#[cfg(#c)]));
        let name = tidy(path);
        quote! {
            #(#cfgs)* ::streams_core::Interjection {
                name: #name,
                every: <#path as #p::InterjectionHandler>::EVERY,
                jitter: <#path as #p::InterjectionHandler>::JITTER,
                call: |ctx, at| <#path as #p::InterjectionHandler>::call(<#context as ContextOfThisSource>::take(ctx), at),
            },
        }
    });
    let context_message = format!("this source keeps its state in `{store}`");
    let context_label = format!("should be `EventContext<{store}>`");
    let errors = errors.tokens();
    quote! {{
        #errors
        #checks
        #[allow(dead_code)]
        #[diagnostic::on_unimplemented(message = #context_message, label = #context_label)]
        trait ContextOfThisSource { fn take(ctx: &mut ::streams_core::EventContext<#store>) -> &mut Self; }
        #[diagnostic::do_not_recommend]
        impl ContextOfThisSource for ::streams_core::EventContext<#store> {
            #[inline(always)] fn take(ctx: &mut ::streams_core::EventContext<#store>) -> &mut Self { ctx }
        }
        fn dispatch(ctx: &mut ::streams_core::EventContext<#store>, record: &::streams_core::Record) -> ::streams_core::Outcome {
            match record.record_type() {
                #arms
                _ => #default,
            }
        }
        ::streams_core::RoutingTable { dispatch, routes: &[#table], interjections: &[#(#interjections)*] }
    }}
}
