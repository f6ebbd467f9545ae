//! A payload and its codec. A wrong option is reported, and the payload has a codec that takes
//! anything: nothing else is doubted besides.

use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Fields, Generics, Ident, Path, Token, Type};

use crate::diagnostics::{Errors, unknown};

const CODECS: [&str; 9] =
    ["json", "bytes", "string", "transparent", "int", "lexo_int64", "msgpack", "protobuf", "avro"];

/// So many formats may be named: the codec's name and those it reads besides, and `content_type`.
const FORMATS_MAX: usize = 5;

/// What is derived for.
pub(super) struct Payload<'a> {
    pub(super) ident: &'a Ident,
    pub(super) generics: &'a Generics,
    pub(super) codec: Codec,
}

pub(super) enum Codec {
    /// One of `streams_core::codec`, by its name there.
    Known(&'static str),
    /// The same, for a struct with one field.
    Newtype(&'static str, Box<Newtype>),
    /// Several, by the record's `content-type`.
    Negotiated(Vec<Self>),
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
    let codec = codec.unwrap_or(Codec::Known("Json"));
    Payload { ident: &input.ident, generics: &input.generics, codec }
}

fn read(attr: &Attribute, data: &Data, errors: &mut Errors) -> Option<Codec> {
    let parser = Punctuated::<Path, Token![,]>::parse_separated_nonempty;
    let paths = match attr.parse_args_with(parser) {
        Ok(paths) if paths.len() <= FORMATS_MAX => paths,
        _ => {
            errors.on(attr, "name the codec: `#[codec(json)]`, `#[codec(my::Protobuf)]`");
            return None;
        }
    };
    let mut paths = paths.iter();
    let codec = single(paths.next()?, data, errors)?;
    if paths.len() == 0 {
        return Some(codec);
    }
    let mut formats = vec![codec];
    for path in paths {
        if !path.is_ident("content_type") {
            formats.push(single(path, data, errors)?);
        }
    }
    Some(Codec::Negotiated(formats))
}

fn single(path: &Path, data: &Data, errors: &mut Errors) -> Option<Codec> {
    let Some(name) = path.get_ident().map(Ident::to_string) else {
        return Some(Codec::Custom(path.clone()));
    };
    let newtype = |errors: &mut Errors| newtype(path, data, errors).map(Box::new);
    match name.as_str() {
        "json" => Some(Codec::Known("Json")),
        "bytes" => Some(Codec::Known("RawBytes")),
        "string" => Some(Codec::Known("Text")),
        "msgpack" => Some(Codec::Known("MessagePack")),
        "protobuf" => Some(Codec::Known("Protobuf")),
        "avro" => Some(Codec::Known("Avro")),
        "int" => newtype(errors).map(|newtype| Codec::Newtype("IntNewtype", newtype)),
        "lexo_int64" => newtype(errors).map(|newtype| Codec::Newtype("LexoNewtype", newtype)),
        "transparent" => newtype(errors).map(Codec::Transparent),
        own if own.starts_with(char::is_uppercase) => Some(Codec::Custom(path.clone())),
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
        match path.to_token_stream().to_string().as_str() {
            "transparent" => {
                "`transparent` is for a struct with one field, whose codec it takes\n\
                 write `#[codec(transparent)] struct Name(String);`"
            }
            _ => {
                "this codec is for a struct with one integer\n\
                 write `#[codec(int)] struct Count(i64);`"
            }
        },
    );
    None
}
