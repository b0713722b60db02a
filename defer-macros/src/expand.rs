//! Expands the syntax model to code. Nothing here can fail.

use std::{iter, time::Duration};

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{
    Attribute, DeriveInput, Field, Ident, LitStr, Member, Path, ReturnType, WhereClause, WherePredicate,
    parse_quote, spanned::Spanned,
};

use crate::{
    ast::{JobField, JobType, Refused, Shape, Source},
    attr::{AtShutdown, Batch, On, Policy},
    function::JobFunction,
};

pub(crate) fn expand(job: &JobType<'_>) -> TokenStream {
    let deferrable = impl_deferrable(job);
    let functions = job.has_constructor.then(|| impl_functions(job));
    let batched = job.policy.batch.map(|_| impl_job(job));
    quote! {
        #deferrable
        #batched
        #functions
    }
}

/// Implements `Job` for a batch job: how a single job runs, and what it does when it fails permanently.
fn impl_job(job: &JobType<'_>) -> TokenStream {
    let JobType { ident, krate, .. } = job;
    let (impl_generics, type_generics, where_clause) = job.generics.split_for_impl();
    let where_job = where_job(job, where_clause);
    let allow = allow(job);
    quote! {
        #[automatically_derived]
        #allow
        impl #impl_generics #krate::__private::Batched for #ident #type_generics #where_clause {}

        #[automatically_derived]
        #allow
        impl #impl_generics #krate::Job for #ident #type_generics #where_job {
            async fn run(&self, cx: &#krate::JobContext) -> #krate::JobResult {
                #krate::__private::run_alone(self, cx).await
            }

            async fn failed(&self, cx: &#krate::JobContext, error: &#krate::JobError) {
                #krate::__private::failed_alone(self, cx, error).await;
            }
        }
    }
}

/// Expands a job function to the function itself, a struct with its arguments, and a `Job` implementation.
pub(crate) fn expand_function(
    of_function: &JobFunction,
    job: &Result<JobType<'_>, Refused<'_>>,
) -> TokenStream {
    let JobFunction { function, input, derives, .. } = of_function;
    let derives = (!derives.is_empty()).then(|| quote!(#[derive(#(#derives),*)]));
    let DeriveInput { ident, vis, attrs, .. } = input;
    let is_left = |attr: &&Attribute| !attr.path().is_ident("defer");
    let attrs = attrs.iter().filter(is_left);
    let fields = of_function.fields().map(|field| {
        let Field { attrs, vis, ident, ty, .. } = field;
        let stored = job.as_ref().ok().and_then(|job| store_field(job, field));
        let attrs = attrs.iter().filter(is_left);
        let doc = format!("The argument `{}`.", ident.as_ref().map(ToString::to_string).unwrap_or_default());
        quote!(#[doc = #doc] #stored #(#attrs)* #vis #ident: #ty)
    });
    let (stored, run, expanded) = match job {
        Ok(job) => (store(job), Some(run(of_function, job)), expand(job)),
        Err(refused) => (None, None, expand_refused(refused)),
    };
    quote! {
        #function

        #(#attrs)*
        #derives
        #stored
        #vis struct #ident {
            #(#fields),*
        }

        #run
        #expanded
    }
}

/// Returns the implementations that serialize and deserialize a durable job. The user's crate does not need to depend on `serde`.
fn store(job: &JobType<'_>) -> Option<TokenStream> {
    job.policy.queue?;
    let krate = &job.krate;
    let serde = quote!(#krate::__private::serde);
    let path = serde.to_string();
    Some(quote! {
        #[derive(#serde::Serialize, #serde::Deserialize)]
        #[serde(crate = #path)]
    })
}

/// Returns bounds that report a type without serde as one error at `queue`, instead of several in the code that `serde` derives.
/// They are `for<..>` bounds, so that the compiler does not check them earlier. A user's attribute on the field may make them
/// unnecessary.
fn store_field(job: &JobType<'_>, Field { attrs, ty, .. }: &Field) -> Option<TokenStream> {
    job.policy.queue?;
    if attrs.iter().any(|attr| attr.path().is_ident("serde")) {
        return None;
    }
    let krate = &job.krate;
    let bound = quote!(for<'stored> #ty: #krate::__private::Stored).to_string();
    let bound = LitStr::new(&bound, at(ty.span()));
    Some(quote!(#[serde(bound = #bound)]))
}

/// Implements `Job` by calling the function.
fn run(of_function: &JobFunction, job: &JobType<'_>) -> TokenStream {
    let JobFunction { function, has_context, .. } = of_function;
    let JobType { ident, krate, .. } = job;
    let name = &function.sig.ident;
    // Errors are shown at the argument, the output or the name.
    let arguments = of_function.fields().map(|Field { ident, ty, .. }| {
        let krate = shown_at(ty.span(), krate);
        quote_spanned!(at(ty.span())=> #krate::__private::cloned(&self.#ident),)
    });
    let (cx, passed) = if *has_context { (quote!(cx), Some(quote!(cx))) } else { (quote!(_cx), None) };
    let output = match &function.sig.output {
        ReturnType::Type(_, ty) => ty.span(),
        ReturnType::Default => name.span(),
    };
    let result = {
        let krate = shown_at(output, krate);
        quote_spanned!(at(output)=> #krate::__private::job_result(#name(#(#arguments)* #passed).await))
    };
    let run = {
        let krate = shown_at(name.span(), krate);
        quote_spanned!(at(name.span())=>
            async fn run(&self, #cx: &#krate::JobContext) -> #krate::JobResult {
                #result
            }
        )
    };
    let allow = allow(job);
    quote! {
        #allow
        impl #krate::Job for #ident {
            #run
        }
    }
}

/// Expands to code that lets uses of a rejected type compile. Otherwise each use would be another error, and hide the one that
/// matters.
pub(crate) fn expand_refused(refused: &Refused<'_>) -> TokenStream {
    let Refused { ident, visibility, generics, arguments, krate } = refused;
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let deferrable = krate.as_ref().map(|krate| {
        let mut clause = where_clause.cloned().unwrap_or_else(|| parse_quote!(where));
        clause.predicates.extend(generics.lifetimes().map(|param| -> WherePredicate {
            let lifetime = &param.lifetime;
            parse_quote!(#lifetime: 'static)
        }));
        // Without the `for<>`, a missing `Job` would be another error here.
        clause.predicates.push(parse_quote!(for<'refused> Self: #krate::Job));
        quote! {
            #[automatically_derived]
            impl #impl_generics #krate::Deferrable for #ident #type_generics #clause {
                const NAME: &'static ::core::primitive::str = "";
                const POLICY: #krate::Policy = #krate::Policy::new();
            }
        }
    });
    let functions = arguments.map(|arguments| {
        let arguments: Vec<_> = iter::repeat_n(quote!(_: impl ::core::marker::Sized), arguments).collect();
        let (deferred, error) = match krate {
            Some(krate) => (quote!(#krate::Deferred), quote!(#krate::DeferError)),
            None => (quote!(()), quote!(::core::convert::Infallible)),
        };
        quote! {
            impl #impl_generics #ident #type_generics #where_clause {
                #[doc(hidden)]
                #visibility fn defer(#(#arguments),*) -> #deferred {
                    loop {}
                }

                #[doc(hidden)]
                #visibility fn try_defer(#(#arguments),*) -> ::core::result::Result<#deferred, #error> {
                    loop {}
                }
            }
        }
    });
    quote! {
        #deferrable
        #functions
    }
}

fn impl_deferrable(job: &JobType<'_>) -> TokenStream {
    let JobType { ident, name, krate, .. } = job;
    let (impl_generics, type_generics, where_clause) = job.generics.split_for_impl();
    let where_clause = where_job(job, where_clause);
    let policy = policy(job);
    let allow = allow(job);
    let encode = job.policy.queue.map(|queue| {
        let encode = quote_spanned!(at(queue)=> #krate::__private::encode::<Self>);
        quote! {
            const ENCODE: ::core::option::Option<
                fn(&Self) -> ::core::result::Result<::std::vec::Vec<::core::primitive::u8>, #krate::BoxError>
            > = ::core::option::Option::Some(#encode);
            const DECODE: ::core::option::Option<
                fn(&[::core::primitive::u8]) -> ::core::result::Result<Self, #krate::BoxError>
            > = #krate::__private::decode!(Self);
        }
    });
    let batch = job.policy.batch.map(|Batch { size, within }| {
        let (size, within) = (size as usize, duration(within));
        // The only code that needs `BatchJob`, so that its error is shown at the struct.
        let batching = {
            let krate = shown_at(ident.span(), krate);
            quote_spanned!(at(ident.span())=> #krate::__private::batching::<Self>)
        };
        quote! {
            const BATCH: ::core::option::Option<#krate::__private::Batching<Self>> =
                ::core::option::Option::Some(#batching(#size, #within));
        }
    });
    let aliases = (!job.aliases.is_empty()).then(|| {
        let aliases = &job.aliases;
        quote!(const ALIASES: &'static [&'static ::core::primitive::str] = &[#(#aliases),*];)
    });

    quote! {
        #[automatically_derived]
        #allow
        impl #impl_generics #krate::Deferrable for #ident #type_generics #where_clause {
            const NAME: &'static ::core::primitive::str = #name;
            const POLICY: #krate::Policy = #policy;
            const SHOW: ::core::option::Option<
                fn(&Self, &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result
            > = #krate::__private::show!(Self);
            #encode
            #batch
            #aliases
        }
    }
}

fn impl_functions(job: &JobType<'_>) -> TokenStream {
    let JobType { ident, visibility, krate, .. } = job;
    let (impl_generics, type_generics, where_clause) = job.generics.split_for_impl();
    let where_job = where_job(job, None);
    let parameters: Vec<TokenStream> = job.fields.iter().filter_map(parameter).collect();
    let values: Vec<TokenStream> = job.fields.iter().map(value).collect();

    let pattern = pattern(job);
    let defer_doc = format!("Defers `{pattern}` until the response has been sent.");
    let try_defer_doc =
        format!("Defers `{pattern}` until the response has been sent, if there is a Tokio runtime.");

    let allow = allow(job);
    let allow_arguments = (parameters.len() > 7).then(|| quote!(#[allow(clippy::too_many_arguments)]));
    quote! {
        #allow
        #[allow(clippy::impl_trait_in_params)]
        #allow_arguments
        impl #impl_generics #ident #type_generics #where_clause {
            #[doc = #defer_doc]
            ///
            /// # Panics
            ///
            /// Outside a Tokio runtime. `try_defer` returns an error instead.
            #[track_caller]
            #visibility fn defer(#(#parameters),*) -> #krate::Deferred
            #where_job
            {
                #krate::defer(Self { #(#values),* })
            }

            #[doc = #try_defer_doc]
            ///
            /// # Errors
            ///
            /// Outside a Tokio runtime, where nothing could run the job.
            #[track_caller]
            #visibility fn try_defer(
                #(#parameters),*
            ) -> ::core::result::Result<#krate::Deferred, #krate::DeferError>
            #where_job
            {
                #krate::try_defer(Self { #(#values),* })
            }
        }
    }
}

/// Allows the only rustc lint that can fire in the expansion, which it does if the user's struct is deprecated. No other rustc
/// lint is allowed here, so that a crate may forbid any of them.
fn allow(job: &JobType<'_>) -> Option<TokenStream> {
    job.is_deprecated.then(|| quote!(#[allow(deprecated)]))
}

/// Adds a bound for a generic struct, which may be a job only for some type arguments.
///
/// Without a type parameter, the compiler checks this on its own, and reports it at the struct's name.
fn where_job(job: &JobType<'_>, clause: Option<&WhereClause>) -> Option<WhereClause> {
    let mut clause = clause.cloned();
    if job.generics.type_params().next().is_some() {
        let krate = &job.krate;
        let clause = clause.get_or_insert_with(|| parse_quote!(where));
        let bound = if job.policy.batch.is_some() { quote!(BatchJob) } else { quote!(Job) };
        clause.predicates.push(parse_quote!(Self: #krate::#bound));
        if job.policy.queue.is_some() {
            clause.predicates.push(parse_quote!(Self: #krate::__private::Queued));
        }
    }
    clause
}

fn policy(job: &JobType<'_>) -> TokenStream {
    let krate = &job.krate;
    let Policy {
        tries,
        backoff,
        timeout,
        on,
        max_running,
        concurrent,
        blocking,
        queue,
        priority,
        at_shutdown,
        batch: _,
    } = &job.policy;
    let tries = tries.map(|tries| quote!(.with_tries(#tries)));
    let backoff = backoff.map(|backoff| {
        let (min, max) = (duration(backoff.min), duration(backoff.max));
        quote!(.with_backoff(#min, #max))
    });
    let timeout = timeout.map(|timeout| {
        let timeout = duration(timeout);
        quote!(.with_timeout(#timeout))
    });
    let on = on.and_then(|on| match on {
        On::Always => None,
        On::Success => Some(quote!(.with_on_success())),
    });
    let max_running = max_running.map(|jobs| quote!(.with_max_running(#jobs)));
    let concurrent = concurrent.then(|| quote!(.with_concurrent()));
    let blocking = blocking.then(|| quote!(.with_blocking()));
    let queue = queue.map(|_| quote!(.with_queue()));
    let priority = priority.map(|priority| quote!(.with_priority(#priority)));
    let at_shutdown = at_shutdown.and_then(|at_shutdown| match at_shutdown {
        AtShutdown::Wait => None,
        AtShutdown::RunNow => Some(quote!(.with_run_at_shutdown())),
    });
    quote!(
        #krate::Policy::new()
            #tries #backoff #timeout #on #max_running #concurrent #blocking #queue #priority #at_shutdown
    )
}

fn duration(duration: Duration) -> TokenStream {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}

fn parameter(field: &JobField<'_>) -> Option<TokenStream> {
    let ty = field.ty;
    let taken = if field.is_primitive {
        quote!(#ty)
    } else {
        quote_spanned!(at(ty.span())=> impl ::core::convert::Into<#ty>)
    };
    argument(field).map(|argument| quote!(#argument: #taken))
}

fn argument<'a>(field: &'a JobField<'_>) -> Option<&'a Ident> {
    match &field.source {
        Source::Argument(argument) => Some(argument),
        Source::Default(_) => None,
    }
}

/// Returns `member: value`, which also works for a tuple struct.
fn value(field: &JobField<'_>) -> TokenStream {
    let member = &field.member;
    match &field.source {
        Source::Argument(argument) if field.is_primitive => quote!(#member: #argument),
        Source::Argument(argument) => quote!(#member: ::core::convert::Into::into(#argument)),
        Source::Default(default) => {
            let default = quote_spanned!(at(*default)=> ::core::default::Default::default());
            quote!(#member: #default)
        }
    }
}

/// Returns a span that shows errors at `span` but resolves names at the call site.
fn at(span: Span) -> Span {
    Span::call_site().located_at(span)
}

/// Returns the path with all tokens shown at `span`.
fn shown_at(span: Span, path: &Path) -> TokenStream {
    let tokens = path.to_token_stream().into_iter().map(|mut token| {
        token.set_span(token.span().located_at(span));
        token
    });
    tokens.collect()
}

/// Returns the struct as shown in its documentation: `SendWelcome { to, .. }`.
fn pattern(job: &JobType<'_>) -> String {
    let ident = job.ident;
    let of_argument = |field: &&JobField<'_>| argument(field).is_some();
    let name = |field: &JobField<'_>| match &field.member {
        Member::Named(ident) => ident.to_string(),
        Member::Unnamed(index) => format!("arg{}", index.index),
    };
    let mut fields: Vec<String> = job.fields.iter().filter(of_argument).map(name).collect();
    if fields.len() < job.fields.len() {
        fields.push("..".to_owned());
    }
    let fields = fields.join(", ");
    match job.shape {
        Shape::Named => format!("{ident} {{ {fields} }}"),
        Shape::Tuple => format!("{ident}({fields})"),
        Shape::Unit => ident.to_string(),
    }
}
