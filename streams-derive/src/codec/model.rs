//! A payload and its codec. A wrong option is reported, and the payload has a codec that takes
//! anything: nothing else is doubted besides.

use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Fields, Generics, Ident, Path, Type};

use crate::diagnostics::{Errors, unknown};

const CODECS: [&str; 4] = ["json", "bytes", "string", "transparent"];

/// What is derived for.
pub(super) struct Payload<'a> {
    pub(super) ident: &'a Ident,
    pub(super) generics: &'a Generics,
    pub(super) codec: Codec,
}

pub(super) enum Codec {
    /// `streams_core::codec::Json`
    Json,
    /// `streams_core::codec::RawBytes`
    Bytes,
    /// `streams_core::codec::Text`
    Text,
    /// The codec of the only field.
    Transparent(Box<Newtype>),
    /// The user's own.
    Custom(Path),
    /// None that is right.
    Broken,
}

pub(super) struct Newtype {
    /// Its name; without one it is `0`.
    pub(super) field: Option<Ident>,
    pub(super) ty: Type,
}

pub(super) fn payload<'a>(input: &'a DeriveInput, errors: &mut Errors) -> Payload<'a> {
    let mut codec = None;
    for attr in input.attrs.iter().filter(|attr| attr.path().is_ident("codec")) {
        if codec.is_some() {
            errors.on(attr, "a payload has one codec");
            continue;
        }
        codec = Some(read(attr, &input.data, errors).unwrap_or(Codec::Broken));
    }
    let codec = codec.unwrap_or(Codec::Json);
    Payload { ident: &input.ident, generics: &input.generics, codec }
}

fn read(attr: &Attribute, data: &Data, errors: &mut Errors) -> Option<Codec> {
    let Ok(path) = attr.parse_args::<Path>() else {
        errors.on(attr, "name the codec: `#[codec(json)]`, `#[codec(my::Protobuf)]`");
        return None;
    };
    let Some(name) = path.get_ident().map(Ident::to_string) else {
        return Some(Codec::Custom(path));
    };
    match name.as_str() {
        "json" => Some(Codec::Json),
        "bytes" => Some(Codec::Bytes),
        "string" => Some(Codec::Text),
        "transparent" => newtype(&path, data, errors).map(Box::new).map(Codec::Transparent),
        own if own.starts_with(char::is_uppercase) => Some(Codec::Custom(path)),
        wrong => {
            errors.at(path.span(), unknown("codec", wrong, &CODECS));
            None
        }
    }
}

fn newtype(path: &Path, data: &Data, errors: &mut Errors) -> Option<Newtype> {
    if let Data::Struct(data) = data
        && let Fields::Named(_) | Fields::Unnamed(_) = &data.fields
        && data.fields.len() == 1
    {
        let field = data.fields.iter().next()?;
        return Some(Newtype { field: field.ident.clone(), ty: field.ty.clone() });
    }
    errors.on(
        path.to_token_stream(),
        "`transparent` is for a struct with one field, whose codec it takes\n\
         write `#[codec(transparent)] struct Name(String);`",
    );
    None
}
