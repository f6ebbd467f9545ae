//! `#[event_source]`: on a module it collects the handlers, on a unit struct it takes
//! `handlers = [..]`. Both end in `routing`, which sees the contract's record types and every
//! handler's row.

mod attr;
mod collect;
mod expand;
mod item;

use proc_macro2::TokenStream;
use quote::quote;

use self::item::Item;
use crate::diagnostics::Errors;

pub(crate) fn attribute(attr: TokenStream, item: &TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let args = attr::parse(attr, &mut errors);
    let parsed = errors.ok(syn::parse2::<Item>(item.clone()));
    let expanded = match parsed {
        Some(parsed) => expand::source(&args, parsed, item),
        None => item.clone(),
    };
    let errors = errors.to_compile_errors();
    quote!(#expanded #errors)
}
