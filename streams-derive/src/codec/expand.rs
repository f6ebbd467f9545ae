//! The impl of `EventCodec`.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{GenericParam, Generics, Ident, Index, Lifetime, parse_quote};

use super::model::{Codec, Newtype, Payload};
use crate::lifetimes;

pub(super) fn payload(payload: &Payload<'_>) -> TokenStream {
    let ident = payload.ident;
    let via = via(&payload.codec);
    let mut types = without_lifetimes(payload.generics);
    let (_, arguments, _) = types.split_for_impl();
    let lifetime_count = payload.generics.lifetimes().count();
    let records = (0..lifetime_count).map(|_| Lifetime::new("'record", Span::call_site()));
    let ty = if lifetime_count == 0 {
        quote!(#ident #arguments)
    } else {
        let types = types.type_params().map(|param| &param.ident);
        let consts = types_consts(payload.generics);
        quote!(#ident<#(#records,)* #(#types,)* #(#consts,)*>)
    };
    // A generic payload can't be judged before it is used, so its bound goes with it.
    if !types.params.is_empty() {
        let bound = parse_quote!(#via: ::streams_core::codec::Codec<'record, #ty>);
        types.make_where_clause().predicates.push(bound);
    }
    types.params.insert(0, parse_quote!('record));
    let (parameters, _, bounds) = types.split_for_impl();
    let newtype = match &payload.codec {
        Codec::Transparent(newtype) | Codec::Newtype(_, newtype) => wrapper(newtype, &types, &ty),
        _ => TokenStream::new(),
    };
    // The bound is asked for once, on the user's own name: what is missing is said once.
    let via = quote_spanned!(ident.span() => type Via = #via;);
    quote! {
        #[automatically_derived]
        impl #parameters ::streams_core::codec::EventCodec<'record> for #ty #bounds { #via }
        #newtype
    }
}

/// The codec's type.
fn via(codec: &Codec) -> TokenStream {
    match codec {
        Codec::Known(name) | Codec::Newtype(name, _) => {
            let name = Ident::new(name, Span::call_site());
            quote!(::streams_core::codec::#name)
        }
        Codec::Transparent(_) => quote!(::streams_core::__private::Transparent),
        Codec::Negotiated(formats) => {
            let formats = formats.iter().map(via);
            quote!(::streams_core::codec::Negotiated<(#(#formats,)*)>)
        }
        Codec::Custom(path) => path.to_token_stream(),
        Codec::Broken => quote!(::streams_core::__private::Broken),
    }
}

fn without_lifetimes(generics: &Generics) -> Generics {
    let is_type = |param: &GenericParam| !matches!(param, GenericParam::Lifetime(_));
    let mut types = generics.clone();
    types.params = types.params.into_iter().filter(is_type).collect();
    types
}

fn types_consts(generics: &Generics) -> impl Iterator<Item = &syn::Ident> {
    generics.const_params().map(|param| &param.ident)
}

/// How to get at the only field and back.
fn wrapper(newtype: &Newtype, generics: &Generics, ty: &TokenStream) -> TokenStream {
    let (parameters, _, bounds) = generics.split_for_impl();
    let renamed = lifetimes::to_record(newtype.ty.to_token_stream());
    let inner = quote_spanned!(newtype.ty.span() => type Inner = #renamed;);
    let field = match &newtype.field {
        Some(name) => name.to_token_stream(),
        None => Index::from(0).to_token_stream(),
    };
    quote! {
        #[automatically_derived]
        impl #parameters ::streams_core::__private::Newtype<'record> for #ty #bounds {
            #inner

            fn wrap(inner: Self::Inner) -> Self {
                Self { #field: inner }
            }

            fn inner(&self) -> &Self::Inner {
                &self.#field
            }
        }
    }
}
