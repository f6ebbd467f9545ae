//! The routes: each record type with its handler. Names are judged here; types by the compiler, in
//! the code that `expand` writes.

use super::attr::{Contract, Row, RowKind, Source, Variant};
use crate::diagnostics::{Errors, did_you_mean, list};

/// What can be routed. A record type has two routes only under different `#[cfg(..)]`.
pub(super) struct Routing<'a> {
    pub(super) routes: Vec<Route<'a>>,
    pub(super) default: Option<&'a Row>,
    pub(super) interjections: Vec<&'a Row>,
}

#[derive(Clone, Copy)]
pub(super) struct Route<'a> {
    pub(super) variant: &'a Variant,
    pub(super) row: &'a Row,
}

pub(super) fn routing<'a>(source: &'a Source, errors: &mut Errors) -> Routing<'a> {
    let of_kind = |kind| source.rows.iter().filter(move |row| row.kind == kind);
    let mut default: Option<&Row> = None;
    for row in of_kind(RowKind::Default) {
        match default {
            Some(first) if first.cfgs.is_empty() && row.cfgs.is_empty() => errors.at(
                row.context.from,
                format!("a source has one default handler, and `{}` is one already", first.name()),
            ),
            _ => default = Some(row),
        }
    }
    let (routes, all_known) = routes(&source.contract, of_kind(RowKind::Event), errors);
    // Besides an unknown record type nothing is called missing: it is probably the one.
    if all_known && default.is_none() && source.contract.is_whole {
        missing(source, &routes, errors);
    }
    Routing { routes, default, interjections: of_kind(RowKind::Interjection).collect() }
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
            all_known = false;
            // A broken one said so itself.
            if row.is_whole {
                errors.at(row.record_type.span(), unknown(contract, &name));
            }
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
    let hint = if let Some(variant) = contract.variants.iter().find(|v| v.ident == name) {
        format!("`{name}` is the variant, its record type is `{}`", variant.record_type)
    } else if let Some(near) = did_you_mean(name, known()) {
        format!("did you mean `{near}`?")
    } else {
        format!("its record types are {}", list(known()))
    };
    format!("`{name}` is not a record type of `{}`\n{hint}", contract.name)
}

fn missing(source: &Source, routes: &[Route<'_>], errors: &mut Errors) {
    let is_routed = |variant: &Variant| {
        routes.iter().any(|route| route.variant.record_type == variant.record_type)
    };
    let missing: Vec<_> =
        source.contract.variants.iter().filter(|variant| !is_routed(variant)).collect();
    let Some(first) = missing.first() else { return };
    let names = list(missing.iter().map(|variant| variant.record_type.as_str()));
    let (contract, store) = (&source.contract.name, source.store.to_string().replace(' ', ""));
    let (record_type, payload) = (&first.record_type, &first.payload);
    errors.at(
        source.at,
        format!(
            "no handler for {names} of `{contract}`\n\
             add `#[event_handler(\"{record_type}\")] fn ..(ctx: &mut EventContext<{store}>, \
             event: {payload}) -> Result<ExecutionState>`, or a `#[default_handler]`"
        ),
    );
}
