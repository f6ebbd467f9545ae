//! What arrives here: written by `events::contract`, `handler::expand` and `source::expand`.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::{LitInt, LitStr, braced, bracketed, parenthesized, token};

/// A source: its contract, its handlers, its store.
pub(super) struct Source {
    pub(super) contract: Contract,
    pub(super) rows: Vec<Row>,
    /// The contract's type.
    pub(super) events: TokenStream,
    /// The store's type.
    pub(super) store: TokenStream,
    /// The type of what all handlers share, if it is declared.
    pub(super) shared: Option<TokenStream>,
    /// The place of the source's name.
    pub(super) at: Span,
}

pub(super) struct Contract {
    pub(super) name: String,
    /// Whether the derive found no mistake: otherwise a record type may be missing here.
    pub(super) is_whole: bool,
    pub(super) variants: Vec<Variant>,
}

pub(super) struct Variant {
    pub(super) record_type: String,
    pub(super) ident: Ident,
    pub(super) payload: String,
    pub(super) index: usize,
    /// The record types of its older forms.
    pub(super) older: Vec<String>,
}

/// A handler.
pub(super) struct Row {
    pub(super) path: TokenStream,
    pub(super) kind: RowKind,
    /// Whether it has a twin: otherwise its mistakes are reported already.
    pub(super) is_whole: bool,
    /// An event handler's record type; empty if it has none, and that is reported.
    pub(super) record_type: LitStr,
    pub(super) context: Place,
    /// If it asks for what all handlers share: where, and as what.
    pub(super) shared: Option<(Place, String)>,
    /// If it is an async handler.
    pub(super) job: Option<Job>,
    pub(super) event: Place,
    /// The conditions of its `#[cfg(..)]`, unevaluated: the module's macro runs before they are.
    pub(super) cfgs: Vec<TokenStream>,
}

/// What only an async handler has.
pub(super) struct Job {
    /// Whether the changelog keeps its jobs.
    pub(super) is_durable: bool,
    /// The name of its finalizer, beside the handler, if it has one of its own.
    pub(super) finalizer: Option<Ident>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowKind {
    Event,
    Interjection,
    Default,
}

/// Where a type stands: its first token and its last.
pub(super) struct Place {
    pub(super) from: Span,
    pub(super) to: Span,
}

impl Row {
    /// `contacts::create`
    pub(super) fn name(&self) -> String {
        self.path.to_string().replace(' ', "")
    }
}

impl Parse for Source {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let (contract, list);
        braced!(contract in input);
        let (contract, borrows) = parse_contract(&contract)?;
        bracketed!(list in input);
        let mut rows = vec![];
        while !list.is_empty() {
            let row;
            braced!(row in list);
            rows.push(row.parse()?);
        }
        let events = in_braces(input)?;
        let events = if borrows { quote!(#events<'static>) } else { events };
        let store = in_braces(input)?;
        let shared = Some(in_braces(input)?).filter(|shared| !shared.is_empty());
        Ok(Self { contract, rows, events, store, shared, at: input.parse::<Ident>()?.span() })
    }
}

fn parse_contract(input: ParseStream<'_>) -> syn::Result<(Contract, bool)> {
    let name = input.parse::<LitStr>()?.value();
    let is_whole = input.parse::<Ident>()? == "whole";
    let borrows = input.parse::<Ident>()? == "borrows";
    let list;
    bracketed!(list in input);
    let mut variants = vec![];
    while !list.is_empty() {
        let variant;
        parenthesized!(variant in list);
        variants.push(Variant {
            record_type: variant.parse::<LitStr>()?.value(),
            ident: variant.parse()?,
            payload: variant.parse::<LitStr>()?.value(),
            index: variant.parse::<LitInt>()?.base10_parse()?,
            older: {
                let mut older = vec![];
                while !variant.is_empty() {
                    older.push(variant.parse::<LitStr>()?.value());
                }
                older
            },
        });
    }
    Ok((Contract { name, is_whole, variants }, borrows))
}

impl Parse for Row {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self {
            path: in_braces(input)?,
            kind: input.parse()?,
            is_whole: input.parse::<Ident>()? == "whole",
            record_type: input.parse()?,
            context: input.parse()?,
            shared: {
                let shared;
                parenthesized!(shared in input);
                match shared.is_empty() {
                    true => None,
                    false => Some((shared.parse()?, shared.parse::<LitStr>()?.value())),
                }
            },
            job: {
                let job;
                parenthesized!(job in input);
                match job.parse::<Option<Ident>>()? {
                    None => None,
                    Some(kind) => {
                        Some(Job { is_durable: kind == "durable", finalizer: job.parse()? })
                    }
                }
            },
            event: input.parse()?,
            cfgs: {
                let mut cfgs = vec![];
                while input.peek(token::Brace) {
                    cfgs.push(in_braces(input)?);
                }
                cfgs
            },
        })
    }
}

impl Parse for RowKind {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let kind: Ident = input.parse()?;
        match kind.to_string().as_str() {
            "event" => Ok(Self::Event),
            "interjection" => Ok(Self::Interjection),
            "default" => Ok(Self::Default),
            _ => Err(syn::Error::new(kind.span(), "not a handler of this version's macros")),
        }
    }
}

/// What is underlined from the first to the last token.
impl ToTokens for Place {
    fn to_tokens(&self, out: &mut TokenStream) {
        out.extend([Ident::new("from", self.from), Ident::new("to", self.to)].map(TokenTree::from));
    }
}

impl Parse for Place {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self { from: input.parse::<Ident>()?.span(), to: input.parse::<Ident>()?.span() })
    }
}

fn in_braces(input: ParseStream<'_>) -> syn::Result<TokenStream> {
    let content;
    braced!(content in input);
    content.parse()
}
