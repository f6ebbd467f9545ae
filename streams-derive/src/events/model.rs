//! A contract: its record types, each with a variant and a payload. What is wrong is reported and
//! left out, and the rest goes on, so that one mistake is one error.

use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Fields, GenericParam, Ident, LitStr, Token, Type, Visibility};

use crate::diagnostics::Errors;

/// The enum.
pub(super) struct Contract<'a> {
    pub(super) ident: &'a Ident,
    pub(super) vis: &'a Visibility,
    /// Whether it has parameters that no contract has.
    pub(super) is_generic: bool,
    /// Whether its payloads borrow from the record.
    pub(super) borrows: bool,
    pub(super) variants: Vec<Variant>,
    /// Whether nothing was left out.
    pub(super) is_whole: bool,
}

pub(super) struct Variant {
    pub(super) ident: Ident,
    /// The name by which it travels.
    pub(super) record_type: LitStr,
    pub(super) payload: Type,
}

pub(super) fn contract<'a>(input: &'a DeriveInput, errors: &mut Errors) -> Contract<'a> {
    let before = errors.len();
    let is_generic = is_generic(input, errors);
    let variants = match &input.data {
        Data::Enum(_) if is_generic => vec![],
        Data::Enum(data) => variants(&data.variants, errors),
        Data::Struct(data) => not_an_enum(data.struct_token.span(), errors),
        Data::Union(data) => not_an_enum(data.union_token.span(), errors),
    };
    Contract {
        ident: &input.ident,
        vis: &input.vis,
        is_generic,
        borrows: input.generics.lifetimes().next().is_some(),
        variants,
        is_whole: errors.len() == before,
    }
}

fn not_an_enum(at: proc_macro2::Span, errors: &mut Errors) -> Vec<Variant> {
    errors.at(
        at,
        "a contract is an enum, one variant a record type\n\
         write `enum ContactEvent { CreateContact(Contact), .. }`",
    );
    vec![]
}

fn is_generic(input: &DeriveInput, errors: &mut Errors) -> bool {
    let mut params = input.generics.params.iter();
    if let Some(param) = params.find(|param| !matches!(param, GenericParam::Lifetime(_))) {
        errors.at(param.span(), "a contract can't be generic: its record types are fixed");
        return true;
    }
    if let Some(second) = input.generics.lifetimes().nth(1) {
        errors.at(second.span(), "a contract has one lifetime at most: the record's");
        return true;
    }
    false
}

fn variants(written: &Punctuated<syn::Variant, Token![,]>, errors: &mut Errors) -> Vec<Variant> {
    let mut variants: Vec<Variant> = vec![];
    for variant in written {
        let ident = &variant.ident;
        let Some(record_type) = record_type(variant, errors) else { continue };
        let same = |other: &&Variant| other.record_type.value() == record_type.value();
        if let Some(first) = variants.iter().find(same) {
            let (name, first) = (record_type.value(), &first.ident);
            errors.at(
                record_type.span(),
                format!(
                    "`{first}` and `{ident}` have the same record type `{name}`\n\
                     give one of them another: `#[event(\"..\")]`"
                ),
            );
            continue;
        }
        match &variant.fields {
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                let payload = fields.unnamed[0].ty.clone();
                variants.push(Variant { ident: ident.clone(), record_type, payload });
            }
            _ => errors
                .at(ident.span(), format!("`{ident}` needs one payload: write `{ident}(Payload)`")),
        }
    }
    variants
}

fn record_type(variant: &syn::Variant, errors: &mut Errors) -> Option<LitStr> {
    let mut name = None;
    for attr in variant.attrs.iter().filter(|attr| attr.path().is_ident("event")) {
        let Ok(literal) = attr.parse_args::<LitStr>() else {
            errors.on(attr, "name the record type: `#[event(\"contact.created.v1\")]`");
            continue;
        };
        if name.is_some() {
            errors.on(attr, format!("`{}` has one record type", variant.ident));
        } else {
            name = Some(literal);
        }
    }
    let name =
        name.unwrap_or_else(|| LitStr::new(&variant.ident.to_string(), variant.ident.span()));
    if name.value().is_empty() || !name.value().is_ascii() {
        errors.at(
            name.span(),
            "a record type is non-empty ASCII: it travels in the `__grt__` header\n\
             name it: `#[event(\"contact.created.v1\")]`",
        );
        return None;
    }
    Some(name)
}
