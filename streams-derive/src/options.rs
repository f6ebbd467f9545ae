//! `name = value, name = value`: what an attribute's parentheses hold, still unjudged.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::Token;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::spanned::Spanned;

use crate::diagnostics::Errors;

/// One option as written. A missing `= value` is an empty value.
pub(crate) struct RawOption {
    pub(crate) name: Ident,
    pub(crate) value: TokenStream,
}

impl RawOption {
    /// Where to say that the value is wrong.
    pub(crate) fn value_span(&self) -> Span {
        if self.value.is_empty() { self.name.span() } else { self.value.span() }
    }
}

/// Reads options up to the end. One that is given twice is an error, and the first one counts.
pub(crate) fn parse(input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Vec<RawOption>> {
    let mut options: Vec<RawOption> = vec![];
    while !input.is_empty() {
        let name = input.call(Ident::parse_any)?;
        let value = value(input)?;
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
        if options.iter().any(|option| option.name == name) {
            errors.at(name.span(), format!("`{name}` is given twice"));
        } else {
            options.push(RawOption { name, value });
        }
    }
    Ok(options)
}

fn value(input: ParseStream<'_>) -> syn::Result<TokenStream> {
    let mut value = TokenStream::new();
    if input.peek(Token![=]) {
        input.parse::<Token![=]>()?;
        // `Index<Key, Value>` has a comma of its own.
        let mut depth = 0_usize;
        while !input.is_empty() && (depth > 0 || !input.peek(Token![,])) {
            let is_arrow = input.peek(Token![->]);
            let token = input.parse::<TokenTree>()?;
            match &token {
                TokenTree::Punct(punct) if punct.as_char() == '<' => depth += 1,
                TokenTree::Punct(punct) if punct.as_char() == '>' && !is_arrow => {
                    depth = depth.saturating_sub(1);
                }
                _ => {}
            }
            value.extend([token]);
        }
    }
    Ok(value)
}
