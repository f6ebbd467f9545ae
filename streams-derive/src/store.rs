//! `#[derive(StateStore)]`: every field is a table.
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Fields};

pub(crate) fn derive(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(i) => i,
        Err(e) => return e.to_compile_error(),
    };
    let ty = &input.ident;
    let fields = match &input.data {
        Data::Struct(s) => match &s.fields {
            Fields::Named(f) => f.named.iter().collect::<Vec<_>>(),
            Fields::Unit => vec![],
            Fields::Unnamed(f) => {
                return syn::Error::new(f.span(), "a store's fields need names: the name is the table's name in the changelog\nwrite `struct Store { contacts: Table<ContactId, Contact> }`")
                    .to_compile_error();
            }
        },
        Data::Enum(e) => {
            return syn::Error::new(
                e.enum_token.span(),
                "a store is a struct whose fields are tables",
            )
            .to_compile_error();
        }
        Data::Union(u) => {
            return syn::Error::new(
                u.union_token.span(),
                "a store is a struct whose fields are tables",
            )
            .to_compile_error();
        }
    };
    let names: Vec<_> = fields.iter().filter_map(|f| f.ident.as_ref()).collect();
    let index: Vec<_> = (0..names.len()).collect();
    let impls = fields.iter().enumerate().map(|(i, f)| {
        let field_ty = &f.ty;
        // The only place where the bound is asked for: one mistake, one error, on the field's type.
        let assoc = quote_spanned!(field_ty.span() => type Table = #field_ty;);
        quote!(impl ::streams_core::__private::Field<#i> for #ty { #assoc })
    });
    let p = quote!(::streams_core::__private);
    let s = quote!(::streams_core::store);
    quote! {
        #(#impls)*
        impl ::streams_core::StateStore for #ty {
            fn create(_: &::streams_core::record::TopicPartition) -> Self {
                Self { #(#names: #p::create_field::<Self, #index>(stringify!(#names)),)* }
            }
            fn drain_changes(
                &mut self,
                event: #s::EventSeq,
                changelog: &mut #s::Changelog<'_>,
            ) -> ::core::result::Result<(), ::streams_core::CodecError> {
                let _ = (&event, &changelog);
                #(#p::drain_field::<Self, #index>(&mut self.#names, event, changelog)?;)*
                ::core::result::Result::Ok(())
            }
            fn undo_from(&mut self, event: #s::EventSeq) {
                let _ = event;
                #(#p::undo_field::<Self, #index>(&mut self.#names, event);)*
            }
            fn commit_before(&mut self, event: #s::EventSeq) {
                let _ = event;
                #(#p::commit_field::<Self, #index>(&mut self.#names, event);)*
            }
            fn restore(
                &mut self,
                change: #s::Change<'_>,
            ) -> ::core::result::Result<(), ::streams_core::CodecError> {
                let (table, key) = #s::split_table_key(&change)?;
                #(if table == stringify!(#names).as_bytes() {
                    return #p::restore_field::<Self, #index>(&mut self.#names, key, change);
                })*
                let _ = key;
                ::core::result::Result::Err(#p::unknown_table(&change, table, &[#(stringify!(#names)),*]))
            }
        }
    }
}
