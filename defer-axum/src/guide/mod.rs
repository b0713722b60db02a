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
//! | [durable jobs](#durable-jobs) | What if a job must outlive the process? |
//! | [`seeing`] | What are my jobs doing? Events, logs, traces, metrics, a page |
//! | [`testing`] | How do I test all this? |
//! | [`moving`] | I come from `tokio::spawn`, FastAPI or Laravel: what is it called here? |
//! | [`production`] | Limits, order, duplicates, tenants, middleware, giving up, status |
//!
//! # Durable jobs
//!
//! A job that must outlive its process is written to the service's own database before the client has its answer: `#[defer(queue)]` on
//! its type, and the crate `defer-sqlx` for SQLite or Postgres. It is the same job. It runs after its response, in order, knowing how the
//! response ended; and if its process dies, another one runs it. Its own guide is at
//! <https://docs.rs/defer-sqlx/latest/defer_sqlx/guide/>.

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
