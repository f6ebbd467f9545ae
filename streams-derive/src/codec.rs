//! `#[derive(EventCodec)]`: JSON by serde, or `#[codec(..)]`.
use crate::diagnostics::{Errors, did_you_mean, list};
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{DeriveInput, Ident};

const CODECS: [&str; 3] = ["json", "bytes", "text"];

pub(crate) fn derive(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(i) => i,
        Err(e) => return e.to_compile_error(),
    };
    let mut errors = Errors::default();
    let mut codec = "json".to_owned();
    for attr in input.attrs.iter().filter(|a| a.path().is_ident("codec")) {
        if let Some(name) = errors.ok(attr.parse_args::<Ident>()) {
            if CODECS.contains(&name.to_string().as_str()) {
                codec = name.to_string();
            } else {
                let near = did_you_mean(&name.to_string(), CODECS)
                    .map(|n| format!(", did you mean `{n}`?"))
                    .unwrap_or_default();
                errors.at(
                    name.span(),
                    format!("unknown codec `{name}`{near}\nthe codecs are {}", list(CODECS)),
                );
            }
        }
    }
    let (ty, errors) = (&input.ident, errors.tokens());
    let wc = &input.generics.where_clause;
    let borrows = input.generics.lifetimes().next().is_some();
    let tg = if borrows { quote!(<'record>) } else { quote!() };
    let codec = Ident::new(&codec, ty.span());
    // One bound, named once, on the user's own ident: what is missing is said once.
    let via = quote_spanned!(ty.span() => type Via = ::streams_core::__private::#codec;);
    quote! {
        #errors
        impl<'record> ::streams_core::EventCodec<'record> for #ty #tg #wc { #via }
    }
}
