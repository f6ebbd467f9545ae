//! `#[derive(Job)]`: a durable job's type, as its rows in the changelog carry it.

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
    let job = model::job(&input, &mut errors);
    let expanded = job.map(|job| expand::job(&job));
    let errors = errors.to_compile_errors();
    quote!(#errors #expanded)
}
