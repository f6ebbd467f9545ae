//! `#[derive(StateStore)]`: a struct whose fields are tables.

mod expand;
mod model;

use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

use crate::diagnostics::Errors;

pub(crate) fn derive(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.to_compile_error(),
    };
    let mut errors = Errors::default();
    let store = model::store(&input, &mut errors);
    let expanded = store.map(|store| expand::store(&store));
    let errors = errors.to_compile_errors();
    quote!(#errors #expanded)
}
