//! The routes: each record type with its handler. Names are judged here; types by the compiler, in
//! the code that `expand` writes.

use super::attr::{Contract, Row, RowKind, Source, Variant};
use crate::diagnostics::{Errors, did_you_mean, list};

/// What can be routed. A record type has two routes, and a source two default handlers, only under
/// different `#[cfg(..)]`.
pub(super) struct Routing<'a> {
    pub(super) routes: Vec<Route<'a>>,
    pub(super) defaults: Vec<&'a Row>,
    pub(super) interjections: Vec<&'a Row>,
    /// What is wrong if no default handler is left by its `#[cfg(..)]`.
    pub(super) missing_without_default: Option<String>,
}

impl Routing<'_> {
    /// Whether there is a default handler in every configuration.
    pub(super) fn has_default(&self) -> bool {
        self.defaults.iter().any(|row| row.cfgs.is_empty())
    }
}

#[derive(Clone, Copy)]
pub(super) struct Route<'a> {
    pub(super) variant: &'a Variant,
    pub(super) row: &'a Row,
}

pub(super) fn routing<'a>(source: &'a Source, errors: &mut Errors) -> Routing<'a> {
    undeclared_shared(source, errors);
    let rows = rows(&source.rows, errors);
    let of_kind = |kind| rows.iter().copied().filter(move |row| row.kind == kind);
    let defaults = defaults(of_kind(RowKind::Default), errors);
    let (routes, all_known) = routes(&source.contract, of_kind(RowKind::Event), errors);
    let interjections = of_kind(RowKind::Interjection).collect();
    let mut routing = Routing { routes, defaults, interjections, missing_without_default: None };
    // Besides an unknown record type nothing is called missing: it is probably the one.
    if all_known && source.contract.is_whole && !routing.has_default() {
        match (missing(source, &routing.routes), routing.defaults.is_empty()) {
            (Some(message), true) => errors.at(source.at, message),
            (message, _) => routing.missing_without_default = message,
        }
    }
    routing
}

/// That nothing is shared is one mistake, however many handlers ask for it.
fn undeclared_shared(source: &Source, errors: &mut Errors) {
    let mut asking = source.rows.iter().filter_map(|row| row.shared.as_ref());
    if source.shared.is_none()
        && let Some((place, app)) = asking.next()
    {
        errors.on(
            place,
            format!(
                "this source shares nothing among its handlers\n\
                 declare it: `#[event_source(.., shared = {app})]`, and give it to the builder: \
                 `.shared(..)`"
            ),
        );
    }
}

/// Each handler once, though the list may name it twice.
fn rows<'a>(written: &'a [Row], errors: &mut Errors) -> Vec<&'a Row> {
    let mut rows: Vec<&Row> = vec![];
    for row in written {
        let is_same = |other: &&Row| {
            let is_always = other.cfgs.is_empty() && row.cfgs.is_empty();
            let record_types = (other.record_type.value(), row.record_type.value());
            is_always && other.name() == row.name() && record_types.0 == record_types.1
        };
        if rows.iter().any(is_same) {
            errors.on(&row.path, format!("`{}` is listed twice\nremove one", row.name()));
        } else {
            rows.push(row);
        }
    }
    rows
}

fn defaults<'a>(rows: impl Iterator<Item = &'a Row>, errors: &mut Errors) -> Vec<&'a Row> {
    let mut defaults: Vec<&Row> = vec![];
    for row in rows {
        let is_always = |row: &&&Row| row.cfgs.is_empty();
        match defaults.iter().find(is_always).filter(|_| row.cfgs.is_empty()) {
            Some(first) => errors.at(
                row.record_type.span(),
                format!("a source has one default handler, and `{}` is one already", first.name()),
            ),
            None => defaults.push(row),
        }
    }
    defaults
}

fn routes<'a>(
    contract: &'a Contract,
    rows: impl Iterator<Item = &'a Row>,
    errors: &mut Errors,
) -> (Vec<Route<'a>>, bool) {
    let mut routes: Vec<Route<'a>> = vec![];
    let mut all_known = true;
    for row in rows {
        let name = row.record_type.value();
        if name.is_empty() {
            all_known = false; // It said so itself.
            continue;
        }
        let Some(variant) = contract.variants.iter().find(|variant| variant.record_type == name)
        else {
            all_known = false;
            if contract.is_whole {
                errors.at(row.record_type.span(), unknown(contract, &name));
            }
            continue;
        };
        let same = |route: &&Route<'_>| {
            route.variant.record_type == name && route.row.cfgs.is_empty() && row.cfgs.is_empty()
        };
        if let Some(first) = routes.iter().find(same) {
            let (first, second) = (first.row.name(), row.name());
            errors.at(
                row.record_type.span(),
                format!(
                    "`{name}` has two handlers: `{first}` and `{second}`\n\
                     remove one: a record type has exactly one handler"
                ),
            );
            continue;
        }
        routes.push(Route { variant, row });
    }
    (routes, all_known)
}

fn unknown(contract: &Contract, name: &str) -> String {
    let known = || contract.variants.iter().map(|variant| variant.record_type.as_str());
    let wrong = name.to_owned();
    let hint = if let Some(variant) = contract.variants.iter().find(|v| v.ident == name) {
        format!("`{name}` is the variant, its record type is `{}`", variant.record_type)
    } else if let Some(variant) = contract.variants.iter().find(|v| v.older.contains(&wrong)) {
        let newest = &variant.record_type;
        format!("it is an older form of `{newest}`, whose handler gets it in the newest form")
    } else if let Some(near) = did_you_mean(name, known()) {
        format!("did you mean `{near}`?")
    } else {
        format!("its record types are {}", list(known()))
    };
    format!("`{name}` is not a record type of `{}`\n{hint}", contract.name)
}

/// What to say of the record types without a handler, if there are any.
fn missing(source: &Source, routes: &[Route<'_>]) -> Option<String> {
    let is_routed = |variant: &Variant| {
        routes.iter().any(|route| route.variant.record_type == variant.record_type)
    };
    let missing: Vec<_> =
        source.contract.variants.iter().filter(|variant| !is_routed(variant)).collect();
    let first = missing.first()?;
    let names = list(missing.iter().map(|variant| variant.record_type.as_str()));
    let (contract, store) = (&source.contract.name, source.store.to_string().replace(' ', ""));
    let (record_type, payload) = (&first.record_type, &first.payload);
    Some(format!(
        "no handler for {names} of `{contract}`\n\
         add `#[event_handler(\"{record_type}\")] fn ..(ctx: &mut EventContext<{store}>, \
         event: {payload}) -> Result<ExecutionState>`, or a `#[default_handler]`; one that stands \
         elsewhere is listed: `#[event_source(.., handlers = [path::of::it])]`"
    ))
}
