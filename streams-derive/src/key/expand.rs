//! The impl of `KeyCodec`: the only field's bytes, or the parts one after the other.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;

use super::model::{Key, Part};

pub(super) fn key(key: &Key<'_>) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let ident = key.ident;
    let Some(parts) = &key.parts else {
        return broken(key);
    };
    let marker = &format_ident!("__parts_of_{}", ident);
    // The only place where a field is asked to be a key, on the type that the user wrote.
    let types = parts.iter().enumerate().map(|(index, Part { ty, .. })| {
        let ty = quote_spanned!(ty.span()=> type Part = #ty;);
        quote!(impl #p::KeyPartAt<#index> for #marker { #ty })
    });
    let index: Vec<usize> = (0..parts.len()).collect();
    let fields: Vec<_> = parts.iter().map(|part| &part.field).collect();
    let encode_parts = quote! {
        #(#p::encode_part::<#marker, #index>(&self.#fields, out);)*
    };
    let decode_parts = quote! {
        #p::Result::Ok(Self { #(#fields: #p::decode_part::<#marker, #index>(bytes)?,)* })
    };
    let (encode, decode) = match &fields[..] {
        [field] => (
            quote!(#p::encode_only_part::<#marker>(&self.#field, out);),
            quote!(#p::Result::Ok(Self { #field: #p::decode_only_part::<#marker>(bytes)? })),
        ),
        _ => (encode_parts.clone(), quote!(#p::decode_whole(bytes))),
    };
    let schema = match fields.len() {
        1 => quote!(#p::part_schema::<#marker, 0>()),
        _ => quote!(#p::composite_schema(#p::Vec::from([
            #(#p::part_schema::<#marker, #index>()),*
        ]))),
    };
    quote! {
        const _: () = {
            // Private, so that the types of private fields may be named.
            #[allow(non_camel_case_types)]
            struct #marker;
            #(#types)*

            #[automatically_derived]
            impl ::streams_core::codec::KeyCodec for #ident {
                fn encode_key(&self, out: &mut #p::Vec<u8>) {
                    #encode
                }

                fn decode_key(bytes: &[u8]) -> #p::Result<Self, #p::CodecError> {
                    #decode
                }

                fn encode_part(&self, out: &mut #p::Vec<u8>) {
                    #encode_parts
                }

                fn decode_part(bytes: &mut &[u8]) -> #p::Result<Self, #p::CodecError> {
                    #decode_parts
                }

                fn key_schema() -> #p::Value {
                    #schema
                }
            }
        };
    }
}

/// A key whose fields are wrong: the derive said so, and nothing else is doubted besides.
fn broken(key: &Key<'_>) -> TokenStream {
    let ident = key.ident;
    let p = quote!(::streams_core::__private);
    let (parameters, arguments, bounds) = key.generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #parameters ::streams_core::codec::KeyCodec for #ident #arguments #bounds {
            fn encode_key(&self, _: &mut #p::Vec<u8>) {}

            fn decode_key(_: &[u8]) -> #p::Result<Self, #p::CodecError> {
                ::core::panic!("its derive did not compile")
            }
        }
    }
}
