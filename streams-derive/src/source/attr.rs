//! What stands in the parentheses of `#[event_source(..)]`.

use proc_macro2::{Span, TokenStream};
use syn::parse::{ParseStream, Parser};
use syn::{Path, Token, Type, bracketed};

use crate::diagnostics::{Errors, unknown};
use crate::options::{self, RawOption};

const OPTIONS: [&str; 5] = ["events", "store", "shared", "key", "handlers"];

/// What is right of it.
#[derive(Default)]
pub(super) struct Args {
    pub(super) events: Option<Path>,
    pub(super) store: Option<Path>,
    /// What all handlers share, if there is such a thing.
    pub(super) shared: Option<Type>,
    /// The type of the source topic's keys, if it is declared.
    pub(super) key: Option<Type>,
    pub(super) handlers: Vec<Path>,
    /// Whether all of it is.
    pub(super) is_whole: bool,
}

pub(super) fn parse(attr: TokenStream, errors: &mut Errors) -> Args {
    let before = errors.len();
    let parser = |input: ParseStream<'_>| options::parse(input, errors);
    let options = match parser.parse2(attr) {
        Ok(options) => options,
        Err(error) => {
            errors.push(error);
            return Args::default();
        }
    };
    let mut args = Args::default();
    for option in &options {
        match option.name.to_string().as_str() {
            "events" => args.events = path(option, "ContactEvent", errors),
            "store" => args.store = path(option, "ContactStore", errors),
            "shared" => args.shared = shared(option, errors),
            "key" => args.key = key(option, errors),
            "handlers" => args.handlers = paths(option, errors),
            wrong => errors.at(option.name.span(), unknown("option", wrong, &OPTIONS)),
        }
    }
    // What is missing is probably what is misspelt.
    if errors.len() != before {
        return args;
    }
    if args.events.is_none() {
        errors.at(Span::call_site(), "which contract does it consume? `events = ContactEvent`");
    }
    if args.store.is_none() {
        errors.at(
            Span::call_site(),
            "where is its state? `store = ContactStore`, or `store = NoStore` if it keeps none",
        );
    }
    args.is_whole = errors.len() == before;
    args
}

fn path(option: &RawOption, example: &str, errors: &mut Errors) -> Option<Path> {
    let parsed = syn::parse2::<Path>(option.value.clone());
    if parsed.is_err() {
        let name = &option.name;
        let form = format!("`{name}` takes the path of a type: `{name} = {example}`");
        errors.at(option.value_span(), form);
    }
    parsed.ok()
}

fn shared(option: &RawOption, errors: &mut Errors) -> Option<Type> {
    let parsed = syn::parse2::<Type>(option.value.clone()).ok();
    // It outlives everything, so a reference would have to be `'static`.
    let form = match &parsed {
        Some(Type::Reference(_)) => "`shared` is lent to the handlers: leave the `&` out",
        Some(_) => return parsed,
        None => "`shared` takes the type of what all handlers share: `shared = App`",
    };
    match &parsed {
        Some(reference) => errors.on(reference, form),
        None => errors.at(option.value_span(), form),
    }
    None
}

fn key(option: &RawOption, errors: &mut Errors) -> Option<Type> {
    let form = "`key` takes the type of the topic's keys, which is owned: `key = String`";
    match syn::parse2::<Type>(option.value.clone()) {
        Ok(reference @ Type::Reference(_)) => errors.on(reference, form),
        Ok(key) => return Some(key),
        Err(_) => errors.at(option.value_span(), form),
    }
    None
}

fn paths(option: &RawOption, errors: &mut Errors) -> Vec<Path> {
    let parser = |input: ParseStream<'_>| {
        let content;
        bracketed!(content in input);
        content.parse_terminated(Path::parse_mod_style, Token![,])
    };
    if let Ok(paths) = parser.parse2(option.value.clone()) {
        return paths.into_iter().collect();
    }
    let form = "`handlers` takes a list of functions: `handlers = [create, deletion::delete]`";
    errors.at(option.value_span(), form);
    vec![]
}
