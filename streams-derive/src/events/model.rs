//! A contract: its record types, each with a variant and a payload. What is wrong is reported and
//! left out, and the rest goes on, so that one mistake is one error.

use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Fields, GenericParam, Ident, LitStr, Token, Type, Visibility};

use super::attr;
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
    /// Its older forms, newest first.
    pub(super) older: Vec<Older>,
}

/// `#[event("contact.created.v1", upcast = ContactV1)]`
pub(super) struct Older {
    pub(super) record_type: LitStr,
    pub(super) payload: Type,
}

impl Variant {
    fn record_types(&self) -> impl Iterator<Item = &LitStr> {
        let older = self.older.iter().map(|older| &older.record_type);
        std::iter::once(&self.record_type).chain(older)
    }
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
        let Some((record_type, older)) = attr::record_types(variant, errors) else { continue };
        let Fields::Unnamed(fields) = &variant.fields else {
            without_payload(ident, errors);
            continue;
        };
        let [field] = Vec::from_iter(&fields.unnamed)[..] else {
            without_payload(ident, errors);
            continue;
        };
        let payload = field.ty.clone();
        let variant = Variant { ident: ident.clone(), record_type, payload, older };
        if is_unique(&variant, &variants, errors) {
            variants.push(variant);
        }
    }
    variants
}

fn without_payload(ident: &Ident, errors: &mut Errors) {
    errors.at(ident.span(), format!("`{ident}` needs one payload: write `{ident}(Payload)`"));
}

/// Whether none of its record types is another's, or twice its own.
fn is_unique(variant: &Variant, earlier: &[Variant], errors: &mut Errors) -> bool {
    let before = errors.len();
    for (at, record_type) in variant.record_types().enumerate() {
        let name = record_type.value();
        let is_same = |other: &LitStr| other.value() == name;
        let ident = &variant.ident;
        if let Some(first) = earlier.iter().find(|first| first.record_types().any(is_same)) {
            let first = &first.ident;
            errors.at(
                record_type.span(),
                format!(
                    "`{first}` and `{ident}` have the same record type `{name}`\n\
                     give one of them another: `#[event(\"..\")]`"
                ),
            );
        } else if variant.record_types().take(at).any(is_same) {
            errors.at(record_type.span(), format!("`{ident}` has the record type `{name}` twice"));
        }
    }
    errors.len() == before
}
