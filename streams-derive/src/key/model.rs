//! A key: its parts in their order. A key that is wrong has no parts, and that is reported.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Generics, Ident, Index, Type};

use crate::diagnostics::Errors;

const FORM: &str = "write `struct Id(String);`, or several fields, which are the parts of the key";

pub(super) struct Key<'a> {
    pub(super) ident: &'a Ident,
    pub(super) generics: &'a Generics,
    /// `None` if the derive can't read the parts.
    pub(super) parts: Option<Vec<Part<'a>>>,
}

pub(super) struct Part<'a> {
    /// The field's name, or its number.
    pub(super) field: TokenStream,
    pub(super) ty: &'a Type,
}

pub(super) fn key<'a>(input: &'a DeriveInput, errors: &mut Errors) -> Key<'a> {
    Key { ident: &input.ident, generics: &input.generics, parts: parts(input, errors) }
}

fn parts<'a>(input: &'a DeriveInput, errors: &mut Errors) -> Option<Vec<Part<'a>>> {
    let data = match &input.data {
        Data::Struct(data) => data,
        Data::Enum(data) => return not_a_struct(data.enum_token.span(), errors),
        Data::Union(data) => return not_a_struct(data.union_token.span(), errors),
    };
    if let Some(param) = input.generics.params.first() {
        errors.at(
            param.span(),
            "a derived key can't be generic\n\
             name the types of its fields, or implement `KeyCodec` by hand",
        );
        return None;
    }
    if data.fields.is_empty() {
        errors.at(input.ident.span(), format!("a key without fields has no bytes\n{FORM}"));
        return None;
    }
    let part = |(at, field): (usize, &'a syn::Field)| Part {
        field: match &field.ident {
            Some(name) => name.to_token_stream(),
            None => Index::from(at).to_token_stream(),
        },
        ty: &field.ty,
    };
    Some(data.fields.iter().enumerate().map(part).collect())
}

fn not_a_struct<T>(at: Span, errors: &mut Errors) -> Option<T> {
    errors.at(at, format!("a derived key is a struct\n{FORM}"));
    None
}
