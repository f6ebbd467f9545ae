//! All errors at once, each on its token, each with the fix.

use std::fmt::Display;

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// What is wrong with one macro's input, so far.
#[derive(Default)]
pub(crate) struct Errors(Vec<syn::Error>);

impl Errors {
    /// One error, at one token.
    pub(crate) fn at(&mut self, span: Span, message: impl Display) {
        self.0.push(syn::Error::new(span, message));
    }

    /// One error that underlines all of `tokens`, where [`Errors::at`] on a stable compiler
    /// underlines the first.
    pub(crate) fn on(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.0.push(syn::Error::new_spanned(tokens, message));
    }

    /// All that another step found.
    pub(crate) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// An error that a parser returned.
    pub(crate) fn push(&mut self, error: syn::Error) {
        self.0.push(error);
    }

    /// The value, or `None` and the error is kept.
    pub(crate) fn ok<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.0.push(error)).ok()
    }

    /// How many there are: a step that added none succeeded.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One `compile_error!` each.
    pub(crate) fn to_compile_errors(&self) -> TokenStream {
        self.0.iter().map(syn::Error::to_compile_error).collect()
    }
}

/// "unknown option `evry`, did you mean `every`?", and the known ones in the next line.
pub(crate) fn unknown(what: &str, wrong: &str, known: &[&str]) -> String {
    let near = did_you_mean(wrong, known.iter().copied())
        .map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
    let known = match known {
        [one] => format!("the {what} is `{one}`"),
        known => format!("the {what}s are {}", list(known.iter().copied())),
    };
    format!("unknown {what} `{wrong}`{near}\n{known}")
}

/// The candidate nearest to `wrong`, if it is near enough to be a typo.
pub(crate) fn did_you_mean<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wrong = fold(wrong);
    known
        .into_iter()
        .map(|name| (distance(&wrong, &fold(name)), name))
        .min()
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .map(|(_, name)| name)
}

/// Case and punctuation are no reason not to know a name.
fn fold(name: &str) -> Vec<char> {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Levenshtein's.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, in_a) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, in_b) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(in_a != in_b)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

/// The type as one would write it: what the tokens say, without most of their spaces.
pub(crate) fn text(tokens: impl ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string();
    for joined in ["::", "<", "->", ">", ",", ";", "]", "(", ")", "&"] {
        text = text.replace(&format!(" {joined}"), joined).replace(&format!("{joined} "), joined);
    }
    let text = text.replace("[ ", "[").replace(',', ", ").replace(';', "; ");
    text.replace("->", " -> ")
}

/// "`a`, `b` and `c`"
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names() {
        let known = ["CreateContact", "contact.deleted.v1"];
        for (wrong, near) in [
            ("CreatContact", Some("CreateContact")),
            ("create_contact", Some("CreateContact")),
            ("contact.deleted", Some("contact.deleted.v1")),
            ("Zebra", None),
        ] {
            assert_eq!(did_you_mean(wrong, known), near, "{wrong}");
        }
    }

    #[test]
    fn types_as_text() {
        for written in [
            "Contact",
            "crate::model::Contact",
            "Vec<u8>",
            "HashMap<String, [u8; 4]>",
            "Arc<dyn Fn(&'static str) -> u32>",
            "(&str, &'a [u8])",
        ] {
            assert_eq!(text(written.parse::<TokenStream>().expect("tokens")), written);
        }
    }

    #[test]
    fn lists() {
        assert_eq!(list([]), "nothing");
        assert_eq!(list(["a"]), "`a`");
        assert_eq!(list(["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
