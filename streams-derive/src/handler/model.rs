//! A handler: what it is called with, what it returns, and when.

use std::time::Duration;

use syn::spanned::Spanned;
use syn::{FnArg, GenericParam, LitStr, PatType, ReturnType, Signature, Type};

use super::Kind;
use super::attr::Attr;
use crate::diagnostics::{Errors, unknown};
use crate::duration;
use crate::options::RawOption;

/// A handler whose signature and options are right. Whether its types are is the compiler's to say.
pub(super) struct Handler {
    pub(super) role: Role,
    /// `EventContext<Store>`
    pub(super) context: Type,
    /// What all handlers share, if this one asks for it.
    pub(super) shared: Option<Type>,
    /// The payload, `SystemTime` or `Record`.
    pub(super) event: Type,
    pub(super) output: Type,
}

pub(super) enum Role {
    Event,
    Interjection { every: Duration, jitter: Duration },
    Default,
}

/// The options of async handlers.
const ASYNC_OPTIONS: [&str; 7] =
    ["concurrency", "key", "finalize", "timeout", "retries", "backoff", "durable"];

/// `None` if anything is wrong.
pub(super) fn handler(
    kind: Kind,
    attr: &Attr,
    sig: &Signature,
    errors: &mut Errors,
) -> Option<Handler> {
    let role = role(kind, attr, sig, errors);
    let Types { context, shared, event, output } = types(kind, sig, errors)?;
    // The attribute itself may be wrong as well.
    let role = role.filter(|_| errors.is_empty())?;
    Some(Handler { role, context, shared, event, output })
}

struct Types {
    context: Type,
    shared: Option<Type>,
    event: Type,
    output: Type,
}

fn role(kind: Kind, attr: &Attr, sig: &Signature, errors: &mut Errors) -> Option<Role> {
    let before = errors.len();
    let mut every = None;
    let mut jitter = None;
    let mut is_told = false;
    for option in &attr.options {
        let name = option.name.to_string();
        match (kind, name.as_str()) {
            (Kind::Interjection, "every") => every = duration(option, errors),
            (Kind::Interjection, "jitter") => jitter = duration(option, errors),
            (Kind::Interjection, wrong) => {
                errors.at(option.name.span(), unknown("option", wrong, &["every", "jitter"]))
            }
            (Kind::Event, name) if ASYNC_OPTIONS.contains(&name) => {
                // Once is enough.
                if !std::mem::replace(&mut is_told, true) {
                    errors.at(option.name.span(), for_jobs(name));
                }
            }
            (Kind::Event, wrong) => errors.at(
                option.name.span(),
                format!(
                    "unknown option `{wrong}`\n\
                     there are none: `#[event_handler(\"CreateContact\")]` is all of it"
                ),
            ),
            (Kind::Default, wrong) => errors.at(
                option.name.span(),
                format!("unknown option `{wrong}`\nthere are none: write `#[default_handler]`"),
            ),
        }
    }
    if let (Some(every), Some(jitter)) = (every, jitter)
        && jitter > every
        && let Some(option) = attr.options.iter().find(|option| option.name == "jitter")
    {
        errors.at(option.value_span(), "`jitter` must not be longer than `every`");
    }
    match kind {
        Kind::Event => Some(Role::Event),
        Kind::Default => Some(Role::Default),
        Kind::Interjection => {
            if every.is_none() && errors.len() == before {
                errors.at(
                    sig.ident.span(),
                    "how often does it run? `#[interjection(every = \"1s\")]`",
                );
            }
            every.map(|every| Role::Interjection { every, jitter: jitter.unwrap_or_default() })
        }
    }
}

fn for_jobs(option: &str) -> String {
    format!(
        "`{option}` is an option of async handlers, and this one owns its partition's store while \
         it runs\n\
         leave it out, or write `async fn name(event: Payload) -> Result<Value, Error>`, which \
         sees no store"
    )
}

fn duration(option: &RawOption, errors: &mut Errors) -> Option<Duration> {
    let name = option.name.to_string();
    match syn::parse2::<LitStr>(option.value.clone()) {
        Ok(literal) => errors.ok(duration::parse(&name, &literal)),
        Err(_) => {
            let form = format!("`{name}` takes a duration in quotes: `{name} = \"1s\"`");
            errors.at(option.value_span(), form);
            None
        }
    }
}

/// The types of context, shared state, event and result, if the signature has the right form.
fn types(kind: Kind, sig: &Signature, errors: &mut Errors) -> Option<Types> {
    let before = errors.len();
    let form = kind.form();
    if let Some(asyncness) = sig.asyncness {
        errors.at(asyncness.span(), is_async(kind));
        return None;
    }
    plain_function(sig, errors);
    if let Some(receiver) = sig.receiver() {
        let why = "a handler is a free function: `self` isn't there, state is in the store";
        errors.on(receiver, format!("{why}\nwrite `{form}`"));
        return None;
    }
    let (first, middle, last) = arguments(kind, sig, errors)?;
    let context = context(first, form, errors);
    let event = event(kind, last, errors);
    let output = match &sig.output {
        ReturnType::Type(_, ty) => Some((**ty).clone()),
        ReturnType::Default => {
            let why = format!("`{}` returns nothing: is the event complete?", sig.ident);
            errors.at(sig.paren_token.span.close(), format!("{why}\nwrite `{form}`"));
            None
        }
    };
    let types =
        Types { context: context?, shared: middle.cloned(), event: event?, output: output? };
    (errors.len() == before).then_some(types)
}

/// What no handler is: the source calls it, with types that are known.
pub(super) fn plain_function(sig: &Signature, errors: &mut Errors) {
    let why = "a handler can't be generic: each record type has one payload type";
    let mut params = sig.generics.params.iter();
    if let Some(param) = params.find(|param| !matches!(param, GenericParam::Lifetime(_))) {
        errors.on(param, why);
    } else {
        let types = sig.inputs.iter().filter_map(typed).map(|argument| &*argument.ty);
        types.filter(|ty| matches!(ty, Type::ImplTrait(_))).for_each(|ty| errors.on(ty, why));
    }
    if let syn::Safety::Unsafe(token) = &sig.safety {
        errors.at(token.span(), "a handler can't be `unsafe`: the source calls it for any record");
    }
}

fn is_async(kind: Kind) -> String {
    let form = kind.form();
    format!(
        "a handler can't be `async`: it owns its partition's store while it runs\n\
         write `{form}`; take `let completer = ctx.completer();` into the work, return \
         `Ok(Incomplete)`, and complete the event from any thread: \
         `completer.complete(|ctx| Ok(Complete))`"
    )
}

const fn typed(argument: &FnArg) -> Option<&PatType> {
    match argument {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    }
}

/// The types of context, what is shared, if it is asked for, and event.
fn arguments<'a>(
    kind: Kind,
    sig: &'a Signature,
    errors: &mut Errors,
) -> Option<(&'a Type, Option<&'a Type>, &'a Type)> {
    let form = kind.form();
    let arguments: Vec<&PatType> = sig.inputs.iter().filter_map(typed).collect();
    let (name, count) = (&sig.ident, arguments.len());
    let is_mut = |ty: &Type| matches!(ty, Type::Reference(ty) if ty.mutability.is_some());
    let (first, middle, last) = match arguments.as_slice() {
        [] | [_] => {
            let why = format!("`{name}` takes too few arguments ({count} of 2)");
            errors.at(sig.paren_token.span.join(), format!("{why}\nwrite `{form}`"));
            return None;
        }
        [first, last] => (&*first.ty, None, &*last.ty),
        [first, middle, last] => (&*first.ty, Some(middle), &*last.ty),
        [_, _, _, fourth, ..] => {
            let why = format!("`{name}` takes too many arguments ({count} of 2)");
            errors.on(fourth, format!("{why}\nwrite `{form}`"));
            return None;
        }
    };
    let others = [Some(last), middle.map(|middle| &*middle.ty)];
    if !is_mut(first) && others.into_iter().flatten().any(is_mut) {
        let why = "the arguments are in the wrong order";
        errors.on(&sig.inputs, format!("{why}\nwrite `{form}`"));
        return None;
    }
    let Some(middle) = middle else { return Some((first, None, last)) };
    match &*middle.ty {
        Type::Reference(reference) if reference.mutability.is_none() => {
            Some((first, Some(&*reference.elem), last))
        }
        _ => {
            let why =
                "between context and event there is only what all handlers share, by reference";
            let form = form.replacen(", ", ", app: &App, ", 1);
            errors.on(middle, format!("{why}\nwrite `{form}`, or leave it out"));
            None
        }
    }
}

fn context(first: &Type, form: &str, errors: &mut Errors) -> Option<Type> {
    match first {
        Type::Reference(reference) if reference.mutability.is_some() => {
            Some((*reference.elem).clone())
        }
        other => {
            let why = "the first argument must be `&mut EventContext<Store>`";
            errors.on(other, format!("{why}\nwrite `{form}`"));
            None
        }
    }
}

fn event(kind: Kind, second: &Type, errors: &mut Errors) -> Option<Type> {
    let form = kind.form();
    match (kind, second) {
        (Kind::Default, Type::Reference(reference)) => Some((*reference.elem).clone()),
        (Kind::Default, other) => {
            let why = "a default handler takes the raw `&Record`";
            errors.on(other, format!("{why}\nwrite `{form}`"));
            None
        }
        (Kind::Interjection, Type::Reference(reference)) => {
            let why = "an interjection is told the time as `SystemTime`";
            errors.on(reference, format!("{why}\nwrite `{form}`"));
            None
        }
        (Kind::Event, Type::Reference(reference)) if !may_be_borrowed(&reference.elem) => {
            errors.on(reference, format!("a handler takes its event by value\nwrite `{form}`"));
            None
        }
        (Kind::Event | Kind::Interjection, other) => Some(other.clone()),
    }
}

/// `&str` and `&[u8]` are payloads themselves.
fn may_be_borrowed(referent: &Type) -> bool {
    match referent {
        Type::Slice(_) => true,
        Type::Path(path) => path.path.is_ident("str"),
        _ => false,
    }
}
