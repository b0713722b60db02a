//! A live page of a runner's jobs. Requires the feature `dashboard`.
//!
//! ```
//! use axum::{Router, extract::Request, http::StatusCode, middleware::{self, Next}, response::Response};
//! use defer_axum::{Dashboard, DeferLayer, Runner};
//!
//! /// Put your own authentication here.
//! async fn require_operator(request: Request, next: Next) -> Result<Response, StatusCode> {
//!     let is_operator = request.headers().get("authorization").is_some_and(|given| given == "Bearer secret");
//!     if is_operator { Ok(next.run(request).await) } else { Err(StatusCode::UNAUTHORIZED) }
//! }
//!
//! let runner = Runner::default();
//! let jobs = Dashboard::new(&runner).into_router().layer(middleware::from_fn(require_operator));
//! let app: Router = Router::new().layer(DeferLayer::new(runner)).nest("/jobs", jobs);
//! ```
//!
//! It shows what runs now and for how long, how full the runner's bounds are, the figures of each job type with the times of the
//! last five minutes, the latest runs with their errors and the responses that they followed, and what the queue has. It is
//! live by server-sent events, and works without a script too, then at each reload. `/data` under its path has the same figures
//! as JSON.
//!
//! # Who may see it
//!
//! Whoever can reach its path. **Put your authentication in front, as above**: without it, everyone sees the names of your jobs
//! and routes, how many there are, and the errors that they return. A job's fields are never shown. Its errors may hold
//! personal data, such as the address that a mail server refused: [`hide_errors`](Dashboard::hide_errors) leaves them out.
//!
//! It only reads, unless you [enable actions](Dashboard::enable_actions): a button then runs a failed job of the queue again. A
//! request for that from another site is refused, by its `Sec-Fetch-Site`, or where a browser sends none, as over plain HTTP, by its
//! `Origin`, which must be the `Host`: a proxy in front has to pass that on.
//!
//! All answers are `no-store` and `noindex`, and the page needs no more than its own `Content-Security-Policy` allows: scripts,
//! styles and connections of its own origin, nothing inline.
//!
//! # What it remembers
//!
//! What has ended since it was created, so create it before the first job. Its totals at the top are those of the runner. It
//! keeps at most 120 runs of each job type: 50 that succeeded, 50 that failed and 20 others. Each is kept with the errors of at
//! most five attempts of at most 500 bytes. Of those that did not fail no more than these are kept in a second: where more
//! succeed, the page shows a sample. The times of five minutes are in histograms that are exact to a sixteenth. That is some
//! 45 KB for a job type, and at most 200 KB with such errors, however many jobs there are.
//!
//! # What it costs
//!
//! Nothing while there is none. With one, the end of each attempt is counted under a lock that all threads share; RESULTS.md in
//! the repository has the cost of a job. An open page costs one look at the figures a second, which looks at each job that has not
//! ended.
//!
//! # Paths and shutdown
//!
//! The page's links are relative, so it works behind a proxy that strips a prefix. Where a proxy serves it under another last
//! segment, nest it at a path that ends with a slash.
//!
//! Its event streams end when the runner is [closing](crate::Runner::shutdown_announced), which is at the signal of
//! [`serve`](crate::serve()), and after half a minute in any case, when the browser connects again. So a graceful shutdown of
//! another server waits that long at most.

mod bounded;
mod figures;
mod float;
mod journal;
mod origin;
mod outcome;
mod page;
mod plot;
mod queue;
mod router;
mod site;
mod snapshot;
mod stream;
mod window;

pub use self::router::Dashboard;
