//! Lifetimes in the types that users write.

use proc_macro2::{Group, Ident, TokenStream, TokenTree};
use quote::quote_spanned;

/// The same type, borrowing from the record: every lifetime but `'static` becomes `'record`, also
/// the elided one of a `&T`.
pub(crate) fn to_record(tokens: TokenStream) -> TokenStream {
    rename(tokens, |name| if name == "static" { "static" } else { "record" })
}

/// The same type, borrowing from nothing: every lifetime becomes `'static`.
pub(crate) fn to_static(tokens: TokenStream) -> TokenStream {
    rename(tokens, |_| "static")
}

fn rename(tokens: TokenStream, new_name: fn(&Ident) -> &'static str) -> TokenStream {
    let mut out = TokenStream::new();
    let mut input = tokens.into_iter().peekable();
    while let Some(token) = input.next() {
        match token {
            TokenTree::Punct(quote) if quote.as_char() == '\'' => {
                out.extend([TokenTree::Punct(quote)]);
                if let Some(TokenTree::Ident(name)) = input.next() {
                    out.extend([TokenTree::Ident(Ident::new(new_name(&name), name.span()))]);
                }
            }
            TokenTree::Punct(and) if and.as_char() == '&' => {
                let elided =
                    !matches!(input.peek(), Some(TokenTree::Punct(next)) if next.as_char() == '\'');
                let at = and.span();
                out.extend([TokenTree::Punct(and)]);
                if elided {
                    out.extend(rename(quote_spanned!(at => '_), new_name));
                }
            }
            TokenTree::Group(group) => {
                let mut renamed = Group::new(group.delimiter(), rename(group.stream(), new_name));
                renamed.set_span(group.span());
                out.extend([TokenTree::Group(renamed)]);
            }
            other => out.extend([other]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_renamed() {
        for (written, record, statics) in [
            ("Reading<'a>", "Reading<'record>", "Reading<'static>"),
            ("Reading<'_, T>", "Reading<'record,T>", "Reading<'static,T>"),
            ("&str", "&'record str", "&'static str"),
            (
                "(&'a [u8], &'static str)",
                "(&'record[u8],&'static str)",
                "(&'static[u8],&'static str)",
            ),
            ("Vec<u8>", "Vec<u8>", "Vec<u8>"),
        ] {
            let renamed = |rename: fn(TokenStream) -> TokenStream| {
                rename(written.parse().expect("tokens")).to_string().replace(' ', "")
            };
            assert_eq!(renamed(to_record), record.replace(' ', ""));
            assert_eq!(renamed(to_static), statics.replace(' ', ""));
        }
    }
}
