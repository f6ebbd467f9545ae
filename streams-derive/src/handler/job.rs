//! An `async fn` as a handler: a job for each event, behind a scheduler of its own.

use std::time::Duration;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, LitInt, LitStr, PatType, Path, ReturnType, Signature, Type, Visibility};

use super::Function;
use super::attr::Attr;
use super::expand::{carriers, cfgs, placed};
use super::model::plain_function;
use crate::diagnostics::{Errors, text, unknown};
use crate::duration;
use crate::options::RawOption;

/// The whole legal form.
const FORM: &str = "async fn name(event: Payload) -> Result<Value, Error>";
const OPTIONS: [&str; 7] =
    ["concurrency", "key", "finalize", "timeout", "retries", "backoff", "durable"];
/// The options that durable jobs do not have.
const NOT_DURABLE: [&str; 3] = ["concurrency", "retries", "backoff"];
const JOB_TYPE_BYTES_MAX: usize = 254;
const CONCURRENCY_MAX: u64 = 65_536;
const ATTEMPTS_MAX: u64 = 1_000;
const DURATION_MAX: Duration = Duration::from_secs(24 * 3_600);

/// An async handler whose signature and options are right.
pub(super) struct Job {
    shared: Option<Type>,
    payload: Type,
    returned: Type,
    options: Options,
}

#[derive(Default)]
struct Options {
    concurrency: Option<u64>,
    key: Option<Key>,
    finalize: Option<Path>,
    timeout: Option<Duration>,
    retries: Option<u64>,
    backoff: Option<Duration>,
    /// The job type, if the changelog keeps the jobs.
    durable: Option<LitStr>,
}

/// What orders the jobs.
enum Key {
    /// A field of the payload.
    Field(Ident),
    /// A function of the payload.
    Function(Path),
}

/// `None` if anything is wrong.
pub(super) fn job(attr: &Attr, sig: &Signature, errors: &mut Errors) -> Option<Job> {
    let before = errors.len();
    let options = options(attr, errors);
    plain_function(sig, errors);
    let types = types(sig, errors);
    let (shared, payload, returned) = types.filter(|_| errors.len() == before)?;
    // The attribute itself may be wrong as well.
    errors.is_empty().then_some(Job { shared, payload, returned, options })
}

fn options(attr: &Attr, errors: &mut Errors) -> Options {
    let mut options = Options::default();
    for option in &attr.options {
        match option.name.to_string().as_str() {
            "concurrency" => options.concurrency = number(option, CONCURRENCY_MAX, errors),
            "retries" => options.retries = number(option, ATTEMPTS_MAX, errors),
            "key" => options.key = key(option, errors),
            "finalize" => options.finalize = finalize(option, errors),
            "timeout" => options.timeout = span_of_time(option, errors),
            "backoff" => options.backoff = span_of_time(option, errors),
            "durable" => options.durable = job_type(option, errors),
            wrong => errors.at(option.name.span(), unknown("option", wrong, &OPTIONS)),
        }
    }
    if attr.options.iter().any(|option| option.name == "durable") {
        for option in
            attr.options.iter().filter(|option| NOT_DURABLE.iter().any(|n| option.name == n))
        {
            let name = &option.name;
            let instead = match name == "concurrency" {
                true => "`DurableJobs::concurrency` bounds all durable jobs of a partition",
                false => "the finalizer says when a durable job runs again: `Next::Retry(after)`",
            };
            errors.at(name.span(), format!("`{name}` and `durable` do not go together\n{instead}"));
        }
        return options;
    }
    let backoff = attr.options.iter().find(|option| option.name == "backoff");
    if let Some(backoff) = backoff.filter(|_| options.retries.is_none_or(|count| count < 2)) {
        let is_given = attr.options.iter().any(|option| option.name == "retries");
        if !is_given || options.retries.is_some() {
            let message = "`backoff` is the time before a further attempt, and there is none\n\
                           add `retries = 3`, or leave it out";
            errors.at(backoff.name.span(), message);
        }
    }
    options
}

fn number(option: &RawOption, most: u64, errors: &mut Errors) -> Option<u64> {
    let name = &option.name;
    let literal = syn::parse2::<LitInt>(option.value.clone());
    let number = literal.ok().and_then(|literal| literal.base10_parse::<u64>().ok());
    let number = number.filter(|number| (1..=most).contains(number));
    if number.is_none() {
        let form = format!("`{name}` takes a number from 1 to {most}: `{name} = 64`");
        errors.at(option.value_span(), form.replace("64", if most > 1_000 { "64" } else { "3" }));
    }
    number
}

fn span_of_time(option: &RawOption, errors: &mut Errors) -> Option<Duration> {
    let name = option.name.to_string();
    let Ok(literal) = syn::parse2::<LitStr>(option.value.clone()) else {
        let form = format!("`{name}` takes a duration in quotes: `{name} = \"5s\"`");
        errors.at(option.value_span(), form);
        return None;
    };
    let time = errors.ok(duration::parse(&name, &literal))?;
    if time > DURATION_MAX {
        errors.at(literal.span(), format!("`{name}` is longer than 24 hours"));
        return None;
    }
    Some(time)
}

fn key(option: &RawOption, errors: &mut Errors) -> Option<Key> {
    if let Ok(field) = syn::parse2::<LitStr>(option.value.clone()) {
        if let Ok(name) = field.parse::<Ident>() {
            return Some(Key::Field(name));
        }
    } else if let Ok(function) = syn::parse2::<Path>(option.value.clone()) {
        return Some(Key::Function(function));
    }
    let form = "`key` names a field of the payload in quotes, or a function of it without: \
                `key = \"email\"` or `key = email_of`";
    errors.at(option.value_span(), form);
    None
}

fn job_type(option: &RawOption, errors: &mut Errors) -> Option<LitStr> {
    let name = syn::parse2::<LitStr>(option.value.clone()).ok();
    let name = name.filter(|name| (1..=JOB_TYPE_BYTES_MAX).contains(&name.value().len()));
    if name.is_none() {
        let form = "`durable` takes the job type in quotes, a stable name of 1 to 254 bytes that \
                    the jobs in the changelog carry: `durable = \"send-mail\"`";
        errors.at(option.value_span(), form);
    }
    name
}

fn finalize(option: &RawOption, errors: &mut Errors) -> Option<Path> {
    let path = syn::parse2::<Path>(option.value.clone()).ok();
    if path.is_none() {
        let form = "`finalize` names a function, without quotes: `finalize = sent`, with \
                    `fn sent(ctx: &mut EventContext<Store>, event: Payload, result: \
                    JobResult<Value>) -> Result<ExecutionState>`";
        errors.at(option.value_span(), form);
    }
    path
}

fn typed(argument: &FnArg) -> Option<&PatType> {
    match argument {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    }
}

/// What is shared, the payload, and what is returned.
fn types(sig: &Signature, errors: &mut Errors) -> Option<(Option<Type>, Type, Type)> {
    let before = errors.len();
    if let Some(receiver) = sig.receiver() {
        errors.on(receiver, format!("a handler is a free function\nwrite `{FORM}`"));
        return None;
    }
    let arguments: Vec<&PatType> = sig.inputs.iter().filter_map(typed).collect();
    let is_mut = |ty: &Type| matches!(ty, Type::Reference(ty) if ty.mutability.is_some());
    if let Some(context) = arguments.iter().find(|argument| is_mut(&argument.ty)) {
        let why = "an async handler has no `EventContext`: the partition's store is in use by \
                   other events while it waits";
        let how = "and let `finalize = ..` name the function that gets the context, the event \
                   and the result; or write a handler without `async` and take \
                   `ctx.completer()` into the work";
        errors.on(context, format!("{why}\nwrite `{FORM}`, {how}"));
        return None;
    }
    let (shared, payload) = match arguments.as_slice() {
        [payload] => (None, &payload.ty),
        [shared, payload] => (shared_type(shared, errors), &payload.ty),
        others => {
            let why = format!("`{}` takes {} arguments", sig.ident, others.len());
            let shared = FORM.replacen('(', "(app: &App, ", 1);
            let how = format!("write `{FORM}`, or `{shared}`");
            errors.at(sig.paren_token.span.join(), format!("{why}\n{how}"));
            return None;
        }
    };
    if borrows(payload.to_token_stream()) {
        let why = "an async handler owns its payload, and this one borrows from the record";
        errors.on(payload, format!("{why}\nwrite `String` for `&str`, and owned fields"));
    }
    let ReturnType::Type(_, returned) = &sig.output else {
        let why = format!("`{}` returns nothing: has the job failed?", sig.ident);
        errors.at(sig.paren_token.span.close(), format!("{why}\nwrite `{FORM}`"));
        return None;
    };
    let types = (shared, (**payload).clone(), (**returned).clone());
    (errors.len() == before).then_some(types)
}

fn shared_type(argument: &PatType, errors: &mut Errors) -> Option<Type> {
    if let Type::Reference(reference) = &*argument.ty {
        return Some((*reference.elem).clone());
    }
    let why = "before the event there is only what all handlers share, by reference";
    let form = FORM.replacen('(', "(app: &App, ", 1);
    errors.on(argument, format!("{why}\nwrite `{form}`, or leave it out"));
    None
}

/// Returns true if the type has a lifetime other than `'static`.
fn borrows(ty: TokenStream) -> bool {
    let squeeze = |tokens: TokenStream| tokens.to_string().replace(' ', "");
    squeeze(crate::lifetimes::to_static(ty.clone())) != squeeze(ty)
}

/// The name under which the source finds the finalizer of the async handler `name`.
fn finalizer_name(name: &Ident, span: Span) -> Ident {
    format_ident!("__finalize_{}", name, span = span)
}

/// `struct notify {}`, which schedules a job for each event.
pub(super) fn twin(job: &Job, function: &Function, vis: &Visibility) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let ident = &function.sig.ident;
    let Job { shared, payload, returned, options } = job;
    let cfgs = cfgs(function);
    let placed = placed(ident);
    let share = shared.as_ref().map(|_| quote!(take(&shared),));
    let shared = shared.as_ref().map_or_else(|| quote!(()), ToTokens::to_token_stream);
    let is_key = match options.durable.is_some() {
        true => quote!(durable_key),
        false => quote!(job_key),
    };
    let key = match &options.key {
        None => quote!(#p::record_key(ctx)),
        Some(Key::Field(field)) => quote_spanned! {field.span()=>
            #p::#is_key(::core::clone::Clone::clone(&payload.#field))
        },
        Some(Key::Function(function)) => {
            quote_spanned!(function.span()=> #p::#is_key(#function(&payload)))
        }
    };
    let (trait_name, methods) = match &options.durable {
        Some(job_type) => (quote!(DurableHandler), durable(job, ident, job_type, &key, &share)),
        None => (quote!(AsyncHandler), scheduled(job, ident, &key, &share)),
    };
    let alias = options.finalize.as_ref().map(|finalizer| {
        let name = finalizer_name(ident, finalizer.span());
        quote! {
            #(#cfgs)* #[doc(hidden)] #[allow(unused_imports)] #vis use #finalizer as #name;
        }
    });
    quote! {
        #alias
        #(#cfgs)* #[doc(hidden)] #[allow(non_camel_case_types)] #vis struct #ident {}
        #(#cfgs)* #[automatically_derived] #[allow(unused_variables)]
        impl #p::#trait_name for #ident {
            type Shared = #shared;
            type Payload = #payload;
            type Returned = #returned;
            #placed
            #methods
        }
    }
}

/// The method of a twin whose jobs a scheduler runs.
fn scheduled(
    job: &Job,
    ident: &Ident,
    key: &TokenStream,
    share: &Option<TokenStream>,
) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let (payload, config) = (&job.payload, config(&job.options));
    let all = quote!(::core::marker::Send + ::core::marker::Sync + 'static);
    quote! {
        fn schedule<Store: #p::StateStore, All: #all>(
            ctx: &mut #p::EventContext<Store>,
            shared: &#p::Arc<All>,
            take: fn(&#p::Arc<All>) -> &Self::Shared,
            payload: Self::Payload,
            finalizer: #p::Finalizer<Store, Self>,
        ) -> #p::Outcome {
            let key = #key;
            let job = move |shared: #p::Arc<All>, payload: #payload| async move {
                #ident(#share payload).await
            };
            #p::schedule::<Self, Store, All, _, _>(
                ctx, shared, payload, finalizer, #config, key, job,
            )
        }
    }
}

/// The methods of a twin whose jobs the changelog keeps.
fn durable(
    job: &Job,
    ident: &Ident,
    job_type: &LitStr,
    key: &TokenStream,
    share: &Option<TokenStream>,
) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let (payload, timeout) = (&job.payload, millis(job.options.timeout));
    let all = quote!(::core::marker::Send + ::core::marker::Sync + 'static);
    quote! {
        const TYPE: &'static str = #job_type;

        fn schedule<Store: #p::StateStore>(
            ctx: &mut #p::EventContext<Store>,
            payload: Self::Payload,
        ) -> #p::Outcome {
            let key = #key;
            #p::schedule_durable::<Self, Store, _>(ctx, &key, payload)
        }

        fn register<Store: #p::StateStore, All: #all>(
            jobs: &mut #p::JobTypes<Store>,
            shared: &#p::Arc<All>,
            take: fn(&#p::Arc<All>) -> &Self::Shared,
            finalizer: #p::DurableFinalizer<Store, Self>,
        ) {
            let job = move |shared: #p::Arc<All>, payload: #payload| async move {
                #ident(#share payload).await
            };
            #p::register_durable::<Self, Store, All, _>(jobs, shared, job, #timeout, finalizer);
        }
    }
}

/// A time in milliseconds, if there is one.
fn millis(time: Option<Duration>) -> TokenStream {
    option(time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}

fn option(value: Option<u64>) -> TokenStream {
    let p = quote!(::streams_core::__private);
    match value {
        Some(value) => quote!(#p::Option::Some(#value)),
        None => quote!(#p::Option::None),
    }
}

fn config(options: &Options) -> TokenStream {
    let p = quote!(::streams_core::__private);
    let concurrency = option(options.concurrency);
    let timeout = millis(options.timeout);
    let retries = option(options.retries);
    let backoff = millis(options.backoff);
    quote! {
        #p::JobSettings {
            concurrency: #concurrency,
            timeout_ms: #timeout,
            retries: #retries,
            backoff_ms: #backoff,
        }
    }
}

/// The columns of the routing table's row: `ctx ctx (shared shared "App") (job name) event event`.
pub(super) fn columns(job: &Job, function: &Function) -> TokenStream {
    let ident = &function.sig.ident;
    let context = carriers("ctx", quote!(#ident));
    let shared = job.shared.as_ref().map(|shared| {
        let (place, text) = (carriers("shared", shared.to_token_stream()), text(shared));
        quote!(#place #text)
    });
    let finalizer = job.options.finalize.as_ref();
    let finalizer = finalizer.map(|finalizer| finalizer_name(ident, finalizer.span()));
    let event = carriers("event", job.payload.to_token_stream());
    let kind = match job.options.durable.is_some() {
        true => quote!(durable),
        false => quote!(job),
    };
    quote!(#context (#shared) (#kind #finalizer) #event)
}
