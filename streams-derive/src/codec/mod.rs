//! `#[derive(EventCodec)]`: JSON by serde, or what `#[codec(..)]` says.

mod expand;
mod model;

use proc_macro2::TokenStream;
use syn::DeriveInput;

use crate::diagnostics::Errors;

pub(crate) fn derive(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.to_compile_error(),
    };
    let mut errors = Errors::default();
    let payload = model::payload(&input, &mut errors);
    let errors = errors.to_compile_errors();
    let expanded = expand::payload(&payload);
    quote::quote!(#errors #expanded)
}
