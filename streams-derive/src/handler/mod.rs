//! `#[event_handler]`, `#[interjection]`, `#[default_handler]`: the function as written, and a twin
//! type of the same name (types and functions live in separate namespaces) that carries the types
//! of its arguments and calls it.

mod attr;
mod expand;
mod function;
mod job;
mod model;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::{Attribute, LitStr, Meta, Visibility};

pub(crate) use self::function::{Function, body};
use crate::diagnostics::Errors;

/// Which of the three attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Event,
    Interjection,
    Default,
}

impl Kind {
    /// The kind, if it is one of our attributes, by whatever path.
    pub(crate) fn of(attr: &Attribute) -> Option<Self> {
        match attr.path().segments.last()?.ident.to_string().as_str() {
            "event_handler" => Some(Self::Event),
            "interjection" => Some(Self::Interjection),
            "default_handler" => Some(Self::Default),
            _ => None,
        }
    }

    /// The whole legal form, shown once.
    const fn form(self) -> &'static str {
        match self {
            Self::Event => {
                "fn name(ctx: &mut EventContext<Store>, event: Payload) -> Result<ExecutionState>"
            }
            Self::Interjection => {
                "fn name(ctx: &mut EventContext<Store>, at: SystemTime) -> Result<ExecutionState>"
            }
            Self::Default => {
                "fn name(ctx: &mut EventContext<Store>, record: &Record) -> Result<ExecutionState>"
            }
        }
    }
}

/// A handler as its source sees it: tokens, because they pass through the contract's own macro.
pub(crate) struct Expanded {
    /// The function as written, its errors, and the twin.
    pub(crate) items: TokenStream,
    /// The rows of the routing table, one a record type, without the handler's path.
    pub(crate) rows: Vec<TokenStream>,
}

/// Expands one handler. `at` is the attribute's place, and `twin_vis` the twin's visibility.
pub(crate) fn expand(
    kind: Kind,
    at: Span,
    attr: TokenStream,
    mut function: Function,
    twin_vis: &Visibility,
) -> Expanded {
    let mut errors = Errors::default();
    let mut attr = attr::parse(kind, at, attr, &mut errors);
    while let Some(second) = function.take_handler_attribute() {
        let more = second_attribute(kind, &second, &function.sig.ident, &mut errors);
        attr.record_types.extend(more);
    }
    let (columns, twin) = match kind == Kind::Event && function.sig.asyncness.is_some() {
        true => {
            let job = job::job(&attr, &function.sig, &mut errors);
            let columns = job.as_ref().map(|job| job::columns(job, &function));
            (columns, job.map(|job| job::twin(&job, &function, twin_vis)))
        }
        false => {
            let handler = model::handler(kind, &attr, &function.sig, &mut errors);
            let columns = handler.as_ref().map(expand::columns);
            (columns, handler.map(|handler| expand::twin(&handler, &function, twin_vis)))
        }
    };
    let rows = expand::rows(kind, &attr, columns, &function);
    let errors = errors.to_compile_errors();
    // The form is ours, not the user's.
    let lints = quote!(#[allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps)]);
    Expanded { items: quote!(#lints #function #errors #twin), rows }
}

/// A function has one attribute of ours. The record types of a second one are handled all the same,
/// so that nothing else is said of them.
fn second_attribute(
    kind: Kind,
    second: &Attribute,
    name: &Ident,
    errors: &mut Errors,
) -> Vec<LitStr> {
    if kind == Kind::Event && Kind::of(second) == Some(Kind::Event) {
        let form = "name all its record types in one: `#[event_handler(\"One\", \"Two\")]`";
        errors.on(second, format!("`{name}` is a handler already\n{form}"));
        let rest = attr::parse(kind, Span::call_site(), options(second), &mut Errors::default());
        return rest.record_types;
    }
    errors.on(second, format!("`{name}` is a handler already\nwrite another function for this"));
    vec![]
}

/// What stands in an attribute's parentheses.
pub(crate) fn options(attr: &Attribute) -> TokenStream {
    match &attr.meta {
        Meta::List(list) => list.tokens.clone(),
        Meta::Path(_) | Meta::NameValue(_) => TokenStream::new(),
    }
}

/// A handler outside of an `#[event_source]` module: its rows are a macro of its own name, which a
/// source that lists it calls.
pub(crate) fn standalone(kind: Kind, attr: TokenStream, item: &TokenStream) -> TokenStream {
    let function: Function = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let message = format!("a handler is a function: `{}`", kind.form());
            let error = syn::Error::new(error.span(), message).to_compile_error();
            return quote!(#item #error);
        }
    };
    let vis = at_most_crate(&function.vis);
    let (ident, is_method) = (function.sig.ident.clone(), function.sig.receiver().is_some());
    let Expanded { items, rows } = expand(kind, Span::call_site(), attr, function, &vis);
    if is_method {
        return items; // In an `impl`, where no macro may stand.
    }
    let hand_over = hand_over(&ident, &vis, &rows);
    quote!(#items #hand_over)
}

/// `create! { [handlers still to ask] {path of this one} [rows so far] rest.. }` adds its rows and
/// calls the next handler, the last one the contract.
fn hand_over(ident: &Ident, vis: &Visibility, rows: &[TokenStream]) -> TokenStream {
    let helper = format_ident!("__handler_{}", ident);
    let rows = quote!([$($rows)* #({{$($me)*} #rows})*]);
    quote! {
        #[doc(hidden)]
        #[allow(unused_macros)]
        macro_rules! #helper {
            ([{$($next:tt)*} $($todo:tt)*] {$($me:tt)*} [$($rows:tt)*] $($rest:tt)*) => {
                $($next)*! { [$($todo)*] {$($next)*} #rows $($rest)* }
            };
            ([] {$($me:tt)*} [$($rows:tt)*] {$($contract:tt)*} $($rest:tt)*) => {
                $($contract)*! {
                    {::streams_core::__private::routing_table} #rows {$($contract)*} $($rest)*
                }
            };
        }
        #[doc(hidden)]
        #[allow(unused_imports)]
        #vis use #helper as #ident;
    }
}

/// A macro that isn't exported can be named inside its crate only.
fn at_most_crate(vis: &Visibility) -> Visibility {
    match vis {
        Visibility::Public(public) => {
            let span = syn::spanned::Spanned::span(public);
            syn::parse_quote_spanned!(span => pub(crate))
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half-typed, not even an expression: the body is the user's, and so is its error.
    #[test]
    fn the_function_is_emitted_as_written() {
        let sync = "fn a(ctx: &mut EventContext<S>, p: P) -> Result<ExecutionState>";
        for (attr, item) in [
            ("\"A\"", format!("{sync} {{ let x = p. ; }}")),
            ("\"A\", wrong = 1", format!("pub(crate) {sync} {{ match }}")),
            ("", "async fn a() { }".to_owned()),
        ] {
            let tokens = |text: &str| text.parse::<TokenStream>().expect("tokens");
            let function: Function = syn::parse2(tokens(&item)).expect("a function");
            let vis = Visibility::Inherited;
            let e = expand(Kind::Event, Span::call_site(), tokens(attr), function, &vis);
            let squeeze = |text: &str| text.replace(char::is_whitespace, "");
            let items = squeeze(&e.items.to_string());
            assert!(items.contains(&squeeze(&tokens(&item).to_string())), "{items}");
        }
    }
}
