//! The last step of `#[event_source]`: with all record types of the contract and the rows of all
//! handlers before it, it judges the routes and writes the table.

mod attr;
mod expand;
mod model;

use proc_macro2::TokenStream;

use crate::diagnostics::Errors;

pub(crate) fn table(input: TokenStream) -> TokenStream {
    match syn::parse2::<attr::Source>(input) {
        Ok(source) => {
            let mut errors = Errors::default();
            let routing = model::routing(&source, &mut errors);
            expand::table(&source, &routing, &errors)
        }
        Err(error) => error.to_compile_error(),
    }
}
