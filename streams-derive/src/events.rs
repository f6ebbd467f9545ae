//! `#[derive(Events)]`: the contract. Emits the trait impls, and a macro with the enum's own name that
//! hands the record types to whoever asks (`event_source`), so that a second macro can see them.
use crate::diagnostics::Errors;
use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use std::hash::{DefaultHasher, Hash, Hasher};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Fields, Ident, LitStr, Type, Visibility};

struct Variant {
    ident: Ident,
    wire: LitStr,
    payload: Type,
}

pub(crate) fn derive(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(i) => i,
        Err(e) => return e.to_compile_error(),
    };
    let mut errors = Errors::default();
    let variants = model(&input, &mut errors);
    expand(&input, &variants, &errors)
}

fn model(input: &DeriveInput, errors: &mut Errors) -> Vec<Variant> {
    let data = match &input.data {
        Data::Enum(e) => e,
        Data::Struct(s) => {
            errors.at(s.struct_token.span(), "a contract is an enum, one variant a record type\nwrite `enum ContactEvent { CreateContact(Contact), .. }`");
            return vec![];
        }
        Data::Union(u) => {
            errors.at(u.union_token.span(), "a contract is an enum, one variant a record type");
            return vec![];
        }
    };
    let mut generics = input.generics.params.iter();
    if let Some(p) = generics.find(|p| !matches!(p, syn::GenericParam::Lifetime(_))) {
        errors.at(p.span(), "a contract can't be generic: its record types are fixed");
        return vec![];
    }
    if let Some(second) = input.generics.lifetimes().nth(1) {
        errors.at(second.span(), "a contract has one lifetime at most: the record's");
        return vec![];
    }
    let mut variants: Vec<Variant> = vec![];
    for v in &data.variants {
        let mut wire = LitStr::new(&v.ident.to_string(), v.ident.span());
        for attr in v.attrs.iter().filter(|a| a.path().is_ident("event")) {
            match attr.parse_args::<LitStr>() {
                Ok(name) => wire = name,
                Err(e) => {
                    errors.at(e.span(), "name the record type: `#[event(\"contact.created.v1\")]`")
                }
            }
        }
        if wire.value().is_empty() || !wire.value().is_ascii() {
            errors.at(
                wire.span(),
                "a record type is non-empty ASCII: it travels in the `__grt__` header",
            );
            continue;
        }
        if let Some(first) = variants.iter().find(|f| f.wire.value() == wire.value()) {
            errors.at(wire.span(), format!(
                "`{}` and `{}` have the same record type `{}`\ngive one of them another: `#[event(\"..\")]`",
                first.ident, v.ident, wire.value(),
            ));
            continue;
        }
        match &v.fields {
            Fields::Unnamed(f) if f.unnamed.len() == 1 => {
                variants.push(Variant {
                    ident: v.ident.clone(),
                    wire,
                    payload: f.unnamed[0].ty.clone(),
                });
            }
            _ => errors.at(
                v.ident.span(),
                format!("`{0}` needs one payload: write `{0}(Payload)`", v.ident),
            ),
        }
    }
    variants
}

fn expand(input: &DeriveInput, variants: &[Variant], errors: &Errors) -> TokenStream {
    let ident = &input.ident;
    let ty_name = ident.to_string();
    // `'record`: every borrowing payload lives as long as the record it was decoded from.
    let borrows = input.generics.lifetimes().next().map(|l| l.lifetime.clone());
    let ty = if borrows.is_some() { quote!(#ident<'record>) } else { quote!(#ident) };
    let at = if borrows.is_some() { quote!(#ident<'at>) } else { quote!(#ident) };
    let any = borrows.is_some().then(|| quote!(<'record>));
    let stat = if borrows.is_some() { quote!(#ident<'static>) } else { quote!(#ident) };
    let idents: Vec<_> = variants.iter().map(|v| &v.ident).collect();
    let wires: Vec<_> = variants.iter().map(|v| &v.wire).collect();
    let index: Vec<usize> = (0..variants.len()).collect();
    let impls = variants.iter().enumerate().map(|(i, v)| {
        let (payload, wire, ident) = (&v.payload, &v.wire, &v.ident);
        // The only place where the payload's bound is asked for.
        let payload_tokens = rename_lifetimes(quote!(#payload));
        let assoc = quote_spanned!(payload.span() => type Payload<'record> = #payload_tokens;);
        let _ = ident;
        quote! {
            impl ::streams_core::__private::Variant<#i> for #stat {
                #assoc
                const RECORD_TYPE: &'static str = #wire;
            }
        }
    });
    // Broken variants still exist in the enum: the fallback arm keeps the match total.
    let rest = (!errors.is_empty()).then(|| quote!(_ => ::core::unreachable!(),));
    let callback = callback(input, variants, errors.is_empty());
    let errors = errors.tokens();
    quote! {
        #errors
        #(#impls)*
        #[allow(unreachable_patterns)]
        impl #any ::streams_core::Events for #ty {
            type At<'at> = #at;
            const NAME: &'static str = #ty_name;
            const RECORD_TYPES: &'static [&'static str] = &[#(#wires),*];
            fn record_type(&self) -> &'static str {
                match self { #(Self::#idents(_) => #wires,)* #rest }
            }
            fn encode(&self, out: &mut ::std::vec::Vec<u8>) -> ::core::result::Result<(), ::streams_core::CodecError> {
                match self { #(Self::#idents(p) => ::streams_core::__private::encode::<#stat, #index>(p, out),)* #rest }
            }
            fn decode(record: &::streams_core::Record) -> ::core::result::Result<::core::option::Option<Self::At<'_>>, ::streams_core::CodecError> {
                ::core::result::Result::Ok(::core::option::Option::Some(match record.record_type() {
                    #(#wires => #ident::#idents(::streams_core::__private::decode::<#stat, #index>(record)?),)*
                    _ => return ::core::result::Result::Ok(::core::option::Option::None),
                }))
            }
            fn payload_schemas(generator: &mut ::streams_core::__private::SchemaGenerator) -> ::std::vec::Vec<(&'static str, ::streams_core::__private::Schema)> {
                ::std::vec![#((#wires, ::streams_core::__private::schema::<#stat, #index>(generator))),*]
            }
        }
        #callback
    }
}

/// Every lifetime but `'static` is the record's.
pub(crate) fn rename_lifetimes(tokens: TokenStream) -> TokenStream {
    let mut out = TokenStream::new();
    let mut input = tokens.into_iter().peekable();
    while let Some(t) = input.next() {
        match t {
            TokenTree::Punct(p) if p.as_char() == '\'' => {
                if let Some(TokenTree::Ident(i)) = input.next() {
                    let name = if i == "static" { i } else { Ident::new("record", i.span()) };
                    out.extend([TokenTree::Punct(p), TokenTree::Ident(name)]);
                }
            }
            TokenTree::Group(g) => {
                let mut renamed = Group::new(g.delimiter(), rename_lifetimes(g.stream()));
                renamed.set_span(g.span());
                out.extend([TokenTree::Group(renamed)]);
            }
            // `&T` without a lifetime
            TokenTree::Punct(p)
                if p.as_char() == '&'
                    && !matches!(input.peek(), Some(TokenTree::Punct(q)) if q.as_char() == '\'') =>
            {
                let at = p.span();
                out.extend([TokenTree::Punct(p)]);
                out.extend(quote_spanned!(at => 'record));
            }
            t => out.extend([t]),
        }
    }
    out
}

/// `macro_rules! ContactEvent`: types and macros live in separate namespaces, so one `use` brings both.
fn callback(input: &DeriveInput, variants: &[Variant], whole: bool) -> TokenStream {
    let ty = &input.ident;
    let state = if whole { format_ident!("whole") } else { format_ident!("broken") };
    let rows = variants.iter().enumerate().map(|(i, v)| {
        let (wire, ident, payload) = (&v.wire, &v.ident, v.payload.to_token_stream().to_string());
        quote!((#wire #ident #payload #i))
    });
    let name = ty.to_string();
    let borrows = format_ident!(
        "{}",
        if input.generics.lifetimes().next().is_some() { "borrows" } else { "owns" }
    );
    let body = quote! {
        ({ $($callback:tt)* } $($rest:tt)*) => { $($callback)*! { { #name #state #borrows [#(#rows)*] } $($rest)* } };
    };
    // Exported macros share the crate's root: place and content make the name unique (and the build reproducible,
    // which the file's path would not).
    let at = ty.span().unwrap();
    let mut content = DefaultHasher::new();
    body.to_string().hash(&mut content);
    let helper =
        format_ident!("__contract_{}_{}_{}_{:x}", ty, at.line(), at.column(), content.finish());
    match &input.vis {
        Visibility::Public(_) => quote! {
            #[doc(hidden)] #[allow(non_local_definitions)] #[macro_export] macro_rules! #helper { #body }
            #[doc(hidden)] pub use #helper as #ty;
        },
        vis => quote! {
            #[doc(hidden)] #[allow(unused_macros)] macro_rules! #helper { #body }
            #[doc(hidden)] #[allow(unused_imports)] #vis use #helper as #ty;
        },
    }
}
