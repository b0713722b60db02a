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
//! # Questions it answers
//!
//! | question | where |
//! |---|---|
//! | Is anything wrong? | the lines at the top, the worst first: the queue's oldest due job, its workers, how long it has been unreachable and how many jobs ran in memory meanwhile, types that no worker takes, paused types |
//! | What fails, since when, and why? | failures, grouped by job type and the first line of the error, with counts, first and last |
//! | What about this job? | search for its id, or for its request's: attempts, waits, next attempt, route, response, progress. A durable job is read from its row, whichever process has it |
//! | What is slow? | the job types: rate, failures and percentiles of the last five minutes. Failing types come first |
//! | What is running, and what is next? | running jobs, and upcoming ones: delayed or waiting for a retry |
//! | How was the last day? | a plot of attempts and failures by the minute |
//! | Which process is this? | host, process id, version and start at the top; below, all processes that share the queue |
//!
//! An open page receives its changes once a second, as lines of JSON that your compression layer compresses. Without scripts the
//! page works too, and a reload updates it. `/data` below its path has the same figures as JSON.
//!
//! # Access
//!
//! Everyone who can reach its path can see it. **Put your authentication in front, as above**: without it, everyone sees the
//! names of your jobs and routes, the number of jobs, and their errors. The fields of a job are never shown. Errors may contain
//! personal data, such as the address that a mail server refused: [`hide_errors`](Dashboard::hide_errors) leaves them out.
//!
//! The page is read-only unless you [enable actions](Dashboard::enable_actions). Operators can then retry or discard a failed job
//! of the queue or a group of them, cancel jobs, and pause and resume job types of the queue. Each action asks for confirmation,
//! reports its result, and is logged at INFO with the name of the [`Operator`] that your authentication inserted.
//!
//! Actions that another site requests are refused. The page relies on `Sec-Fetch-Site`. If a browser does not send it, as over
//! plain HTTP, the `Origin` must match the `Host`, which a proxy in front has to pass on.
//!
//! All responses are `no-store` and `noindex`. The page's `Content-Security-Policy` only allows scripts, styles and connections
//! of its own origin, and nothing inline.
//!
//! # Memory
//!
//! The dashboard records jobs that end after it was created, so create it before the first job. The totals at the top are those
//! of the runner. For each job type it keeps at most 70 runs: 20 that succeeded, 30 that failed, 10 that were retried and 10
//! others. A run has the errors of at most five attempts, of at most 500 bytes each. If more runs than that do not fail within ten
//! seconds, the page shows a sample, of at least one every half second. The times of the last five minutes are in histograms that
//! are exact to a sixteenth. Three hundred job types take 10 MB (`soak types` in the repository), regardless of the number of
//! jobs.
//!
//! # Cost
//!
//! A runner without a dashboard pays nothing. With one, the end of each attempt is counted under a lock that all threads share.
//! RESULTS.md in the repository has the cost per job. An open page reads the figures once a second, and each time looks at every
//! job that has not ended.
//!
//! # Paths and shutdown
//!
//! With `nest_service("/jobs", ..)`, as above, the page is at `/jobs` and at `/jobs/`. With `nest("/jobs", ..)`, it is only at
//! `/jobs`. Its links are relative, so it works behind a proxy that strips a prefix. If a proxy serves it under another last
//! segment, open it with a trailing slash.
//!
//! Its streams end when the runner's [shutdown is announced](crate::Runner::shutdown_announced), which [`serve`](crate::serve())
//! does at its signal. They also end after half a minute, and the browser then connects again. A graceful shutdown of another
//! server therefore waits for at most half a minute.

mod memory;
mod queue;
mod sections;
mod web;

pub use self::web::{operator::Operator, router::Dashboard};
