//! The impl of `EventSource`, whose table is left to the contract's macro.

use proc_macro2::{Delimiter, Group, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Path, PathArguments, Visibility, parse_quote};

use super::attr::Args;
use super::collect;
use super::item::{Item, Module};
use crate::lifetimes;

/// The item and the impl. Where the arguments are wrong, and that is said, the impl has what there
/// is and an empty table: all that uses the source still compiles.
pub(super) fn source(args: &Args, item: Item, written: &TokenStream) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let (emitted, source, rows, name) = match item {
        Item::Struct(ident) => (written.clone(), quote!(#ident), vec![], ident),
        Item::Module(module) => {
            let ident = module.ident.clone();
            let (emitted, rows) = with_source(module);
            (emitted, quote!(#ident::Source), rows, ident)
        }
    };
    let events = match &args.events {
        Some(path) => {
            let events = lifetimes::to_static(path.to_token_stream());
            quote_spanned!(path.span()=> type Events = #events;)
        }
        None => quote!(type Events = #p::NoEvents;),
    };
    let store = args.store.as_ref().map_or_else(|| quote!(#p::NoStore), ToTokens::to_token_stream);
    let store_type = quote_spanned!(store.span()=> type Store = #store;);
    let shared = args.shared.as_ref().map_or_else(|| quote!(()), ToTokens::to_token_stream);
    let shared_type = quote_spanned!(shared.span()=> type Shared = #shared;);
    let key =
        args.key.as_ref().map_or_else(|| quote!(#p::NoDeclaredKey), ToTokens::to_token_stream);
    let key_type = quote_spanned!(key.span()=> type Key = #key;);
    let place = quote_spanned!(name.span()=> source);
    let table = match &args.events {
        Some(events) if args.is_whole => {
            let declared = &args.shared;
            let rest = quote!({#store} {#declared} #place);
            table(events, &args.handlers, &rows, &rest)
        }
        _ => quote!(#p::RoutingTable {
            dispatch: |_, _, _| #p::Outcome::Unrouted,
            routes: &[],
            default: #p::Option::None,
            interjections: &[],
            durable_jobs: &[],
        }),
    };
    // The table is an expression: if it fails, the impl still stands, and nothing else does.
    quote! {
        #emitted
        #[automatically_derived]
        impl ::streams_core::handler::EventSource for #source {
            #events
            #store_type
            #shared_type
            #key_type
            const TABLE: ::streams_core::handler::RoutingTable<#store, #shared> = #table;
        }
    }
}

/// The module with a struct `Source` in it, and the rows of its handlers.
fn with_source(module: Module) -> (TokenStream, Vec<TokenStream>) {
    let Module { attrs, vis, mod_token, ident, content } = module;
    let (mut items, rows) = collect::handlers(&content.stream(), &ident);
    if collect::sees_nothing(&content.stream()) {
        let message = format!(
            "`{ident}` has its own names, and sees none of those around it\n\
             write `use super::*;` as its first line"
        );
        let error = syn::Error::new(ident.span(), message).to_compile_error();
        // With it, nothing else is wrong besides.
        items.extend(quote! {
            #error
            #[allow(unused_imports)]
            use super::*;
            #[allow(unused_imports)]
            use ::streams_core::prelude::*;
        });
    }
    let source_vis = outward(&vis);
    let mut group = Group::new(
        Delimiter::Brace,
        quote! {
            #items

            /// The event source that this module's handlers make up.
            #[derive(Clone, Copy, Debug, Default)]
            #source_vis struct Source;
        },
    );
    group.set_span(content.span());
    (quote!(#(#attrs)* #vis #mod_token #ident #group), rows)
}

/// As visible as the module, said from one module further in: contract and store may be private.
fn outward(vis: &Visibility) -> Visibility {
    match vis {
        Visibility::Inherited => parse_quote!(pub(super)),
        Visibility::Restricted(restricted) => {
            let path = &restricted.path;
            match path.segments.first().map(|first| first.ident.to_string()).as_deref() {
                Some("self") => parse_quote!(pub(super)),
                Some("super") => parse_quote!(pub(in super::#path)),
                _ => vis.clone(),
            }
        }
        Visibility::Public(_) => vis.clone(),
    }
}

/// The first call of the chain: each listed handler adds its row and calls the next, the last one
/// the contract, and the contract `routing`.
fn table(
    events: &Path,
    handlers: &[Path],
    rows: &[TokenStream],
    rest: &TokenStream,
) -> TokenStream {
    let contract = without_arguments(events);
    let rest = quote!({#contract} #rest);
    match handlers {
        [] => quote! {
            #contract! { {::streams_core::__private::routing_table} [#(#rows)*] #rest }
        },
        [first, others @ ..] => quote! {
            #first! { [#({#others})*] {#first} [#(#rows)*] #rest }
        },
    }
}

/// `Readings<'_>` is the type, `Readings` the macro.
fn without_arguments(events: &Path) -> Path {
    let mut path = events.clone();
    if let Some(last) = path.segments.last_mut() {
        last.arguments = PathArguments::None;
    }
    path
}
