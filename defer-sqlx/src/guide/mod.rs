//! The guide to durable jobs, from the first one to production. For everything else, see the [guide of `defer-axum`].
//!
//! | chapter | question |
//! |---|---|
//! | [First durable job](first_job) | What does it look like, and what if I kill it? |
//! | [Where a job runs](running) | When does it run here, and when through the queue? And after a crash, or without the database? |
//! | [Workers](workers) | In this process or in another? How do I deploy a new version? |
//! | [Pushing](pushing) | How do I store a job from a command, in my own transaction, or in another language? |
//! | [Keys, delays, priorities](keys) | Which job runs next, and which does not run? |
//! | [Operating](operating) | What waits, what failed, and how do I run it again? What is in the tables? |
//! | [Recipes](recipes) | How do I do this common task? |
//!
//! # Not guaranteed
//!
//! - **Exactly once.** A job whose process died may have done its work. Use `cx.id()` as an idempotency key: it is the same in
//!   every run.
//! - **Order through the queue.** Jobs in the queue run when a worker has room. Use a serial key if order matters.
//! - **Your row and a deferred job in one commit.** Only [`push_in`](pushing#in-your-own-transaction) guarantees that. If the
//!   process dies between your commit and the handler's answer, a deferred job is not stored.
//! - **The children of a deferred job after a crash.** They are stored with their parent's end, or with its next run.
//! - **Durability beyond your server's settings.** Commits wait for the disk whatever the role's `synchronous_commit` is, but a
//!   Postgres server with `fsync = off` can lose the last ones.
//! - **The same policy everywhere.** The process that runs a job decides its attempts and timeouts.
//!
//! [guide of `defer-axum`]: https://docs.rs/defer-axum/latest/defer_axum/guide/

pub mod first_job;
pub mod keys;
pub mod operating;
pub mod pushing;
pub mod recipes;
pub mod running;
pub mod workers;
