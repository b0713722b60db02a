//! The guide. Read the chapters in order, or pick the question you have. Each program can be pasted into `src/main.rs` and run.
//!
//! | chapter | question |
//! |---|---|
//! | [First job](first_job) | How do I run something after the response? |
//! | [State](state) | How does a job get its database pool, its request, the response? |
//! | [Retries](retries) | What if a job fails? Attempts, backoff, timeouts |
//! | [When a job starts](sent) | When exactly does it start, and after which responses? |
//! | [Load](load) | How many jobs run, and what if there are too many? |
//! | [Shutdown](shutdown) | What happens on deploy? SIGTERM, Docker, Kubernetes |
//! | [Durable jobs](#durable-jobs) | How does a job survive a crash? |
//! | [Queues](queues) | Which queue keeps durable jobs: my database, River, apalis? |
//! | [Observability](seeing) | What are my jobs doing? Events, logs, traces, metrics, a dashboard |
//! | [Testing](testing) | How do I test what a handler defers? |
//! | [Production](production) | Limits, ordering, duplicates, tenants, middleware, status |
//! | [Recipes](recipes) | How do I do this common task? And [what is out of scope](recipes#what-it-does-not-do)? |
//! | [Moving](moving) | I know `tokio::spawn`, FastAPI or Laravel: what is it called here? |
//!
//! # Durable jobs
//!
//! A durable job survives a crash: it is written to your own database before the client has its answer. Put `#[defer(queue)]` on
//! its type, and add the crate `defer-sqlx`, for SQLite or Postgres. The job still runs after its response, in order, and knows how
//! the response ended. If its process dies, another one runs it. The [guide of
//! `defer-sqlx`](https://docs.rs/defer-sqlx/latest/defer_sqlx/guide/) covers durable jobs. If you run a queue engine already, see
//! [which queue to take](queues).

pub mod first_job;
pub mod load;
pub mod moving;
pub mod production;
pub mod queues;
pub mod recipes;
pub mod retries;
pub mod seeing;
pub mod sent;
pub mod shutdown;
pub mod state;
pub mod testing;
