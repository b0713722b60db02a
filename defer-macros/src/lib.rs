//! `#[derive(Deferrable)]` and `#[job]` for [`defer-axum`] and [`defer-core`].
//!
//! `defer-axum` re-exports this crate; depend on that one. See [`macro@Deferrable`] for the derive and its attributes, and
//! [`macro@job`] for jobs written as functions.
//!
//! [`defer-axum`]: https://docs.rs/defer-axum
//! [`defer-core`]: https://docs.rs/defer-core

#![cfg_attr(docsrs, feature(doc_cfg))]

mod ast;
mod attr;
mod expand;
mod function;
mod job_attr;
mod valid;

use proc_macro::TokenStream;
use proc_macro2::Span;
use syn::{DeriveInput, ItemFn, parse_macro_input};

use crate::{ast::JobType, attr::Errors, function::JobFunction};

/// Turns a struct into a job that can be deferred: `SendWelcome::defer("ada@example.com")`.
///
/// The derive implements `Deferrable` (the job's name and its policy) and adds two functions to the struct, with the struct's
/// own visibility:
///
/// | function | returns | outside a Tokio runtime |
/// |---|---|---|
/// | `defer(..)` | `Deferred` | panics |
/// | `try_defer(..)` | `Result<Deferred, DeferError>` | returns `DeferError::NoRuntime` |
///
/// You implement the `Job` trait, which does the work.
///
/// ```
/// use defer_axum::{Deferrable, Job, JobContext, JobResult};
///
/// #[derive(Deferrable)]
/// #[defer(tries = 3, backoff = "500ms..30s", timeout = "10s")]
/// struct SendWelcome {
///     to: String,
/// }
///
/// impl Job for SendWelcome {
///     async fn run(&self, _cx: &JobContext) -> JobResult {
///         println!("welcome, {}", self.to);
///         Ok(())
///     }
/// }
///
/// async fn sign_up() -> &'static str {
///     SendWelcome::defer("ada@example.com");
///     "signed up"
/// }
/// # let _ = sign_up;
/// ```
///
/// # Arguments
///
/// `defer` and `try_defer` take one argument per field, in the order of the fields:
///
/// | field | argument |
/// |---|---|
/// | `bool`, `char`, or a number such as `u64` or `f32` | the type itself: `ChargeCard::defer(42)` |
/// | any other type | `impl Into<Field>`: a `String` field accepts a `&str` |
///
/// The derive only sees how the field's type is written: an alias of a number, or a type parameter, takes an `impl Into`, where
/// a literal may need a suffix.
///
/// An argument is named after its field with an underscore appended, such as `to_`, so that it does not become a pattern if a
/// constant has the field's name. The arguments of a tuple struct are `arg0_`, `arg1_` and so on.
///
/// If two fields have the same type, their arguments are easily swapped. `defer_axum::defer` takes the struct itself, with
/// named fields:
///
/// ```
/// # use defer_axum::{Deferrable, Job, JobContext, JobResult};
/// #[derive(Deferrable)]
/// struct Transfer {
///     from: u64,
///     to: u64,
/// }
/// # impl Job for Transfer {
/// #     async fn run(&self, _cx: &JobContext) -> JobResult { let _ = (self.from, self.to); Ok(()) }
/// # }
///
/// async fn pay() {
///     defer_axum::defer(Transfer { from: 4711, to: 4712 });
/// }
/// # let _ = pay;
/// ```
///
/// Unit, tuple, named and generic structs work. The struct must own its data, because a job outlives the request that deferred
/// it.
///
/// # A `defer` of its own
///
/// A type that already has a function `defer` or `try_defer` cannot get another one (E0592). With `#[defer(no_constructor)]`,
/// the derive adds neither. Defer such a job with `defer_axum::defer(job)` or `defer_axum::try_defer(job)`.
///
/// ```
/// # use defer_axum::{Deferrable, Job, JobContext, JobResult};
/// #[derive(Deferrable)]
/// #[defer(no_constructor)]
/// struct Payment {
///     cents: u64,
/// }
///
/// impl Payment {
///     /// Grants the customer more time.
///     fn defer(&mut self) {
///         // ..
/// #       self.cents += 0;
///     }
/// }
/// # impl Job for Payment {
/// #     async fn run(&self, _cx: &JobContext) -> JobResult { Ok(()) }
/// # }
///
/// async fn pay(mut payment: Payment) {
///     payment.defer();
///     defer_axum::defer(payment);
/// }
/// # let _ = pay;
/// ```
///
/// # Large jobs
///
/// A job is moved several times on its way into the request's list, and in a debug build each move is a copy on the
/// stack: a struct with a field of 128 KiB overflows the stack of a worker thread. Put data larger than a few KiB into a `Box`,
/// a `Vec` or an `Arc`.
///
/// # Attributes of the struct
///
/// | `#[defer(...)]` | value | meaning | without it |
/// |---|---|---|---|
/// | `name = "..."` | any text | the job's name in traces, events and queues | the struct's name |
/// | `alias = "..."` | any text | an earlier name of the type; workers also run jobs stored under it. Several are allowed | none |
/// | `tries = N` | 1 to 4294967295 | the maximum number of attempts, including the first | 1 |
/// | `backoff = "500ms..30s"` | a duration, or two with `..` between | the minimum and the maximum wait before another attempt. The wait doubles from one to the other, with jitter; a single duration is both | `"500ms..30s"` |
/// | `timeout = "10s"` | a duration | the timeout of an attempt | no limit |
/// | `on = "..."` | `"always"` or `"success"` | whether the job also runs after a response that failed | `"always"` |
/// | `max_running = N` | 1 to 4294967295 | how many jobs of the type may run at the same time on a runner; the others wait in their lines. A `blocking` job that timed out counts until its thread returns | no limit of its own |
/// | `concurrent` | | the job leaves its request's line and runs beside the others, as soon as the response is over | it runs after the job before it |
/// | `blocking` | | the job runs on Tokio's blocking pool, where it may block. When it awaits, it can be dropped at its timeout and at the end of a shutdown, like any other | it runs on the runtime |
/// | `queue` | | the job is durable: the runner's queue stores it before the response goes out, and it survives a crash. The struct must implement `serde::Serialize`, and `Deserialize` for a worker. On a runner without a queue, it runs in memory, and a warning is logged once | the job is lost with its process |
/// | `priority = N` | -32768 to 32767 | workers take due jobs with a higher priority first. A job that runs in the process that deferred it keeps its place in its request's line | 0 |
/// | `batch = N` | 2 to 4294967295 | with `within`: up to N jobs of many requests run together, on one permit. The struct implements `BatchJob` instead of `Job`, and `max_running` limits batches | each job runs by itself |
/// | `within = "500ms"` | a duration | how long the first job of a batch waits for others | |
/// | `at_shutdown = "..."` | `"wait"` or `"run_now"` | whether a delayed job runs as soon as a shutdown begins, even if it is not due. A durable job waits in its queue | `"wait"` |
/// | `no_constructor` | | the struct gets neither `defer` nor `try_defer` | it gets both |
/// | `crate = "path"` | a path | the path of `defer-axum` or `defer-core` | see below |
///
/// A duration is a number and a unit, or several of these: `"500ms"`, `"10s"`, `"2m 30s"`, `"1h"`. Values are literals, because
/// constants have no value yet when attributes are read.
///
/// A generic struct has one name for all its type arguments. If a worker has to distinguish them, write a struct for each.
///
/// # Attributes of a field
///
/// `#[defer(default)]` removes the field from the arguments and fills it with `Default::default()`.
///
/// ```
/// # use defer_axum::{Deferrable, Job, JobContext, JobResult};
/// #[derive(Deferrable)]
/// struct Resize {
///     path: std::path::PathBuf,
///     width: u32,
///     #[defer(default)]
///     quality: Option<u8>,
/// }
/// # impl Job for Resize {
/// #     async fn run(&self, _cx: &JobContext) -> JobResult { let _ = self.quality; Ok(()) }
/// # }
///
/// async fn upload() {
///     Resize::defer("cat.png", 640);
/// }
/// # let _ = upload;
/// ```
///
/// # How the crate is found
///
/// The expansion names `defer-axum` if your crate depends on it, otherwise `defer-core`, even if `Cargo.toml` renames
/// it. If your crate depends on neither, because another crate re-exports one of them, set the path: `#[defer(crate =
/// "my_framework::defer_axum")]`. The error reminds you if you forget it.
///
/// # Errors
///
/// All mistakes in a struct's attributes are reported in one compilation, each at its place. Enums and unions are rejected:
/// wrap them in a struct. Structs that borrow are rejected: own the data. Uses of a rejected type cause no further errors.
#[proc_macro_derive(Deferrable, attributes(defer))]
pub fn derive_deferrable(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let mut errors = Errors::default();
    let job = JobType::parse(&input, &mut errors);
    let mut tokens = errors.into_compile_errors();
    // Expand even a struct with wrong attributes. Otherwise each use of it would be an error that hides the one that matters.
    tokens.extend(match &job {
        Ok(job) => expand::expand(job),
        Err(refused) => expand::expand_refused(refused),
    });
    tokens.into()
}

/// Turns an `async fn` into a job: a struct with the same name holds the arguments, derives [`Deferrable`](macro@Deferrable),
/// and runs the function.
///
/// ```
/// use defer_axum::{JobContext, JobResult, job};
///
/// /// Sends a welcome.
/// #[job(tries = 3, timeout = "10s")]
/// async fn send_welcome(to: String, cx: &JobContext) -> JobResult {
///     println!("{}: welcome, {to} (attempt {})", cx.id(), cx.attempt());
///     Ok(())
/// }
///
/// async fn sign_up() -> &'static str {
///     send_welcome::defer("ada@example.com");
///     "signed up"
/// }
/// # let _ = sign_up;
/// ```
///
/// The function itself does not change, so a test can call it. The struct has the function's visibility, and the arguments are
/// its fields: `defer_axum::defer(send_welcome { to })` and `recorder.assert_deferred::<send_welcome>(|job| ..)` work.
///
/// The parentheses take the attributes of [`#[defer(...)]`](macro@Deferrable#attributes-of-the-struct). With `queue`, the
/// struct implements the traits of `serde`; your crate does not have to depend on `serde`. `#[defer(default)]` on an argument
/// removes it from the arguments of `defer`. Other attributes of an argument, such as `#[serde(..)]`, apply to its field. The
/// job has the name of the function, such as `send_welcome`, unless you set `name = ".."`.
///
/// `derive(..)` lists further traits for the struct to derive. With `Debug`, a failed test shows the arguments of the deferred
/// jobs:
///
/// ```
/// use defer_axum::{JobResult, job};
///
/// #[job(tries = 3, derive(Debug, PartialEq))]
/// async fn resize(path: String, width: u32) -> JobResult {
///     // ..
/// #   let _ = (path, width);
///     Ok(())
/// }
///
/// let job = resize { path: "cat.png".to_owned(), width: 640 };
/// assert_eq!(format!("{job:?}"), r#"resize { path: "cat.png", width: 640 }"#);
/// ```
///
/// # Arguments
///
/// Arguments are passed by value, and each attempt gets a clone of them, so put large data into an `Arc`. The context is
/// optional, and comes last.
///
/// # Output
///
/// A function returns a `JobResult`, a `Result<(), E>` with any error that `?` converts into a `JobError`, or nothing:
///
/// ```
/// use defer_axum::job;
///
/// #[job]
/// async fn clean_up(file: std::path::PathBuf) -> std::io::Result<()> {
///     std::fs::remove_file(file)
/// }
///
/// #[job]
/// async fn log_visit(page: String) {
///     println!("{page} was read");
/// }
/// ```
///
/// # When to write a struct instead
///
/// Write a struct if you need `Job::failed` or generics, or if an attempt should borrow its data instead of cloning it.
///
/// # Errors
///
/// As with the derive, all mistakes are reported at once, each at its place, and uses of a rejected function cause no further
/// errors.
#[proc_macro_attribute]
pub fn job(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let original = item.clone();
    let function = match syn::parse::<ItemFn>(item) {
        Ok(function) => function,
        Err(_) => {
            let error = "`#[job]` goes on an `async fn`: derive `Deferrable` for a struct";
            let error = syn::Error::new(Span::call_site(), error).into_compile_error();
            return [TokenStream::from(error), original].into_iter().collect();
        }
    };
    let mut errors = Errors::default();
    if let Some(receiver) = function.sig.receiver() {
        let error = "a job's function has no `self`: derive `Deferrable` for a struct in its place";
        let error = syn::Error::new(receiver.self_token.span, error).into_compile_error();
        // Adding the struct would cause another error.
        return [TokenStream::from(error), original].into_iter().collect();
    }
    let function = JobFunction::parse(attribute.into(), function, &mut errors);
    let mut job = JobType::parse(&function.input, &mut errors);
    if function.is_refused {
        job = job.and_then(|job| Err(job.into_refused()));
    }
    let mut tokens = errors.into_compile_errors();
    tokens.extend(expand::expand_function(&function, &job));
    tokens.into()
}
