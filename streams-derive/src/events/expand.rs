//! The impls of `Events`, and of `Variant` for each payload.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;

use super::model::{Contract, Variant};
use crate::lifetimes;

pub(super) fn impls(contract: &Contract<'_>) -> TokenStream {
    if contract.is_generic {
        return TokenStream::new(); // There is no type to implement it for.
    }
    let variants = variants(contract);
    let events = events(contract);
    quote!(#variants #events)
}

/// The variants by place, so that no other generated code repeats a payload's type: this is the
/// only place where the payload's codec is asked for.
fn variants(contract: &Contract<'_>) -> TokenStream {
    let owned = at_lifetime(contract, &quote!('static));
    let impls = contract.variants.iter().enumerate().map(|(index, variant)| {
        let payload = lifetimes::to_record(variant.payload.to_token_stream());
        let span = variant.payload.span();
        let payload = quote_spanned!(span => type Payload<'record> = #payload;);
        let decode = (!variant.older.is_empty()).then(|| decode_any(variant, index, &owned));
        let older = older(variant, index, &owned);
        quote! {
            #[automatically_derived]
            impl ::streams_core::__private::Variant<#index> for #owned { #payload #decode }
            #older
        }
    });
    quote!(#(#impls)*)
}

/// Each older form, which is asked for its codec and its way to the form after it.
fn older(variant: &Variant, index: usize, owned: &TokenStream) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let impls = variant.older.iter().zip(1_usize..).map(|(older, age)| {
        let payload = lifetimes::to_record(older.payload.to_token_stream());
        let payload = quote_spanned!(older.payload.span()=> type Payload<'record> = #payload;);
        let newer = match age {
            1 => quote!(<Self as #p::Variant<#index>>::Payload<'record>),
            _ => {
                let newer = age - 1;
                quote!(<Self as #p::Older<#index, #newer>>::Payload<'record>)
            }
        };
        quote! {
            #[automatically_derived]
            impl #p::Older<#index, #age> for #owned {
                type Newer<'record> = #newer;
                #payload
            }
        }
    });
    quote!(#(#impls)*)
}

/// An older record becomes the form after it, and that the one after it, up to the newest.
fn decode_any(variant: &Variant, index: usize, owned: &TokenStream) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let arms = variant.older.iter().zip(1_usize..).map(|(older, age)| {
        let record_type = &older.record_type;
        let decoded = quote!(#p::decode_older::<#owned, #index, #age>(record)?);
        let upcast = (1..=age)
            .rev()
            .fold(decoded, |payload, age| quote!(#p::upcast::<#owned, #index, #age>(#payload)));
        quote!(#record_type => #p::Result::Ok(#upcast),)
    });
    quote! {
        fn decode(record: &#p::Record) -> #p::Result<Self::Payload<'_>, #p::CodecError> {
            match record.record_type() {
                #(#arms)*
                _ => #p::decode_newest::<#owned, #index>(record),
            }
        }
    }
}

fn events(contract: &Contract<'_>) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let ident = contract.ident;
    let name = ident.to_string();
    let lifetime = contract.borrows.then(|| quote!(<'record>));
    let this = at_lifetime(contract, &quote!('record));
    let at = at_lifetime(contract, &quote!('at));
    let owned = at_lifetime(contract, &quote!('static));
    let idents: Vec<_> = contract.variants.iter().map(|variant| &variant.ident).collect();
    let types: Vec<_> = contract.variants.iter().map(|variant| &variant.record_type).collect();
    let (older, decode, described) = (older_types(contract), decode(contract), described(contract));
    let index: Vec<usize> = (0..idents.len()).collect();
    // A variant that was left out still exists; an empty enum has none, and `*self` has no value.
    let rest = (!contract.is_whole || idents.is_empty())
        .then(|| quote!(_ => ::core::unreachable!("the contract did not compile"),));
    quote! {
        #[automatically_derived]
        #[allow(unreachable_patterns)]
        impl #lifetime ::streams_core::handler::Events for #this {
            type At<'at> = #at;

            const NAME: &'static str = #name;

            const RECORD_TYPES: &'static [&'static str] = &[#(#types),*];

            #older

            fn record_type(&self) -> &'static str {
                match self { #(Self::#idents(_) => #types,)* #rest }
            }

            fn encode(&self, out: &mut #p::Vec<u8>) -> #p::Result<(), #p::CodecError> {
                match self {
                    #(Self::#idents(payload) => #p::encode::<#owned, #index>(payload, out),)*
                    #rest
                }
            }

            #decode

            fn content_type(&self) -> #p::Option<&'static str> {
                match self {
                    #(Self::#idents(_) => #p::content_type::<#owned, #index>(),)*
                    #rest
                }
            }
        }

        #described
    }
}

/// Each older record type, with the one that it becomes.
fn older_types(contract: &Contract<'_>) -> TokenStream {
    let pairs = contract.variants.iter().flat_map(|Variant { record_type, older, .. }| {
        let older = older.iter().map(|older| &older.record_type);
        older.map(move |older| quote!((#older, #record_type)))
    });
    quote! {
        const OLDER_RECORD_TYPES: &'static [(&'static str, &'static str)] = &[#(#pairs),*];
    }
}

fn decode(contract: &Contract<'_>) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let (enum_ident, owned) = (contract.ident, at_lifetime(contract, &quote!('static)));
    let arms = contract.variants.iter().enumerate().map(|(index, variant)| {
        let Variant { ident, record_type, older, .. } = variant;
        let older = older.iter().map(|older| &older.record_type);
        quote! {
            #record_type #(| #older)* => #p::Option::Some(
                #enum_ident::#ident(#p::decode::<#owned, #index>(record)?),
            ),
        }
    });
    quote! {
        fn decode(record: &#p::Record) -> #p::Result<#p::Option<Self::At<'_>>, #p::CodecError> {
            #p::Result::Ok(match record.record_type() {
                #(#arms)*
                _ => #p::Option::None,
            })
        }
    }
}

/// At any lifetime, so that a schema is asked for only where the contract is described.
fn described(contract: &Contract<'_>) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let lifetime = contract.borrows.then(|| quote!(<'record>));
    let this = at_lifetime(contract, &quote!('record));
    let owned = at_lifetime(contract, &quote!('static));
    let types = contract.variants.iter().map(|variant| &variant.record_type);
    let index: Vec<usize> = (0..contract.variants.len()).collect();
    quote! {
        #[automatically_derived]
        impl #lifetime #p::Described for #this
        where
            #(for<'any> #owned: #p::VariantSchema<'any, #index>,)*
        {
            fn payload_schemas(
                generator: &mut #p::SchemaGenerator,
            ) -> #p::Vec<(&'static str, #p::Schema)> {
                #p::Vec::from([#((#types, #p::schema::<#owned, #index>(generator))),*])
            }
        }
    }
}

/// The contract's type: `ContactEvent`, or `Readings<'record>`.
fn at_lifetime(contract: &Contract<'_>, lifetime: &TokenStream) -> TokenStream {
    let ident = contract.ident;
    if contract.borrows { quote!(#ident<#lifetime>) } else { quote!(#ident) }
}
