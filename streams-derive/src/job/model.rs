//! A durable job: a type with a name in the changelog.

use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{DeriveInput, Ident, LitStr};

use crate::diagnostics::Errors;

/// The longest name: its length in a row of the changelog has a bound.
const NAME_BYTES_MAX: usize = 254;

pub(super) struct Job<'a> {
    pub(super) ident: &'a Ident,
    /// The job type in the changelog.
    pub(super) name: LitStr,
}

/// `None` if it can be no job; a job whose name is wrong keeps its type's.
pub(super) fn job<'a>(input: &'a DeriveInput, errors: &mut Errors) -> Option<Job<'a>> {
    if let Some(param) = input.generics.params.first() {
        errors.at(
            param.span(),
            "a durable job can't be generic or borrow: it outlives its event, and its job type \
             names one form\nown what it has (`String`, not `&str`)",
        );
        return None;
    }
    let ident = &input.ident;
    let mut name = LitStr::new(&ident.unraw().to_string(), ident.span());
    let mut is_named = false;
    for attr in input.attrs.iter().filter(|attr| attr.path().is_ident("job")) {
        match attr.parse_args::<LitStr>() {
            Ok(_) if is_named => errors.on(attr, format!("`{ident}` has one job type")),
            Ok(literal) if !(1..=NAME_BYTES_MAX).contains(&literal.value().len()) => errors.at(
                literal.span(),
                format!("the name of a job type has 1 to {NAME_BYTES_MAX} bytes"),
            ),
            Ok(literal) => (name, is_named) = (literal, true),
            Err(_) => errors.on(attr, "name the job type: `#[job(\"send-mail\")]`"),
        }
    }
    Some(Job { ident, name })
}
