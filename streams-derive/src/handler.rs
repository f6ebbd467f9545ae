//! `#[event_handler]`, `#[interjection]`, `#[default_handler]`: the function as written, and a twin type of
//! the same name (types and functions live in separate namespaces) that carries its types and calls it.
use crate::diagnostics::{Errors, did_you_mean, list};
use crate::duration;
use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use std::time::Duration;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Attribute, FnArg, LitStr, PatType, ReturnType, Signature, Token, Type, Visibility};

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Event,
    Interjection,
    Default,
}

impl Kind {
    pub(crate) fn of(attr: &Attribute) -> Option<Self> {
        match attr.path().segments.last()?.ident.to_string().as_str() {
            "event_handler" => Some(Self::Event),
            "interjection" => Some(Self::Interjection),
            "default_handler" => Some(Self::Default),
            _ => None,
        }
    }
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Event => &[],
            Self::Interjection => &["every", "jitter"],
            Self::Default => &[],
        }
    }
    /// The whole legal form, shown once.
    fn form(self) -> &'static str {
        match self {
            Self::Event => {
                "fn name(ctx: &mut EventContext<Store>, event: Payload) -> Result<ExecutionState>"
            }
            Self::Interjection => {
                "fn name(ctx: &mut EventContext<Store>, at: SystemTime) -> Result<ExecutionState>"
            }
            Self::Default => {
                "fn name(ctx: &mut EventContext<Store>, record: &Record) -> Result<ExecutionState>"
            }
        }
    }
}

/// A function of which only the signature is parsed: the body passes through untouched, half-typed or not.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: TokenTree,
}

impl Parse for Function {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        Ok(Self {
            attrs: input.call(Attribute::parse_outer)?,
            vis: input.parse()?,
            sig: input.parse()?,
            body: body(input)?,
        })
    }
}

pub(crate) fn body(input: ParseStream) -> syn::Result<TokenTree> {
    match input.parse::<TokenTree>()? {
        TokenTree::Group(g) if g.delimiter() == Delimiter::Brace => Ok(TokenTree::Group(g)),
        other => Err(syn::Error::new(other.span(), "a handler needs a body")),
    }
}

impl ToTokens for Function {
    fn to_tokens(&self, out: &mut TokenStream) {
        self.attrs.iter().for_each(|a| a.to_tokens(out));
        self.vis.to_tokens(out);
        self.sig.to_tokens(out);
        self.body.to_tokens(out);
    }
}

/// What the attribute says. `None`: not said, or said wrongly and already reported.
#[derive(Default)]
struct Options {
    record_type: Option<LitStr>,
    every: Option<Duration>,
    jitter: Option<Duration>,
}

fn options(kind: Kind, at: Span, attr: TokenStream, errors: &mut Errors) -> Options {
    let mut o = Options::default();
    if kind == Kind::Event && attr.is_empty() {
        errors.at(at, "name the record type: `#[event_handler(\"CreateContact\")]`");
        return o;
    }
    let parser = |input: ParseStream| {
        let mut seen: Vec<String> = vec![];
        if kind == Kind::Event {
            match input.parse::<LitStr>() {
                Ok(l) => o.record_type = Some(l),
                Err(e) => {
                    return Err(syn::Error::new(
                        e.span(),
                        "name the record type first: `#[event_handler(\"CreateContact\")]`",
                    ));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        while !input.is_empty() {
            let name = input.call(Ident::parse_any)?;
            if seen.contains(&name.to_string()) {
                errors.at(name.span(), format!("`{name}` is given twice"));
            }
            seen.push(name.to_string());
            let value: TokenStream = if input.peek(Token![=]) {
                input.parse::<Token![=]>()?;
                let mut t = TokenStream::new();
                while !input.is_empty() && !input.peek(Token![,]) {
                    t.extend([input.parse::<TokenTree>()?]);
                }
                t
            } else {
                TokenStream::new()
            };
            option(kind, &name, value, &mut o, errors);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(())
    };
    if let Err(e) = parser.parse2(attr) {
        errors.push(e);
    }
    o
}

fn option(kind: Kind, name: &Ident, value: TokenStream, o: &mut Options, errors: &mut Errors) {
    let at = if value.is_empty() { name.span() } else { value.span() };
    let duration = |errors: &mut Errors| match syn::parse2::<LitStr>(value.clone()) {
        Ok(l) => errors.ok(duration::parse(&name.to_string(), &l)),
        Err(_) => {
            errors.at(at, format!("`{name}` takes a duration in quotes: `{name} = \"1s\"`"));
            None
        }
    };
    match (kind, name.to_string().as_str()) {
        (Kind::Interjection, "every") => o.every = duration(errors),
        (Kind::Interjection, "jitter") => {
            o.jitter = duration(errors);
            if let (Some(e), Some(j)) = (o.every, o.jitter)
                && j > e
            {
                errors.at(at, "`jitter` must not be longer than `every`");
            }
        }
        (_, wrong) => {
            let known = kind.options();
            let near = did_you_mean(wrong, known.iter().copied())
                .map(|n| format!(", did you mean `{n}`?"))
                .unwrap_or_default();
            let hint = match known {
                [] => "it takes none".to_owned(),
                known => format!("the options are {}", list(known.iter().copied())),
            };
            errors.at(name.span(), format!("unknown option `{wrong}`{near}\n{hint}"));
        }
    }
}

/// A handler as the source sees it: tokens, because they pass through the contract's own macro.
pub(crate) struct Expanded {
    /// The function as written, errors, and the twin.
    pub(crate) items: TokenStream,
    /// `{kind state name span-carriers}`; the path is put before it by whoever knows it.
    pub(crate) meta: TokenStream,
    pub(crate) ident: Ident,
    pub(crate) vis: Visibility,
}

pub(crate) fn standalone(kind: Kind, attr: TokenStream, item: TokenStream) -> TokenStream {
    let mut f: Function = match syn::parse2(item.clone()) {
        Ok(f) => f,
        Err(e) => {
            let e =
                syn::Error::new(e.span(), format!("a handler is a function: `{}`", kind.form()))
                    .to_compile_error();
            return quote!(#item #e);
        }
    };
    let twin_vis = at_most_crate(&f.vis);
    let e = expand(kind, Span::call_site(), attr, &mut f, twin_vis);
    let (items, meta, ident, vis) = (e.items, e.meta, e.ident, at_most_crate(&e.vis));
    if f.sig.receiver().is_some() {
        return items; // in an `impl`, where nothing else may stand
    }
    let helper = format_ident!("__handler_{}", ident);
    let row = quote!([$($rows)* {{$($me)*} #meta}]);
    // Called with the handlers still to ask, what they said so far, and the rest: it adds its own row.
    quote! {
        #items
        #[doc(hidden)] #[allow(unused_macros)]
        macro_rules! #helper {
            ([{$($next:tt)*} $($todo:tt)*] {$($me:tt)*} [$($rows:tt)*] $($rest:tt)*) => { $($next)*! { [$($todo)*] {$($next)*} #row $($rest)* } };
            ([] {$($me:tt)*} [$($rows:tt)*] {$($contract:tt)*} $($rest:tt)*) => { $($contract)*! { {::streams_core::__wire} #row {$($contract)*} $($rest)* } };
        }
        #[doc(hidden)] #[allow(unused_imports)] #vis use #helper as #ident;
    }
}

/// A macro without `#[macro_export]` can be re-exported inside its crate only.
fn at_most_crate(vis: &Visibility) -> Visibility {
    match vis {
        Visibility::Public(p) => syn::parse_quote_spanned!(p.span() => pub(crate)),
        other => other.clone(),
    }
}

pub(crate) fn expand(
    kind: Kind,
    at: Span,
    attr: TokenStream,
    f: &mut Function,
    twin_vis: Visibility,
) -> Expanded {
    let mut errors = Errors::default();
    let o = options(kind, at, attr, &mut errors);
    let shape = shape(kind, &o, &f.sig, &mut errors);
    let ident = f.sig.ident.clone();
    let (state, twin) = match &shape {
        Some(s) if errors.is_empty() => {
            (format_ident!("whole"), expand_twin(kind, &o, s, f, &twin_vis))
        }
        _ => (format_ident!("broken"), TokenStream::new()),
    };
    let kind_ident = match kind {
        Kind::Event => format_ident!("event"),
        Kind::Interjection => format_ident!("interjection"),
        Kind::Default => format_ident!("default"),
    };
    let name = o.record_type.clone().unwrap_or_else(|| LitStr::new("", ident.span()));
    // Carriers: identifiers whose only content is the place of the user's token.
    let none = ident.to_token_stream();
    let (ctx, payload) = shape.map_or_else(
        || (none.clone(), none.clone()),
        |s| (s.ctx.into_token_stream(), s.payload.into_token_stream()),
    );
    let (ctx, payload) = (carriers("ctx", ctx), carriers("payload", payload));
    let cfgs = f
        .attrs
        .iter()
        .filter(|a| a.path().is_ident("cfg"))
        .filter_map(|a| a.meta.require_list().ok())
        .map(|l| &l.tokens);
    let meta = quote!(#kind_ident #state #name #ctx #payload #({#cfgs})*);
    let (items, vis) = (errors.tokens(), f.vis.clone());
    Expanded { items: quote!(#f #items #twin), meta, ident, vis }
}

fn carriers(name: &str, of: TokenStream) -> TokenStream {
    let mut spans = of.into_iter().map(|t| t.span());
    let first = spans.next().unwrap_or_else(Span::call_site);
    let (from, to) = (Ident::new(name, first), Ident::new(name, spans.last().unwrap_or(first)));
    quote!(#from #to)
}

/// The signature's valid form.
struct Shape {
    ctx: Type,
    payload: Type,
    output: Type,
}

fn shape(kind: Kind, o: &Options, sig: &Signature, errors: &mut Errors) -> Option<Shape> {
    let before = errors.tokens().to_string().len();
    let form = kind.form();
    if let Some(keyword) = sig.asyncness {
        errors.at(
            keyword.span,
            format!(
                "a handler holds the partition's store, so it can't be `async`\n\
                 take `ctx.completer()` into a task of your own, return `Ok(Incomplete)`, and \
                 write `{form}`"
            ),
        );
        return None;
    }
    if let Some(p) = sig.generics.type_params().next() {
        errors.at(p.span(), "a handler can't be generic: each record type has one payload type");
    }
    if let Some(r) = sig.receiver() {
        errors.at(r.span(), format!("a handler is a free function: `self` isn't there, state is in the store\nwrite `{form}`"));
        return None;
    }
    if kind == Kind::Interjection && o.every.is_none() && errors.is_empty() {
        errors.at(sig.ident.span(), "how often does it run? `#[interjection(every = \"1s\")]`");
    }
    let args: Vec<&PatType> = sig
        .inputs
        .iter()
        .filter_map(|a| if let FnArg::Typed(t) = a { Some(t) } else { None })
        .collect();
    let (ctx, payload) = match args.as_slice() {
        [c, p] => (&*c.ty, &*p.ty),
        few if few.len() < 2 => {
            errors.at(
                sig.paren_token.span.join(),
                format!(
                    "`{}` takes too few arguments ({} of 2)\nwrite `{form}`",
                    sig.ident,
                    few.len()
                ),
            );
            return None;
        }
        [_, _, more, ..] => {
            errors.at(
                more.span(),
                format!(
                    "`{}` takes too many arguments ({} of 2)\nwrite `{form}`",
                    sig.ident,
                    args.len()
                ),
            );
            return None;
        }
        _ => return None,
    };
    if let (false, Type::Reference(p)) = (matches!(ctx, Type::Reference(_)), payload)
        && p.mutability.is_some()
    {
        errors.on(&sig.inputs, format!("the arguments are in the wrong order\nwrite `{form}`"));
        return None;
    }
    let ctx = match ctx {
        Type::Reference(r) if r.mutability.is_some() => Some((*r.elem).clone()),
        other => {
            errors.on(
                other,
                format!("the first argument must be `&mut EventContext<Store>`\nwrite `{form}`"),
            );
            None
        }
    };
    let payload = match (kind, payload) {
        (Kind::Default, Type::Reference(r)) => Some((*r.elem).clone()),
        (Kind::Default, other) => {
            errors.on(other, format!("a default handler takes the raw `&Record`\nwrite `{form}`"));
            None
        }
        (_, Type::Reference(r)) => {
            errors.on(r, format!("a handler takes its event by value\nwrite `{form}`"));
            None
        }
        (_, other) => Some(other.clone()),
    };
    let output = match &sig.output {
        ReturnType::Type(_, t) => Some((**t).clone()),
        ReturnType::Default => {
            errors.at(
                sig.paren_token.span.close(),
                format!("`{}` returns nothing: is the event complete?\nwrite `{form}`", sig.ident),
            );
            None
        }
    };
    (errors.tokens().to_string().len() == before).then_some(())?;
    Some(Shape { ctx: ctx?, payload: payload?, output: output? })
}

fn expand_twin(kind: Kind, o: &Options, s: &Shape, f: &Function, vis: &Visibility) -> TokenStream {
    let ident = &f.sig.ident;
    let (ctx, payload, output) = (&s.ctx, &s.payload, &s.output);
    let cfgs: Vec<_> = f.attrs.iter().filter(|a| a.path().is_ident("cfg")).collect();
    let outcome =
        quote_spanned!(output.span() => <#output as ::streams_core::IntoOutcome>::into_outcome);
    let p = quote!(::streams_core::__private);
    let borrowed = crate::events::rename_lifetimes(quote!(#payload));
    let body = match kind {
        Kind::Event => quote! {
            impl #p::Handler for #ident {
                type Context = #ctx;
                type Payload<'record> = #borrowed;
                fn call(ctx: &mut Self::Context, payload: Self::Payload<'_>) -> ::streams_core::Outcome { #outcome(#ident(ctx, payload)) }
            }
        },
        Kind::Interjection => {
            let every = o.every.unwrap_or_default().as_millis() as u64;
            let jitter = o.jitter.unwrap_or_default().as_millis() as u64;
            let at = quote_spanned!(payload.span() => <#payload as #p::IsTime>::from_system(at));
            quote! {
                impl #p::InterjectionHandler for #ident {
                    type Context = #ctx;
                    const EVERY: ::core::time::Duration = ::core::time::Duration::from_millis(#every);
                    const JITTER: ::core::time::Duration = ::core::time::Duration::from_millis(#jitter);
                    fn call(ctx: &mut Self::Context, at: ::std::time::SystemTime) -> ::streams_core::Outcome { #outcome(#ident(ctx, #at)) }
                }
            }
        }
        Kind::Default => {
            let record =
                quote_spanned!(payload.span() => <#payload as #p::IsRecord>::from_record(record));
            quote! {
                impl #p::DefaultHandler for #ident {
                    type Context = #ctx;
                    fn call(ctx: &mut Self::Context, record: &::streams_core::Record) -> ::streams_core::Outcome { #outcome(#ident(ctx, #record)) }
                }
            }
        }
    };
    quote! {
        #(#cfgs)* #[doc(hidden)] #[allow(non_camel_case_types)] #vis struct #ident {}
        #(#cfgs)* #body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emitted(kind: Kind, attr: &str, item: &str) -> (String, String) {
        let attr: TokenStream = attr.parse().expect("tokens");
        let item: TokenStream = item.parse().expect("tokens");
        let mut f: Function = syn::parse2(item.clone()).expect("a function");
        let e = expand(kind, Span::call_site(), attr, &mut f, Visibility::Inherited);
        (item.to_string(), e.items.to_string())
    }

    /// Half-typed, not even an expression: the body is the user's, and so is its error.
    #[test]
    fn the_function_is_emitted_as_written() {
        for (attr, item) in [
            (
                "\"A\"",
                "fn a(ctx: &mut EventContext<S>, p: P) -> Result<ExecutionState> { let x = p. ; }",
            ),
            (
                "\"A\", wrong = 1",
                "pub(crate) fn a(ctx: &mut EventContext<S>, p: P) -> Result<ExecutionState> { match }",
            ),
            ("", "async fn a() { }"),
        ] {
            let (written, items) = emitted(Kind::Event, attr, item);
            let squeeze = |s: &str| s.replace(char::is_whitespace, "");
            assert!(squeeze(&items).starts_with(&squeeze(&written)), "{items}");
        }
    }
}
