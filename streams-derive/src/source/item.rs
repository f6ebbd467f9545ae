//! What the attribute stands on.

use proc_macro2::{Delimiter, Group, Ident, TokenTree};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Token, Visibility};

/// A module with its handlers, or a unit struct that lists them.
pub(super) enum Item {
    Module(Module),
    Struct(Ident),
}

pub(super) struct Module {
    pub(super) attrs: Vec<Attribute>,
    pub(super) vis: Visibility,
    pub(super) mod_token: Token![mod],
    pub(super) ident: Ident,
    pub(super) content: Group,
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        if input.peek(Token![struct]) {
            input.parse::<Token![struct]>()?;
            let ident = input.parse()?;
            input.parse::<Token![;]>().map_err(|error| {
                let form = "the source is a unit struct: write `struct Source;`";
                syn::Error::new(error.span(), form)
            })?;
            return Ok(Self::Struct(ident));
        }
        let mod_token = input.parse::<Token![mod]>().map_err(|error| {
            let form = "a source is a module with its handlers, `mod contacts { .. }`, or a unit \
                        struct that lists them: `#[event_source(.., handlers = [create])] \
                        struct Source;`";
            syn::Error::new(error.span(), form)
        })?;
        let ident: Ident = input.parse()?;
        match input.parse()? {
            TokenTree::Group(content) if content.delimiter() == Delimiter::Brace => {
                Ok(Self::Module(Module { attrs, vis, mod_token, ident, content }))
            }
            token => Err(syn::Error::new(
                token.span(),
                format!(
                    "the handlers in another file can't be seen from here\n\
                     write `#[event_source(.., handlers = [{ident}::create, ..])] struct Source;`"
                ),
            )),
        }
    }
}
