//! A function of which only the signature is parsed: its body passes through, half-typed or not, so
//! that its mistakes are rustc's to report and completion works in it.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Signature, Visibility};

use super::Kind;

/// The function, in the order in which it is written.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: TokenTree,
}

impl Function {
    /// Removes the next attribute that makes a handler.
    pub(super) fn take_handler_attribute(&mut self) -> Option<Attribute> {
        let at = self.attrs.iter().position(|attr| Kind::of(attr).is_some())?;
        Some(self.attrs.remove(at))
    }
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self {
            attrs: input.call(Attribute::parse_outer)?,
            vis: input.parse()?,
            sig: input.parse()?,
            body: body(input)?,
        })
    }
}

/// The braces and what is in them.
pub(crate) fn body(input: ParseStream<'_>) -> syn::Result<TokenTree> {
    match input.parse::<TokenTree>()? {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Ok(group.into()),
        other => Err(syn::Error::new(other.span(), "a handler needs a body")),
    }
}

impl ToTokens for Function {
    fn to_tokens(&self, out: &mut TokenStream) {
        self.attrs.iter().for_each(|attr| attr.to_tokens(out));
        self.vis.to_tokens(out);
        self.sig.to_tokens(out);
        self.body.to_tokens(out);
    }
}
