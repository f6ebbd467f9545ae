//! The impl of `StateStore`: each call goes to every table.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;

use super::model::{Store, Table};

pub(super) fn store(store: &Store<'_>) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let ident = store.ident;
    let marker = &format_ident!("__tables_of_{}", ident);
    let tables = store.tables.iter().enumerate();
    let tables = tables.map(|(index, table)| table_type(marker, index, table));
    let index: Vec<usize> = (0..store.tables.len()).collect();
    let fields: Vec<_> = store.tables.iter().map(|table| table.field).collect();
    let names: Vec<_> = store.tables.iter().map(|table| &table.name).collect();
    let bytes = names.iter().map(|name| Literal::byte_string(name.value().as_bytes()));
    let tables_by_index = store.tables.iter().enumerate();
    let restore_older = tables_by_index.map(|(index, table)| restore_older(marker, index, table));
    let described = described(store, marker);
    quote! {
        const _: () = {
            // Private, so that the types of private fields may be named.
            #[allow(non_camel_case_types)]
            struct #marker;
            #(#tables)*

            #[automatically_derived]
            #[allow(unused_variables)]
            impl ::streams_core::store::StateStore for #ident {
                fn create(_: &#p::TopicPartition) -> Self {
                    Self { #(#fields: #p::create_table::<#marker, #index>(#names),)* }
                }

                fn drain_changes(
                    &mut self,
                    event: #p::EventSeq,
                    changelog: &mut #p::Changelog<'_>,
                ) -> #p::Result<(), #p::CodecError> {
                    #(#p::drain_table::<#marker, #index>(&mut self.#fields, event, changelog)?;)*
                    #p::Result::Ok(())
                }

                fn undo_from(&mut self, event: #p::EventSeq) {
                    #(#p::undo_table::<#marker, #index>(&mut self.#fields, event);)*
                }

                fn commit_before(&mut self, event: #p::EventSeq) {
                    #(#p::commit_table::<#marker, #index>(&mut self.#fields, event);)*
                }

                fn restore(
                    &mut self,
                    change: #p::Change<'_>,
                ) -> #p::Result<(), #p::CodecError> {
                    let (table, key) = #p::split_table_key(&change)?;
                    match table {
                        #(#bytes => #p::restore_table::<#marker, #index>(
                            &mut self.#fields,
                            #names,
                            key,
                            &change,
                        )#restore_older,)*
                        _ => #p::unknown_table(table, &[#(#names),*], &change),
                    }
                }
            }

            #described
        };
    }
}

/// What is called if a row is none of today's type: each older type, newest first.
fn restore_older(marker: &Ident, index: usize, table: &Table<'_>) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let (field, ages) = (table.field, 0..table.older.len());
    quote!(#(.or_else(|error| #p::restore_older::<#marker, #index, #ages>(
        &mut self.#field,
        key,
        &change,
        error,
    )))*)
}

/// The only place where a field is asked to be a table, on the type that the user wrote.
fn table_type(marker: &Ident, index: usize, table: &Table<'_>) -> TokenStream {
    let ty = table.ty;
    let ty = quote_spanned!(ty.span() => type Table = #ty;);
    let p = quote!(::streams_core::__private);
    let older = table.older.iter().enumerate().map(|(age, old)| {
        let ty = quote_spanned!(old.span()=> type Old = #old;);
        quote!(impl #p::OlderRowAt<#index, #age> for #marker { #ty })
    });
    quote!(impl #p::TableAt<#index> for #marker { #ty } #(#older)*)
}

/// At any lifetime, so that a schema is asked for only where the store is described.
fn described(store: &Store<'_>, marker: &Ident) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let ident = store.ident;
    let name = ident.to_string();
    let bounds = store.tables.iter().enumerate().map(|(index, table)| {
        let ages = 0..table.older.len();
        quote! {
            for<'any> #marker: #p::RowSchemaAt<'any, #index>,
            #(for<'any> #marker: #p::OlderRowSchemaAt<'any, #index, #ages>,)*
        }
    });
    let tables = store.tables.iter().enumerate().map(|(index, Table { name, older, .. })| {
        let ages = 0..older.len();
        quote!(#p::table_schema::<#marker, #index>(
            #name,
            &[#(#p::older_row_schema::<#marker, #index, #ages>),*],
            generator,
        ))
    });
    quote! {
        #[automatically_derived]
        impl #p::DescribedStore for #ident
        where
            #(#bounds)*
        {
            const NAME: &'static str = #name;

            #[allow(unused_variables)]
            fn table_schemas(generator: &mut #p::SchemaGenerator) -> #p::Vec<#p::TableSchema> {
                #p::Vec::from([#(#tables),*])
            }
        }
    }
}
