//! The routing table: one `match` on the record type, which decodes the payload and calls the
//! handler, and the same as data.
//!
//! That payload and store are the right ones is checked by the conversions that the calls need
//! anyway, through a trait for each record type with its own words. So a wrong type is said once,
//! on the type that the user wrote.

use std::collections::HashSet;

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};

use super::attr::{Job, Place, Row, Source, Variant};
use super::model::{Route, Routing};
use crate::diagnostics::{Errors, text};

pub(super) fn table(source: &Source, routing: &Routing<'_>, errors: &Errors) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let store = &source.store;
    let shared = source.shared.clone().unwrap_or_else(|| quote!(()));
    let (context_trait, shared_trait) = (context_trait(source), shared_trait(source));
    let is_sound = |row: &Row| row.is_whole && (row.shared.is_none() || source.shared.is_some());
    let whole = || routing.routes.iter().filter(|route| is_sound(route.row));
    let payload_traits = whole().filter(|route| is_first(routing, route)).map(|route| {
        let hole = hole(routing, route);
        let payload_trait = payload_trait(source, route);
        quote!(#payload_trait #hole)
    });
    let arms = whole().map(|route| arm(source, route));
    let rows = whole().map(row);
    let defaults: Vec<_> = routing.defaults.iter().copied().filter(|row| is_sound(row)).collect();
    let default_rows = defaults.iter().map(|row| default_row(row));
    let defaults = default_arms(&defaults);
    let missing = missing_without_default(source, routing);
    let interjections =
        routing.interjections.iter().filter(|row| is_sound(row)).map(|row| interjection(row));
    let mut seen = HashSet::new();
    let durable_jobs = whole().filter(|route| seen.insert(route.row.name())).map(durable_job);
    let errors = errors.to_compile_errors();
    quote! {{
        #errors
        #context_trait
        #shared_trait
        #(#payload_traits)*
        #missing
        #[allow(unused_variables)]
        fn dispatch(
            ctx: &mut #p::EventContext<#store>,
            shared: &#p::Arc<#shared>,
            record: &#p::Record,
        ) -> #p::Outcome {
            match record.record_type() {
                #(#arms)*
                _ => default(ctx, shared, record),
            }
        }
        #[allow(unreachable_patterns, unused_variables)]
        fn default(
            ctx: &mut #p::EventContext<#store>,
            shared: &#p::Arc<#shared>,
            record: &#p::Record,
        ) -> #p::Outcome {
            match () {
                #defaults
            }
        }
        #p::RoutingTable {
            dispatch,
            routes: &[#(#rows)*],
            default: {
                const DEFAULTS: &[#p::Route] = &[#(#default_rows)*];
                DEFAULTS.first().copied()
            },
            interjections: &[#(#interjections)*],
            durable_jobs: &[#(#durable_jobs)*],
        }
    }}
}

/// One for all handlers of the source: their store is the source's.
fn context_trait(source: &Source) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let store = &source.store;
    let name = store.to_string().replace(' ', "");
    let message = format!("this source keeps its state in `{name}`");
    let label = format!("should be `EventContext<{name}>`");
    quote! {
        #[allow(dead_code)]
        #[diagnostic::on_unimplemented(message = #message, label = #label)]
        trait ContextOfThisSource {
            fn take(ctx: &mut #p::EventContext<#store>) -> &mut Self;
        }
        #[diagnostic::do_not_recommend]
        impl ContextOfThisSource for #p::EventContext<#store> {
            #[inline]
            fn take(ctx: &mut #p::EventContext<#store>) -> &mut Self {
                ctx
            }
        }
    }
}

/// One for all handlers that ask for it: what they share is the source's.
// A named lifetime: what is shared may have a `'static` of its own.
fn shared_trait(source: &Source) -> Option<TokenStream> {
    let p = quote!(::streams_core::__private);
    let shared = source.shared.as_ref()?;
    let name = text(shared);
    let message = format!("the handlers of this source share `{name}`");
    let label = format!("should be `{name}` or `Arc<{name}>`");
    Some(quote! {
        #[allow(dead_code)]
        #[diagnostic::on_unimplemented(message = #message, label = #label)]
        trait SharedByThisSource {
            fn take<'source>(shared: &'source #p::Arc<#shared>) -> &'source Self;
        }
        #[diagnostic::do_not_recommend]
        impl SharedByThisSource for #shared {
            #[inline]
            fn take<'source>(shared: &'source #p::Arc<#shared>) -> &'source Self {
                shared
            }
        }
        #[diagnostic::do_not_recommend]
        impl SharedByThisSource for #p::Arc<#shared> {
            #[inline]
            fn take<'source>(shared: &'source Self) -> &'source Self {
                shared
            }
        }
    })
}

/// The argument for a handler that asks for what is shared, and for one that doesn't.
fn shared_argument(row: &Row, twin: &TokenStream) -> TokenStream {
    let Some((place, _)) = &row.shared else { return quote!(&()) };
    let shared = projection(place, &row.path, twin, "Shared");
    quote!(<#shared as SharedByThisSource>::take(shared))
}

/// One a record type: what its handler takes is the variant's payload, or an `Option` of it, which
/// is `None` for a tombstone.
fn payload_trait(source: &Source, route: &Route<'_>) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let (events, index) = (&source.events, route.variant.index);
    let (record_type, expected) = (&route.variant.record_type, &route.variant.payload);
    let name = payload_trait_name(route);
    let message = format!("the payload of `{record_type}` is `{expected}`, not `{{Self}}`");
    let label = format!("should be `{expected}`");
    let payload = quote!(<#events as #p::Variant<#index>>::Payload<'record>);
    quote! {
        #[allow(dead_code)]
        #[diagnostic::on_unimplemented(message = #message, label = #label)]
        trait #name<'record>: Sized {
            /// `None` if it is a tombstone and the handler takes none.
            fn take(payload: #p::Option<#payload>) -> #p::Option<Self>;
        }
        #[diagnostic::do_not_recommend]
        impl<'record> #name<'record> for #payload {
            #[inline]
            fn take(payload: #p::Option<Self>) -> #p::Option<Self> {
                payload
            }
        }
        #[diagnostic::do_not_recommend]
        impl<'record> #name<'record> for #p::Option<#payload> {
            #[inline]
            fn take(payload: Self) -> #p::Option<Self> {
                #p::Option::Some(payload)
            }
        }
    }
}

fn payload_trait_name(route: &Route<'_>) -> Ident {
    format_ident!("PayloadOf{}", route.variant.ident)
}

fn is_first(routing: &Routing<'_>, route: &Route<'_>) -> bool {
    same_type(routing, route)
        .find(|other| other.row.is_whole)
        .is_some_and(|first| std::ptr::eq(first.row, route.row))
}

fn same_type<'r>(
    routing: &'r Routing<'_>,
    route: &Route<'_>,
) -> impl Iterator<Item = &'r Route<'r>> {
    let index = route.variant.index;
    routing.routes.iter().filter(move |other| other.variant.index == index)
}

/// A handler that is configured away leaves a hole that only the compiler's own `cfg` can see.
fn hole(routing: &Routing<'_>, route: &Route<'_>) -> TokenStream {
    let always = same_type(routing, route).any(|other| other.row.cfgs.is_empty());
    if always || routing.has_default() {
        return TokenStream::new();
    }
    let rows = same_type(routing, route).map(|other| other.row);
    let absent = absent(rows.chain(routing.defaults.iter().copied()));
    let message = format!(
        "no handler for `{}` in this configuration: the one it has is under `#[cfg]`",
        route.variant.record_type
    );
    let error = quote_spanned! {route.row.record_type.span()=>
        ::core::compile_error!(#message);
    };
    quote!(#absent #error)
}

/// As [`hole`], for a default handler that others rely on.
fn missing_without_default(source: &Source, routing: &Routing<'_>) -> Option<TokenStream> {
    let message = routing.missing_without_default.as_ref()?;
    let absent = absent(routing.defaults.iter().copied());
    Some(quote_spanned!(source.at=> #absent ::core::compile_error!(#message);))
}

/// The `#[cfg(..)]` under which none of `rows` is there.
fn absent<'a>(rows: impl Iterator<Item = &'a Row>) -> TokenStream {
    let conditions = rows.map(|row| {
        let cfgs = &row.cfgs;
        quote!(all(#(#cfgs),*))
    });
    quote!(#[cfg(not(any(#(#conditions),*)))])
}

fn cfgs(row: &Row) -> TokenStream {
    let conditions = &row.cfgs;
    quote!(#(#[cfg(#conditions)])*)
}

fn arm(source: &Source, route: &Route<'_>) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let Route { variant, row } = route;
    let call = match &row.job {
        Some(job) => job_call(route, job),
        None => call(route),
    };
    let (events, index, record_type) = (&source.events, variant.index, &variant.record_type);
    let (cfgs, older) = (cfgs(row), &variant.older);
    let payload_trait = payload_trait_name(route);
    let payload = match &row.job {
        Some(job) => projection(&row.event, &row.path, &twin(job), "Payload"),
        None => {
            let payload = projection(&row.event, &row.path, &quote!(#p::Handler), "Payload");
            // On the type's last token: it bounds the underline.
            let lifetime = quote_spanned!(row.event.to=> <'_>);
            quote!(#payload #lifetime)
        }
    };
    quote! {
        #cfgs
        #record_type #(| #older)* => match #p::payload::<#events, #index>(record) {
            #p::Result::Ok(payload) => match <#payload as #payload_trait>::take(payload) {
                #p::Option::Some(payload) => #call,
                #p::Option::None => #p::tombstone(|| default(ctx, shared, record)),
            },
            #p::Result::Err(error) => #p::Outcome::Undecodable(error),
        },
    }
}

/// The trait of an async handler's twin.
fn twin(job: &Job) -> TokenStream {
    let p = quote!(::streams_core::__private);
    match job.is_durable {
        true => quote!(#p::DurableHandler),
        false => quote!(#p::AsyncHandler),
    }
}

/// What takes an async handler's share from what all handlers share.
fn take_shared(row: &Row, twin: &TokenStream) -> TokenStream {
    match &row.shared {
        None => quote!(|_| &()),
        Some((place, _)) => {
            let shared = projection(place, &row.path, twin, "Shared");
            quote!(|shared| <#shared as SharedByThisSource>::take(shared))
        }
    }
}

/// The registration of an async handler's durable jobs.
fn durable_job(route: &Route<'_>) -> Option<TokenStream> {
    let p = quote!(::streams_core::__private);
    let Route { row, .. } = route;
    let job = row.job.as_ref().filter(|job| job.is_durable)?;
    let (path, twin, cfgs) = (&row.path, twin(job), cfgs(row));
    let take = take_shared(row, &twin);
    let finalizer = match &job.finalizer {
        Some(name) => beside(path, name),
        None => quote!(#p::complete_durable),
    };
    Some(quote! {
        #cfgs
        #p::DurableRoute {
            job_type: <#path as #twin>::TYPE,
            register: |jobs, shared| <#path as #twin>::register(
                jobs,
                shared,
                #take,
                #finalizer,
            ),
        },
    })
}

/// The call of an async handler's twin: it schedules a job, and the finalizer gets the context.
fn job_call(route: &Route<'_>, job: &Job) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let Route { row, .. } = route;
    let (path, twin) = (&row.path, twin(job));
    if job.is_durable {
        return quote!(<#path as #twin>::schedule(ctx, payload));
    }
    let take = take_shared(row, &twin);
    let finalizer = match &job.finalizer {
        Some(name) => beside(path, name),
        None => quote!(#p::complete_job),
    };
    quote! {
        <#path as #twin>::schedule(
            ctx,
            shared,
            #take,
            payload,
            #finalizer,
        )
    }
}

/// The path with another last name.
fn beside(path: &TokenStream, name: &Ident) -> TokenStream {
    let mut tokens: Vec<_> = path.clone().into_iter().collect();
    tokens.pop();
    quote!(#(#tokens)* #name)
}

/// The call of a handler's twin.
fn call(route: &Route<'_>) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let Route { row, .. } = route;
    let (path, twin) = (&row.path, quote!(#p::Handler));
    let context = projection(&row.context, path, &twin, "Context");
    let shared = shared_argument(row, &twin);
    quote! {
        <#path as #p::Handler>::call(
            <#context as ContextOfThisSource>::take(ctx),
            #shared,
            payload,
        )
    }
}

fn row(route: &Route<'_>) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let (cfgs, handler) = (cfgs(route.row), route.row.name());
    let Variant { record_type, payload, older, .. } = route.variant;
    let path = &route.row.path;
    let twin = route.row.job.as_ref().map_or_else(|| quote!(#p::Handler), twin);
    quote! {
        #cfgs
        #p::Route {
            record_type: #record_type,
            older: &[#(#older),*],
            payload: #payload,
            handler: #handler,
            file: <#path as #twin>::FILE,
            line: <#path as #twin>::LINE,
        },
    }
}

fn default_row(row: &Row) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let (cfgs, handler, path) = (cfgs(row), row.name(), &row.path);
    quote! {
        #cfgs
        #p::Route {
            record_type: "*",
            older: &[],
            payload: "Record",
            handler: #handler,
            file: <#path as #p::DefaultHandler>::FILE,
            line: <#path as #p::DefaultHandler>::LINE,
        },
    }
}

/// The arms for what has no route, and for tombstones that are no payload.
fn default_arms(defaults: &[&Row]) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let arms = defaults.iter().map(|row| {
        let (path, cfgs, twin) = (&row.path, cfgs(row), quote!(#p::DefaultHandler));
        let context = projection(&row.context, path, &twin, "Context");
        let shared = shared_argument(row, &twin);
        quote! {
            #cfgs
            _ => <#path as #p::DefaultHandler>::call(
                <#context as ContextOfThisSource>::take(ctx),
                #shared,
                record,
            ),
        }
    });
    quote! {
        #(#arms)*
        _ => #p::Outcome::Unrouted,
    }
}

fn interjection(row: &Row) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let (path, name, cfgs) = (&row.path, row.name(), cfgs(row));
    let twin = quote!(#p::InterjectionHandler);
    let context = projection(&row.context, path, &twin, "Context");
    let shared = shared_argument(row, &twin);
    // One that nobody uses is not warned of: its name begins with an underscore.
    let name_of_shared = if row.shared.is_some() { quote!(shared) } else { quote!(_shared) };
    quote! {
        #cfgs
        #p::Interjection {
            name: #name,
            every: <#path as #p::InterjectionHandler>::EVERY,
            jitter: <#path as #p::InterjectionHandler>::JITTER,
            call: |ctx, #name_of_shared, at| <#path as #p::InterjectionHandler>::call(
                <#context as ContextOfThisSource>::take(ctx),
                #shared,
                at,
            ),
        },
    }
}

/// `<path as twin>::name`, underlined where the user wrote the type: rustc joins the places of the
/// first and the last token. Only paths may have such a span: a local would be looked up with the
/// hygiene of whatever it came through.
fn projection(place: &Place, path: &TokenStream, twin: &TokenStream, name: &str) -> TokenStream {
    let name = Ident::new(name, place.to);
    let open = quote_spanned!(place.from=> <);
    quote!(#open #path as #twin>::#name)
}
