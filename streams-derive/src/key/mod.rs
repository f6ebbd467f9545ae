//! `#[derive(KeyCodec)]`: a struct whose fields are the parts of a key.

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
    let key = model::key(&input, &mut errors);
    let expanded = expand::key(&key);
    let errors = errors.to_compile_errors();
    quote::quote!(#errors #expanded)
}
