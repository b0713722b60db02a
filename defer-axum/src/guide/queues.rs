//! Where jobs wait: in memory, or in a queue. Which queue to take, and how to change it later.
//!
//! A job's type says whether it is durable, with `#[defer(queue)]`. The runner says where durable jobs are kept. The handler says
//! neither, so you can change your mind without changing it.
//!
//! # Which to take
//!
//! 1. **None**, for work that may be lost with its process: analytics, cache updates, most mails. Nothing to set up.
//! 2. **[`defer-sqlx`](https://docs.rs/defer-sqlx)**, for work that must survive a crash. It needs no service besides the SQLite
//!    file or the Postgres that you have.
//! 3. **[`defer-river`](https://docs.rs/defer-river)**, if you run [River](https://riverqueue.com), or want its periodic jobs,
//!    workers in other languages, or its UI. Jobs still start after their response.
//! 4. **[`defer-apalis`](https://docs.rs/defer-apalis)**, if you run apalis, or have Redis and no SQL database. Jobs may start before
//!    their response has been sent.
//! 5. **[Your own](crate::queue::Queue)**, for anything else: one method is enough, and
//!    [`check_queue`](https://docs.rs/defer-core/latest/defer_core/testing/fn.check_queue.html) tests it.
//!
//! # Side by side
//!
//! | | in memory | `defer-sqlx` | `defer-river` | `defer-apalis` |
//! |---|---|---|---|---|
//! | starts after its response | yes | yes | yes | as soon as a worker takes it |
//! | order of a request's jobs | one after another | one after another, in the process that deferred them | start in order | none |
//! | knows how the response ended | yes | yes | yes | its status |
//! | its process is killed while the response is open | lost | runs within 15 s | runs within 15 s | the engine's: it is in the storage |
//! | its process is killed while it runs | lost | runs within 15 s | the engine's: after its timeout and a minute | the engine's: on Redis after five minutes |
//! | several machines | no | on Postgres | on Postgres | the engine's: on Redis |
//! | `unique` in all processes | no | yes | yes, until it has ended | no |
//! | `serial`, `replace`, `at_most_every` in all processes | no | yes | no | no |
//! | stored in your own transaction | no | `push_in` | `push_in` | no |
//! | workers in other languages | no | no; any client can store jobs | the engine's | the engine's |
//! | periodic jobs, workflows | no | [one schedule for the fleet](super::recipes) | the engine's | the engine's |
//! | UI | [the dashboard](super::seeing) | the dashboard | the engine's; the dashboard in part | the engine's; the dashboard shows what runs |
//! | Rust | 1.85 | 1.94 | 1.95 | 1.85 |
//!
//! Each cell [is a test](https://github.com/defer-axum/defer-axum/blob/main/docs/promises.md#four-ways-side-by-side), unless it says
//! "no", "lost" or "the engine's", which is what the engine promises. The
//! [rates](https://github.com/defer-axum/defer-axum/blob/main/benches/queue/RESULTS.md) of `defer-sqlx` and `defer-river` are measured.
//!
//! # Changing later
//!
//! Change the line that creates the queue:
//!
//! ```diff
//! -let queue = SqlxQueue::connect(url).await?;
//! +let queue = RiverQueue::connect(url).await?;
//!  let runner = Runner::builder().queue(queue.clone()).build();
//!  let worker = queue.worker(runner.clone()).job::<SendWelcome>();
//! ```
//!
//! Jobs that the old queue has stored stay there. Keep the old version's program as a command that runs the old queue's worker with
//! `run_until_empty()`, and call it once all processes of the old version are gone.
