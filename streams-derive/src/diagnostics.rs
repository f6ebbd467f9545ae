//! All errors at once, each on its token, each with the fix.
use proc_macro2::{Span, TokenStream};
use std::fmt::Display;

#[derive(Default)]
pub(crate) struct Errors(Vec<syn::Error>);

impl Errors {
    pub(crate) fn at(&mut self, span: Span, message: impl Display) {
        self.0.push(syn::Error::new(span, message));
    }
    /// Underlines all of `tokens`, where `at` on a stable compiler underlines the first.
    pub(crate) fn on(&mut self, tokens: impl quote::ToTokens, message: impl Display) {
        self.0.push(syn::Error::new_spanned(tokens, message));
    }
    pub(crate) fn push(&mut self, e: syn::Error) {
        self.0.push(e);
    }
    /// Records the error and goes on.
    pub(crate) fn ok<T>(&mut self, r: syn::Result<T>) -> Option<T> {
        r.map_err(|e| self.0.push(e)).ok()
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub(crate) fn tokens(&self) -> TokenStream {
        self.0.iter().map(syn::Error::to_compile_error).collect()
    }
}

/// The candidate nearest to `wrong`, if it is near enough to be a typo.
pub(crate) fn did_you_mean<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let fold =
        |s: &str| s.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    known
        .into_iter()
        .map(|k| (distance(&fold(wrong), &fold(k)), k))
        .min()
        .filter(|(d, k)| *d <= (k.len() / 3).max(1))
        .map(|(_, k)| k)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for j in 0..b.len() {
            let next = row[j + 1];
            row[j + 1] = (diagonal + usize::from(ca != b[j])).min(next + 1).min(row[j] + 1);
            diagonal = next;
        }
    }
    row[b.len()]
}

/// "`a`, `b` and `c`"
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|n| format!("`{n}`")).collect();
    match names.as_slice() {
        [] => "nothing".into(),
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
        assert_eq!(did_you_mean("CreatContact", known), Some("CreateContact"));
        assert_eq!(did_you_mean("create_contact", known), Some("CreateContact"));
        assert_eq!(did_you_mean("contact.deleted", known), Some("contact.deleted.v1"));
        assert_eq!(did_you_mean("Zebra", known), None);
    }
}
