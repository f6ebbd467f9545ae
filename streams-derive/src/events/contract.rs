//! The contract as a macro: `ContactEvent! { {next step} rest.. }` calls the next step with all
//! record types and the rest.
//!
//! Types and macros live in separate namespaces, so one `use` brings both, and renaming,
//! re-exporting and other crates work as for any name.

use std::hash::{DefaultHasher, Hash, Hasher};

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{Ident, Visibility};

use super::model::Contract;

pub(super) fn hand_over(contract: &Contract<'_>) -> TokenStream {
    let name = contract.ident.to_string();
    let state = format_ident!("{}", if contract.is_whole { "whole" } else { "broken" });
    let borrows = format_ident!("{}", if contract.borrows { "borrows" } else { "owns" });
    let rows = contract.variants.iter().enumerate().map(|(index, variant)| {
        let (record_type, ident) = (&variant.record_type, &variant.ident);
        let payload = variant.payload.to_token_stream().to_string();
        let older = variant.older.iter().map(|older| &older.record_type);
        quote!((#record_type #ident #payload #index #(#older)*))
    });
    let rule = quote! {
        ({ $($next:tt)* } $($rest:tt)*) => {
            $($next)*! { { #name #state #borrows [#(#rows)*] } $($rest)* }
        };
    };
    let (ident, helper) = (contract.ident, unique_name(contract.ident, &rule));
    match contract.vis {
        // A macro that other crates may call can't be named by its path, so the root of the crate
        // gets one of a name nobody writes, and the enum's module the name that everybody does.
        Visibility::Public(_) => quote! {
            #[doc(hidden)]
            #[allow(non_local_definitions)]
            #[macro_export]
            macro_rules! #helper { #rule }
            #[doc(hidden)]
            #[allow(unused_imports)]
            pub use #helper as #ident;
        },
        vis => quote! {
            #[doc(hidden)]
            #[allow(unused_macros)]
            macro_rules! #helper { #rule }
            #[doc(hidden)]
            #[allow(unused_imports)]
            #vis use #helper as #ident;
        },
    }
}

/// Exported macros share the root of their crate: place and content make the name unique. Of the
/// place only what doesn't depend on the machine, so that builds are reproducible.
fn unique_name(ident: &Ident, rule: &TokenStream) -> Ident {
    let at = ident.span().unwrap();
    let file = at.file();
    let mut hasher = DefaultHasher::new();
    file.rsplit(['/', '\\']).take(2).for_each(|part| part.hash(&mut hasher));
    rule.to_string().hash(&mut hasher);
    let hash = hasher.finish();
    format_ident!("__contract_{}_{}_{}_{:x}", ident, at.line(), at.column(), hash)
}
