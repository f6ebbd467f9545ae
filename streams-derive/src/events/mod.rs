//! `#[derive(Events)]`: the contract. Writes the trait's impls, and a macro of the enum's own name
//! that hands the record types to whoever asks, so that `#[event_source]` can see them.

mod attr;
mod contract;
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
    let contract = model::contract(&input, &mut errors);
    let impls = expand::impls(&contract);
    let hand_over = contract::hand_over(&contract);
    let errors = errors.to_compile_errors();
    quote!(#errors #impls #hand_over)
}
