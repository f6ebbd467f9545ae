//! The twin type, and the row of the routing table.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{LitStr, Visibility};

use super::attr::Attr;
use super::model::{Handler, Role};
use super::{Function, Kind};
use crate::lifetimes;

/// `struct create {}`, which carries the handler's types where they resolve, and calls it.
pub(super) fn twin(handler: &Handler, function: &Function, vis: &Visibility) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let ident = &function.sig.ident;
    let Handler { role, context, event, output } = handler;
    let cfgs: Vec<_> = function.attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect();
    let outcome = quote_spanned! {output.span()=>
        <#output as ::streams_core::handler::IntoOutcome>::into_outcome
    };
    let body = match role {
        Role::Event => {
            let payload = lifetimes::to_record(event.to_token_stream());
            quote! {
                impl #p::Handler for #ident {
                    type Context = #context;
                    type Payload<'record> = #payload;

                    fn call(ctx: &mut #context, payload: Self::Payload<'_>) -> #p::Outcome {
                        #outcome(#ident(ctx, payload))
                    }
                }
            }
        }
        Role::Interjection { every, jitter } => {
            let (every, jitter) = (millis(*every), millis(*jitter));
            let at = quote_spanned!(event.span()=> <#event as #p::IsTime>::from_system(at));
            quote! {
                impl #p::InterjectionHandler for #ident {
                    type Context = #context;
                    const EVERY: #p::Duration = #p::Duration::from_millis(#every);
                    const JITTER: #p::Duration = #p::Duration::from_millis(#jitter);

                    fn call(ctx: &mut #context, at: #p::SystemTime) -> #p::Outcome {
                        #outcome(#ident(ctx, #at))
                    }
                }
            }
        }
        Role::Default => {
            let record =
                quote_spanned!(event.span()=> <#event as #p::IsRecord>::from_record(record));
            quote! {
                impl #p::DefaultHandler for #ident {
                    type Context = #context;

                    fn call(ctx: &mut #context, record: &#p::Record) -> #p::Outcome {
                        #outcome(#ident(ctx, #record))
                    }
                }
            }
        }
    };
    quote! {
        #(#cfgs)* #[doc(hidden)] #[allow(non_camel_case_types)] #vis struct #ident {}
        #(#cfgs)* #[automatically_derived] #body
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("it was made from a `u64` of milliseconds")
}

/// `kind state record_type ctx ctx event event {cfg}..`: what `routing::attr` reads.
pub(super) fn row(
    kind: Kind,
    attr: &Attr,
    handler: Option<&Handler>,
    function: &Function,
) -> TokenStream {
    let ident = &function.sig.ident;
    let kind = match kind {
        Kind::Event => format_ident!("event"),
        Kind::Interjection => format_ident!("interjection"),
        Kind::Default => format_ident!("default"),
    };
    let state = format_ident!("{}", if handler.is_some() { "whole" } else { "broken" });
    let record_type = attr.record_type.clone().unwrap_or_else(|| LitStr::new("", ident.span()));
    let tokens_or_name = |tokens: Option<TokenStream>| tokens.unwrap_or_else(|| quote!(#ident));
    let context = handler.map(|handler| handler.context.to_token_stream());
    let event = handler.map(|handler| handler.event.to_token_stream());
    let context = carriers("ctx", tokens_or_name(context));
    let event = carriers("event", tokens_or_name(event));
    let cfgs = function
        .attrs
        .iter()
        .filter(|attr| attr.path().is_ident("cfg"))
        .filter_map(|attr| attr.meta.require_list().ok())
        .map(|list| &list.tokens);
    quote!(#kind #state #record_type #context #event #({#cfgs})*)
}

/// Two identifiers whose only content is the place of the first and of the last token of `of`.
fn carriers(name: &str, of: TokenStream) -> TokenStream {
    let mut spans = of.into_iter().map(|token| token.span());
    let first = spans.next().unwrap_or_else(Span::call_site);
    let (from, to) = (Ident::new(name, first), Ident::new(name, spans.last().unwrap_or(first)));
    quote!(#from #to)
}
