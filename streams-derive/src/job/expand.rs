//! The impl of `Job`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};

use super::model::Job;

pub(super) fn job(job: &Job<'_>) -> TokenStream {
    let Job { ident, name } = job;
    // A type without a codec is told so at its own name.
    let target = quote_spanned!(ident.span() => #ident);
    quote! {
        #[automatically_derived]
        impl ::streams_core::jobs::durable::Job for #target {
            const TYPE: &'static str = #name;
        }
    }
}
