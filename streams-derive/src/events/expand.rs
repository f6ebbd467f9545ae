//! The impls of `Events`, and of `Variant` for each payload.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;

use super::model::Contract;
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
        quote! {
            #[automatically_derived]
            impl ::streams_core::__private::Variant<#index> for #owned { #payload }
        }
    });
    quote!(#(#impls)*)
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

            fn record_type(&self) -> &'static str {
                match self { #(Self::#idents(_) => #types,)* #rest }
            }

            fn encode(&self, out: &mut #p::Vec<u8>) -> #p::Result<(), #p::CodecError> {
                match self {
                    #(Self::#idents(payload) => #p::encode::<#owned, #index>(payload, out),)*
                    #rest
                }
            }

            fn decode(
                record: &#p::Record,
            ) -> #p::Result<#p::Option<Self::At<'_>>, #p::CodecError> {
                #p::Result::Ok(match record.record_type() {
                    #(#types => #p::Option::Some(
                        #ident::#idents(#p::decode::<#owned, #index>(record)?),
                    ),)*
                    _ => #p::Option::None,
                })
            }

            fn content_type(&self) -> #p::Option<&'static str> {
                match self {
                    #(Self::#idents(_) => #p::content_type::<#owned, #index>(),)*
                    #rest
                }
            }
        }

        // At any lifetime, so that it is asked for only where the contract is described.
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
