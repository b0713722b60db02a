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
//! let app: Router = Router::new().layer(DeferLayer::new(runner)).nest_service("/jobs", jobs);
//! ```
//!
//! # What it answers
//!
//! | question | where |
//! |---|---|
//! | Is anything wrong? | the lines at the top, the worst first: the queue's oldest due job, its workers, since when it is unreachable and what ran in memory meanwhile, types that no worker takes, paused types |
//! | What fails, since when, and why? | failures, grouped by job type and the first line of the error, with counts, first and last |
//! | What about this job? | search for its id, or for its request's: attempts, waits, next attempt, route, response, progress. A durable job is read from its row, whichever process has it |
//! | What is slow? | the job types: rate, failures and percentiles of the last five minutes. Failing types come first |
//! | What is running, and what is next? | running jobs, and upcoming ones: delayed or waiting for a retry |
//! | How was the last day? | a plot of attempts and failures by the minute |
//! | Which process is this? | host, process id, version and start at the top; below, all processes that share the queue |
//!
//! An open page receives what has changed once a second, as lines of JSON that your compression layer compresses. Without a script the
//! page works too, and a reload updates it. `/data` under its path has the same figures as JSON.
//!
//! # Who may see it
//!
//! Everyone who can reach its path. **Put your authentication in front, as above**: without it, everyone sees the names of your jobs
//! and routes, how many there are, and the errors that they return. A job's fields are never shown. Its errors may hold
//! personal data, such as the address that a mail server refused: [`hide_errors`](Dashboard::hide_errors) leaves them out.
//!
//! It is read-only unless you [enable actions](Dashboard::enable_actions). Operators can then retry or discard one failed job of the
//! queue or a group of them, cancel jobs, and pause and resume job types of the queue. Each action asks first, says what it did, and is
//! logged at INFO with the name of the [`Operator`] that your authentication inserted.
//!
//! A request to act from another site is refused, by its `Sec-Fetch-Site`, or where a browser sends none, as over plain HTTP, by its
//! `Origin`, which must be the `Host`: a proxy in front has to pass that on.
//!
//! All answers are `no-store` and `noindex`, and the page needs no more than its own `Content-Security-Policy` allows: scripts,
//! styles and connections of its own origin, nothing inline.
//!
//! # What it remembers
//!
//! What has ended since it was created, so create it before the first job. Its totals at the top are those of the runner. It
//! keeps at most 70 runs of each job type: 20 that succeeded, 30 that failed, 10 that were retried and 10 others. Each is kept with the
//! errors of at most five attempts of at most 500 bytes. Of those that did not fail no more than these are kept in a second: where
//! more succeed, the page shows a sample. The times of five minutes are in histograms that are exact to a sixteenth. Three hundred
//! job types take 10 MB (`soak types` in the repository), however many jobs there are.
//!
//! # What it costs
//!
//! Nothing while there is none. With one, the end of each attempt is counted under a lock that all threads share; RESULTS.md in
//! the repository has the cost of a job. An open page costs one look at the figures a second, which looks at each job that has not
//! ended.
//!
//! # Paths and shutdown
//!
//! With `nest_service("/jobs", ..)`, as above, the page is at `/jobs` and at `/jobs/`; with `nest("/jobs", ..)` it is at `/jobs` alone.
//! Its links are relative, so it works behind a proxy that strips a prefix. Where a proxy serves it under another last segment, open it
//! with a slash at its end.
//!
//! Its streams end when the runner is [closing](crate::Runner::shutdown_announced), which is at the signal of
//! [`serve`](crate::serve()), and after half a minute in any case, when the browser connects again. So a graceful shutdown of
//! another server waits that long at most.

mod memory;
mod queue;
mod sections;
mod web;

pub use self::web::{operator::Operator, router::Dashboard};
