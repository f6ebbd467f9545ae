//! What stands in the attribute's parentheses.

use proc_macro2::{Span, TokenStream};
use syn::parse::{ParseStream, Parser};
use syn::{LitStr, Token};

use super::Kind;
use crate::diagnostics::Errors;
use crate::options::{self, RawOption};

/// The attribute as written.
#[derive(Default)]
pub(super) struct Attr {
    /// An event handler's record types; none also if that is reported.
    pub(super) record_types: Vec<LitStr>,
    pub(super) options: Vec<RawOption>,
}

pub(super) fn parse(kind: Kind, at: Span, attr: TokenStream, errors: &mut Errors) -> Attr {
    let mut parsed = Attr::default();
    if kind == Kind::Event && attr.is_empty() {
        errors.at(at, "name the record type: `#[event_handler(\"CreateContact\")]`");
        return parsed;
    }
    let parser = |input: ParseStream<'_>| {
        if kind == Kind::Event {
            parsed.record_types = record_types(input)?;
        }
        parsed.options = options::parse(input, errors)?;
        Ok(())
    };
    if let Err(error) = parser.parse2(attr) {
        errors.push(error);
    }
    parsed
}

/// At least one, and then as many as there are.
fn record_types(input: ParseStream<'_>) -> syn::Result<Vec<LitStr>> {
    let mut names = vec![];
    while names.is_empty() || input.peek(LitStr) {
        let name = input.parse::<LitStr>().map_err(|error| {
            let message = "name the record type first: `#[event_handler(\"CreateContact\")]`";
            syn::Error::new(error.span(), message)
        })?;
        if name.value().is_empty() {
            let message = "name the record type: no event has an empty one";
            return Err(syn::Error::new(name.span(), message));
        }
        names.push(name);
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(names)
}
