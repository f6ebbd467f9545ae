//! The handlers of a module. All else in it passes through as tokens, half-typed or not.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, FnArg, Signature, Token, Type, Visibility, token};

use crate::handler::{self, Expanded, Function, Kind};

/// The module's content, with each handler expanded, and their rows.
pub(super) fn handlers(content: &TokenStream, module: &Ident) -> (TokenStream, Vec<TokenStream>) {
    let mut rows = vec![];
    let parser = |input: ParseStream<'_>| {
        let mut items = TokenStream::new();
        while !input.is_empty() {
            if !input.peek(Token![#]) || input.peek2(Token![!]) {
                items.extend([input.parse::<TokenTree>()?]);
                continue;
            }
            let attrs = input.call(Attribute::parse_outer)?;
            match handler(attrs, input)? {
                Ok((ident, expanded)) => {
                    let row = |row| quote!({{#module::#ident} #row});
                    rows.extend(expanded.rows.into_iter().map(row));
                    items.extend(expanded.items);
                }
                Err(attrs) => attrs.iter().for_each(|attr| attr.to_tokens(&mut items)),
            }
        }
        Ok(items)
    };
    match parser.parse2(content.clone()) {
        Ok(items) => (items, rows),
        Err(error) => {
            let error = error.to_compile_error();
            (quote!(#content #error), vec![])
        }
    }
}

/// The function under `attrs`, if one of them is ours; otherwise the attributes are given back.
/// One of ours that isn't on a function says so itself when it is expanded.
fn handler(
    mut attrs: Vec<Attribute>,
    input: ParseStream<'_>,
) -> syn::Result<Result<(Ident, Expanded), Vec<Attribute>>> {
    let ours =
        attrs.iter().enumerate().find_map(|(at, attr)| Kind::of(attr).map(|kind| (at, kind)));
    let Some((at, kind)) = ours.filter(|_| is_function(input)) else {
        return Ok(Err(attrs));
    };
    let attr = attrs.remove(at);
    let function =
        Function { attrs, vis: input.parse()?, sig: input.parse()?, body: handler::body(input)? };
    // The impl that names the twin stands beside the module, whatever the function's visibility is.
    let twin_vis = syn::parse_quote!(pub(super));
    let place = syn::spanned::Spanned::span(attr.path());
    let ident = function.sig.ident.clone();
    let expanded = handler::expand(kind, place, handler::options(&attr), function, &twin_vis);
    Ok(Ok((ident, expanded)))
}

/// Returns true if a module has handlers with an `EventContext`, and no `use` by which that could
/// be known: then all names of its handlers are unknown.
pub(super) fn sees_nothing(content: &TokenStream) -> bool {
    let parser = |input: ParseStream<'_>| {
        let mut names_context = false;
        while !input.is_empty() {
            let is_attributed = input.peek(Token![#]) && !input.peek2(Token![!]);
            let attrs = if is_attributed { input.call(Attribute::parse_outer)? } else { vec![] };
            if attrs.iter().any(|attr| Kind::of(attr).is_some()) && is_function(input) {
                input.parse::<Visibility>()?;
                names_context |= takes_event_context(&input.parse::<Signature>()?);
            }
            match input.parse::<TokenTree>()? {
                TokenTree::Ident(word) if word == "use" || word == "macro_rules" => {
                    return Ok(false);
                }
                TokenTree::Ident(name) if name == "EventContext" => return Ok(false),
                _ => {}
            }
        }
        Ok(names_context)
    };
    parser.parse2(content.clone()).unwrap_or(false)
}

/// Returns true if the first argument is an `EventContext`, by that name alone.
fn takes_event_context(signature: &Signature) -> bool {
    let Some(FnArg::Typed(context)) = signature.inputs.first() else { return false };
    let Type::Reference(context) = &*context.ty else { return false };
    let Type::Path(context) = &*context.elem else { return false };
    context.path.segments.len() == 1 && context.path.segments[0].ident == "EventContext"
}

fn is_function(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    ahead.parse::<Visibility>().is_ok()
        && ahead.parse::<Signature>().is_ok()
        && ahead.peek(token::Brace)
}
