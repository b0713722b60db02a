//! A guide, in the order in which questions come up. Paste a chapter's program into `src/main.rs`, and see what the chapter says
//! that it does.
//!
//! | chapter | answers |
//! |---|---|
//! | [`first_job`] | How do I run something after the response? |
//! | [`state`] | What does a job know: my pool, its request, the response? |
//! | [`retries`] | What if it fails? Attempts, backoff, timeouts, giving up |
//! | [`sent`] | When exactly does it start, and after which responses? |
//! | [`load`] | How many run, and what happens when there are too many? |
//! | [`shutdown`] | What happens at a deploy? SIGTERM, Docker, Kubernetes |
//! | [queue](#queue) | What if a job must outlive the process? |
//! | [`seeing`] | What are my jobs doing? Events, logs, traces, metrics, a page |
//! | [`testing`] | How do I test all this? |
//! | [`moving`] | I come from `tokio::spawn`, FastAPI or Laravel: what is it called here? |
//! | [`production`] | Limits, order, duplicates, tenants, middleware, giving up, status |
//!
//! # Queue
//!
//! A job that must outlive its process goes to a queue: `#[defer(queue)]` on its type, and the crate `defer-apalis` for the
//! queue, on SQLite, Postgres or Redis. Its own guide is at <https://docs.rs/defer-apalis/latest/defer_apalis/guide/>.

pub mod first_job;
pub mod load;
pub mod moving;
pub mod production;
pub mod retries;
pub mod seeing;
pub mod sent;
pub mod shutdown;
pub mod state;
pub mod testing;
