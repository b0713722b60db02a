//! `#[derive(Deferrable)]` and `#[job]` for [`defer-axum`] and [`defer-core`].
//!
//! This crate is re-exported by `defer-axum`; depend on that one. See [`macro@Deferrable`] for what the
//! derive writes and for its attributes, and [`macro@job`] for a job that is a function.
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

/// Makes a struct a job that can be deferred: `SendWelcome::defer("ada@example.com")`.
///
/// The derive implements `Deferrable` (the job's name and its policy) and adds two functions to the struct, as visible
/// as the struct itself:
///
/// | function | returns | outside a Tokio runtime |
/// |---|---|---|
/// | `defer(..)` | `Deferred` | panics |
/// | `try_defer(..)` | `Result<Deferred, DeferError>` | returns `DeferError::NoRuntime` |
///
/// You implement the `Job` trait, which says what the job does.
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
/// | `bool`, `char`, or a number such as `u64` or `f32` | of that type: `ChargeCard::defer(42)` |
/// | of any other type | an `impl Into<Field>`: a `String` field takes a `&str` |
///
/// What counts is how the field's type is written: an alias of a number, or a type parameter, takes an `impl Into`, and a
/// literal may need its suffix there.
///
/// An argument has the name of its field with an underscore appended, such as `to_`, so that it does not become a pattern
/// when a constant has the field's name. Those of a tuple struct are `arg0_`, `arg1_` and so on.
///
/// Where two fields have one type, arguments are easily swapped. `defer_axum::defer` takes the struct itself, with its fields by
/// name:
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
/// Unit, tuple, named and generic structs work. The struct must own what it holds, because a job outlives the request
/// that deferred it.
///
/// # A `defer` of its own
///
/// A type that has a function `defer` or `try_defer` already cannot have another (E0592). With `#[defer(no_constructor)]` the derive
/// adds neither: defer such a job with `defer_axum::defer(job)` or `defer_axum::try_defer(job)`.
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
/// stack: a struct with a field of 128 KiB overflows the stack of a worker thread. Put what is larger than a few KiB into a
/// `Box`, a `Vec` or an `Arc`.
///
/// # Attributes of the struct
///
/// | `#[defer(...)]` | value | meaning | without it |
/// |---|---|---|---|
/// | `name = "..."` | any text | the job's name in traces, events and queues | the struct's name |
/// | `alias = "..."` | any text | an earlier name, whose stored jobs a worker runs too; several are allowed | none |
/// | `tries = N` | 1 to 4294967295 | the number of attempts in all | 1 |
/// | `backoff = "500ms..30s"` | a duration, or two with `..` between | the shortest and the longest wait before another attempt, which doubles from one to the other, with jitter; a single duration is both | `"500ms..30s"` |
/// | `timeout = "10s"` | a duration | how long one attempt may take | no limit |
/// | `on = "..."` | `"always"` or `"success"` | whether the job also runs after a response that failed | `"always"` |
/// | `max_running = N` | 1 to 4294967295 | how many jobs of the type may run at the same time on a runner; the others wait in their lines. A `blocking` job that timed out keeps its place until its thread returns | no limit of its own |
/// | `concurrent` | | the job leaves its request's line and runs beside the others, as soon as the response is over | it runs after the job before it |
/// | `blocking` | | the job runs on Tokio's blocking pool, where it may block; one that awaits is dropped at its timeout and at the end of a shutdown, as others are | it runs on the runtime |
/// | `queue` | | the job is durable: the runner's queue stores it before the response goes out, and a crash does not lose it; the struct must implement `serde::Serialize`, and `Deserialize` for a worker. On a runner without a queue it runs in memory, and a warning says so once | it is lost with its process |
/// | `priority = N` | -32768 to 32767 | of the queue's jobs that are due, those with a higher priority are taken first; in the process that deferred it, a job runs in its request's line all the same | 0 |
/// | `batch = N` | 2 to 4294967295 | with `within`: jobs of many requests run together, at most so many, on one permit; the struct implements `BatchJob` in place of `Job`, and `max_running` counts batches | each runs by itself |
/// | `within = "500ms"` | a duration | how long the first job of a batch waits for the others | |
/// | `at_shutdown = "..."` | `"wait"` or `"run_now"` | whether a job that is delayed runs when a shutdown begins, rather than when it is due; a durable one waits in its queue | `"wait"` |
/// | `no_constructor` | | the struct gets neither `defer` nor `try_defer` | it gets both |
/// | `crate = "path"` | a path | where `defer-axum` or `defer-core` is found | see below |
///
/// A duration is a number and a unit, or several: `"500ms"`, `"10s"`, `"2m 30s"`, `"1h"`. A value is a literal: a constant has no
/// value yet when attributes are read.
///
/// A generic struct has one name for all its types. Where a worker has to tell them apart, give each its
/// own struct.
///
/// # Attributes of a field
///
/// `#[defer(default)]` leaves the field out of the arguments; it is filled with `Default::default()`.
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
/// # Where the crate is found
///
/// The expansion names `defer-axum` if your crate depends on it, otherwise `defer-core`, even if `Cargo.toml` renames
/// it. If your crate depends on neither, because another crate re-exports one of them, say where:
/// `#[defer(crate = "my_framework::defer_axum")]`. The error says so if you forget it.
///
/// # Errors
///
/// All mistakes in a struct's attributes are reported in one compilation, each at its place. An enum or a union is an
/// error: wrap it in a struct. So is a struct that borrows: own the data. Uses of a type that is refused are no errors of their own.
#[proc_macro_derive(Deferrable, attributes(defer))]
pub fn derive_deferrable(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let mut errors = Errors::default();
    let job = JobType::parse(&input, &mut errors);
    let mut tokens = errors.into_compile_errors();
    // A struct with wrong attributes is expanded all the same. Otherwise each use of it would be an error that hides the
    // one that matters.
    tokens.extend(match &job {
        Ok(job) => expand::expand(job),
        Err(refused) => expand::expand_refused(refused),
    });
    tokens.into()
}

/// Makes an `async fn` a job: a struct of its name holds the arguments, derives [`Deferrable`](macro@Deferrable), and runs the
/// function.
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
/// The function itself stays as it is: a test may call it. Its struct is as visible, and has the arguments as fields, so that
/// `defer_axum::defer(send_welcome { to })` works, and `recorder.assert_deferred::<send_welcome>(|job| ..)`.
///
/// In the parentheses is what the derive has in [`#[defer(...)]`](macro@Deferrable#attributes-of-the-struct). With `queue` the struct
/// is written and read by `serde`, which your crate need not depend on. `#[defer(default)]` on an argument leaves it out of those of
/// `defer`. Other attributes of an argument, such as `#[serde(..)]`, are its field's. The name of the job is that of the
/// function, such as `send_welcome`, unless `name = ".."` says another.
///
/// `derive(..)` lists what else the struct derives. With `Debug`, a failed test shows the arguments of what was deferred:
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
/// Arguments come by value, and each attempt gets a clone of them: put what is large into an `Arc`. The context is optional, and
/// the last one.
///
/// # Output
///
/// A function returns a `JobResult`, a `Result<(), E>` of any error that `?` converts into a `JobError`, or nothing:
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
/// For `Job::failed`, for generics, and where an attempt should borrow rather than clone.
///
/// # Errors
///
/// As of the derive: all mistakes are reported at once, each at its place, and uses of a function that is refused are no errors of
/// their own.
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
        // A struct beside it would be one more error.
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
