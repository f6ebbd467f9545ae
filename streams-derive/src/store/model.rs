//! A store: its tables, each with a name in the changelog.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::parse::{Parse as _, ParseStream, Parser as _};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Field, Fields, Ident, LitStr, Token, Type, bracketed, token};

use crate::diagnostics::{Errors, unknown};
use crate::options::{self, RawOption};

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
    /// The types that its rows had before.
    pub(super) older: Vec<Type>,
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
    let (mut is_named, mut older) = (false, vec![]);
    for attr in field.attrs.iter().filter(|attr| attr.path().is_ident("table")) {
        let mut own_errors = Errors::default();
        let parser = |input: ParseStream<'_>| {
            let literal = if input.peek(LitStr) { Some(input.parse::<LitStr>()?) } else { None };
            if literal.is_some() && !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
            Ok((literal, options::parse(input, &mut own_errors)?))
        };
        let parsed = attr.parse_args_with(parser);
        errors.append(own_errors);
        let literal = parsed.and_then(|(literal, options)| {
            older.extend(older_rows(&options, errors));
            match literal {
                Some(literal) => Ok(Some(literal)),
                None if !options.is_empty() => Ok(None),
                None => Err(syn::Error::new(attr.span(), "it is empty")),
            }
        });
        match literal {
            Ok(None) => {}
            Ok(Some(_)) if is_named => errors.on(attr, format!("`{ident}` has one name")),
            Ok(Some(literal)) if literal.value().is_empty() || literal.value().contains('\0') => {
                errors.at(
                    literal.span(),
                    "a table's name is not empty and has no zero byte, which ends it in the \
                     changelog's keys",
                );
            }
            Ok(Some(literal)) => (name, is_named) = (literal, true),
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
    Some(Table { field: ident, name, ty: &field.ty, older })
}

/// `upcast = ContactV1`, or `upcast = [ContactV2, ContactV1]`.
fn older_rows(options: &[RawOption], errors: &mut Errors) -> Vec<Type> {
    let mut older = vec![];
    for option in options {
        let name = option.name.to_string();
        if name != "upcast" {
            let wrong = unknown("option", &name, &["upcast"]);
            let form = format!("a name is quoted: `#[table(\"{name}\")]`");
            errors.at(option.name.span(), format!("{wrong}; {form}"));
            continue;
        }
        let list = |input: ParseStream<'_>| {
            if !input.peek(token::Bracket) {
                return Ok(vec![input.parse::<Type>()?]);
            }
            let content;
            bracketed!(content in input);
            Ok(content.parse_terminated(Type::parse, Token![,])?.into_iter().collect())
        };
        match list.parse2(option.value.clone()) {
            Ok(types) => older.extend(types),
            Err(_) => {
                let form = "`upcast` takes the types of older rows, newest first: \
                            `upcast = [ContactV2, ContactV1]`";
                errors.at(option.value_span(), form);
            }
        }
    }
    older
}
