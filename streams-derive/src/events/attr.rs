//! `#[event("contact.created.v2")]`, and `#[event("contact.created.v1", upcast = ContactV1)]` for
//! each older form.

use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, LitStr, Token, Type};

use super::model::Older;
use crate::diagnostics::{Errors, unknown};
use crate::options::{self, RawOption};

/// The variant's record type, and its older forms; `None` if it has no usable one.
pub(super) fn record_types(
    variant: &syn::Variant,
    errors: &mut Errors,
) -> Option<(LitStr, Vec<Older>)> {
    let (mut newest, mut older) = (None, vec![]);
    let mut is_whole = true;
    for attr in variant.attrs.iter().filter(|attr| attr.path().is_ident("event")) {
        let Some((name, options)) = parse(attr, errors) else { continue };
        if !is_sendable(&name, errors) {
            is_whole = false;
            continue;
        }
        match upcast(&options, errors) {
            Upcast::From(payload) => older.push(Older { record_type: name, payload: *payload }),
            Upcast::Wrong => {}
            Upcast::None if newest.is_none() => newest = Some(name),
            Upcast::None => {
                let (ident, name) = (&variant.ident, name.value());
                let form = format!("#[event(\"{name}\", upcast = OldPayload)]");
                let why = format!("`{ident}` has one record type, and older forms: `{form}`");
                errors.on(attr, why);
            }
        }
    }
    // `r#Type` is Rust's spelling of `Type`, and no reader's.
    let by_ident = || LitStr::new(&variant.ident.unraw().to_string(), variant.ident.span());
    let newest = match newest {
        Some(newest) => newest,
        // That its own name is wrong is said.
        None if !is_whole => return None,
        None => Some(by_ident()).filter(|name| is_sendable(name, errors))?,
    };
    Some((newest, older))
}

fn parse(attr: &Attribute, errors: &mut Errors) -> Option<(LitStr, Vec<RawOption>)> {
    let mut own_errors = Errors::default();
    let parsed = attr.parse_args_with(|input: ParseStream<'_>| {
        let name = input.parse::<LitStr>()?;
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
        Ok((name, options::parse(input, &mut own_errors)?))
    });
    errors.append(own_errors);
    if parsed.is_err() {
        errors.on(attr, "name the record type: `#[event(\"contact.created.v1\")]`");
    }
    parsed.ok()
}

fn is_sendable(name: &LitStr, errors: &mut Errors) -> bool {
    let text = name.value();
    let is_sendable = !text.is_empty() && text.is_ascii();
    if !is_sendable {
        errors.at(
            name.span(),
            "a record type is non-empty ASCII: it travels in the `__grt__` header\n\
             name it: `#[event(\"contact.created.v1\")]`",
        );
    }
    is_sendable
}

enum Upcast {
    /// There is none: this is today's record type.
    None,
    From(Box<Type>),
    /// And that is said.
    Wrong,
}

fn upcast(options: &[RawOption], errors: &mut Errors) -> Upcast {
    let mut upcast = Upcast::None;
    for option in options {
        let name = option.name.to_string();
        if name != "upcast" {
            errors.at(option.name.span(), unknown("option", &name, &["upcast"]));
            return Upcast::Wrong;
        }
        upcast = match Type::parse.parse2(option.value.clone()) {
            Ok(payload) => Upcast::From(Box::new(payload)),
            Err(_) => {
                let form = "`upcast` takes the type of the old payload: `upcast = ContactV1`";
                errors.at(option.value_span(), form);
                return Upcast::Wrong;
            }
        };
    }
    upcast
}
