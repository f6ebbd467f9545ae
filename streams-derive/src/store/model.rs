//! A store: its tables, each with a name in the changelog.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Field, Fields, Ident, LitStr, Type};

use crate::diagnostics::Errors;

const FORM: &str = "write `struct Store { contacts: Table<ContactId, Contact> }`";

/// The struct.
pub(super) struct Store<'a> {
    pub(super) ident: &'a Ident,
    pub(super) tables: Vec<Table<'a>>,
}

pub(super) struct Table<'a> {
    pub(super) field: &'a Ident,
    /// What its keys are prefixed with in the changelog.
    pub(super) name: LitStr,
    pub(super) ty: &'a Type,
}

/// `None` if it is no store at all; a table whose name is wrong keeps its field's.
pub(super) fn store<'a>(input: &'a DeriveInput, errors: &mut Errors) -> Option<Store<'a>> {
    let data = match &input.data {
        Data::Struct(data) => data,
        Data::Enum(data) => return not_a_struct(data.enum_token.span(), errors),
        Data::Union(data) => return not_a_struct(data.union_token.span(), errors),
    };
    if let Some(param) = input.generics.params.first() {
        errors.at(param.span(), "a store can't be generic: its tables have fixed types");
        return None;
    }
    let mut tables: Vec<Table<'a>> = vec![];
    match &data.fields {
        Fields::Unit => {}
        Fields::Named(fields) => {
            for field in &fields.named {
                tables.extend(table(field, &tables, errors));
            }
        }
        Fields::Unnamed(fields) => {
            let why = "a store's fields need names: a table's name is its name in the changelog";
            errors.on(fields, format!("{why}\n{FORM}"));
            return None;
        }
    }
    Some(Store { ident: &input.ident, tables })
}

fn not_a_struct<T>(at: Span, errors: &mut Errors) -> Option<T> {
    errors.at(at, format!("a store is a struct whose fields are tables\n{FORM}"));
    None
}

fn table<'a>(field: &'a Field, before: &[Table<'_>], errors: &mut Errors) -> Option<Table<'a>> {
    let ident = field.ident.as_ref()?;
    let mut name = LitStr::new(&ident.unraw().to_string(), ident.span());
    let mut is_named = false;
    for attr in field.attrs.iter().filter(|attr| attr.path().is_ident("table")) {
        match attr.parse_args::<LitStr>() {
            Ok(_) if is_named => errors.on(attr, format!("`{ident}` has one name")),
            Ok(literal) if literal.value().is_empty() || literal.value().contains('\0') => {
                errors.at(
                    literal.span(),
                    "a table's name is not empty and has no zero byte, which ends it in the \
                     changelog's keys",
                );
            }
            Ok(literal) => (name, is_named) = (literal, true),
            Err(_) => errors.on(attr, "name the table: `#[table(\"contacts\")]`"),
        }
    }
    if let Some(first) = before.iter().find(|table| table.name.value() == name.value()) {
        let (first, same) = (first.field, name.value());
        // rustc says it of two fields with one name.
        if first != ident {
            errors.at(
                name.span(),
                format!(
                    "`{first}` and `{ident}` have the same name `{same}` in the changelog\n\
                     give one of them another: `#[table(\"..\")]`"
                ),
            );
        }
    }
    Some(Table { field: ident, name, ty: &field.ty })
}
