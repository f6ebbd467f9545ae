//! The twin type, and the row of the routing table.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, LitStr, Visibility};

use super::attr::Attr;
use super::model::{Handler, Role};
use super::{Function, Kind};
use crate::diagnostics::text;
use crate::lifetimes;

/// `struct create {}`, which carries the handler's types where they resolve, and calls it.
pub(super) fn twin(handler: &Handler, function: &Function, vis: &Visibility) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let ident = &function.sig.ident;
    let Handler { role, context, shared, event, output } = handler;
    let cfgs = cfgs(function);
    let outcome = quote_spanned! {output.span()=>
        <#output as ::streams_core::handler::IntoOutcome>::into_outcome
    };
    let placed = placed(ident);
    // Only what asks for it is given what all share.
    let share = shared.as_ref().map(|_| quote!(shared,));
    let shared = shared.as_ref().map_or_else(|| quote!(()), ToTokens::to_token_stream);
    let types = quote!(type Context = #context; type Shared = #shared;);
    let ctx = quote!(ctx: &mut #context, shared: &Self::Shared);
    let body = match role {
        Role::Event => {
            let payload = lifetimes::to_record(event.to_token_stream());
            quote! {
                impl #p::Handler for #ident {
                    #types
                    #placed
                    type Payload<'record> = #payload;

                    fn call(#ctx, payload: Self::Payload<'_>) -> #p::Outcome {
                        #outcome(#ident(ctx, #share payload))
                    }
                }
            }
        }
        Role::Interjection { every, jitter } => {
            let (every, jitter) = (millis(*every), millis(*jitter));
            let at = quote_spanned!(event.span()=> <#event as #p::IsTime>::from_system(at));
            quote! {
                impl #p::InterjectionHandler for #ident {
                    #types
                    const EVERY: #p::Duration = #p::Duration::from_millis(#every);
                    const JITTER: #p::Duration = #p::Duration::from_millis(#jitter);

                    fn call(#ctx, at: #p::SystemTime) -> #p::Outcome {
                        #outcome(#ident(ctx, #share #at))
                    }
                }
            }
        }
        Role::Default => {
            let record =
                quote_spanned!(event.span()=> <#event as #p::IsRecord>::from_record(record));
            quote! {
                impl #p::DefaultHandler for #ident {
                    #types
                    #placed

                    fn call(#ctx, record: &#p::Record) -> #p::Outcome {
                        #outcome(#ident(ctx, #share #record))
                    }
                }
            }
        }
    };
    quote! {
        #(#cfgs)* #[doc(hidden)] #[allow(non_camel_case_types)] #vis struct #ident {}
        #(#cfgs)* #[automatically_derived] #[allow(unused_variables)] #body
    }
}

/// The `#[cfg(..)]` of the function.
pub(super) fn cfgs(function: &Function) -> Vec<&Attribute> {
    function.attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect()
}

/// Where the function's name stands.
pub(super) fn placed(ident: &Ident) -> TokenStream {
    quote_spanned! {ident.span()=>
        const FILE: &'static str = ::core::file!();
        const LINE: u32 = ::core::line!();
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("it was made from a `u64` of milliseconds")
}

/// The rows of the routing table, one a record type, without the handler's path, which only the
/// source knows.
pub(super) fn rows(
    kind: Kind,
    attr: &Attr,
    columns: Option<TokenStream>,
    function: &Function,
) -> Vec<TokenStream> {
    let none = [LitStr::new("", function.sig.ident.span())];
    let record_types = if attr.record_types.is_empty() { &none[..] } else { &attr.record_types };
    record_types.iter().map(|record_type| row(kind, record_type, &columns, function)).collect()
}

/// `kind state record_type ctx ctx (shared shared "App") () event event {cfg}..`: what
/// `routing::attr` reads.
fn row(
    kind: Kind,
    record_type: &LitStr,
    columns: &Option<TokenStream>,
    function: &Function,
) -> TokenStream {
    let ident = &function.sig.ident;
    let kind = match kind {
        Kind::Event => format_ident!("event"),
        Kind::Interjection => format_ident!("interjection"),
        Kind::Default => format_ident!("default"),
    };
    let state = format_ident!("{}", if columns.is_some() { "whole" } else { "broken" });
    let broken = || {
        let [context, event] = ["ctx", "event"].map(|name| carriers(name, quote!(#ident)));
        quote!(#context () () #event)
    };
    let columns = columns.clone().unwrap_or_else(broken);
    let cfgs = function
        .attrs
        .iter()
        .filter(|attr| attr.path().is_ident("cfg"))
        .filter_map(|attr| attr.meta.require_list().ok())
        .map(|list| &list.tokens);
    quote!(#kind #state #record_type #columns #({#cfgs})*)
}

/// The columns that the handler's types fill.
pub(super) fn columns(handler: &Handler) -> TokenStream {
    let context = carriers("ctx", handler.context.to_token_stream());
    let shared = handler.shared.as_ref().map(|shared| {
        let (place, text) = (carriers("shared", shared.to_token_stream()), text(shared));
        quote!(#place #text)
    });
    let event = carriers("event", handler.event.to_token_stream());
    quote!(#context (#shared) () #event)
}

/// Two identifiers whose only content is the place of the first and of the last token of `of`.
pub(super) fn carriers(name: &str, of: TokenStream) -> TokenStream {
    let mut spans = of.into_iter().map(|token| token.span());
    let first = spans.next().unwrap_or_else(Span::call_site);
    let (from, to) = (Ident::new(name, first), Ident::new(name, spans.last().unwrap_or(first)));
    quote!(#from #to)
}
