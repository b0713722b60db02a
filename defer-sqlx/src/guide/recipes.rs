//! Recipes: whole programs for common tasks. Paste one into `src/main.rs` and run it. The [recipes of `defer-axum`] need no
//! database.
//!
//! | task | recipe |
//! |---|---|
//! | make one report a night, however many processes run | [A nightly report for the whole fleet](#a-nightly-report-for-the-whole-fleet) |
//! | store a job from a command line or a script | [Jobs from a command](#jobs-from-a-command) |
//! | run a job at eight tomorrow | [At a wall-clock time](#at-a-wall-clock-time) |
//! | split work up, and run a job when all parts are done | [Fan-out with a last job](#fan-out-with-a-last-job) |
//! | store a job in a transaction of SeaORM or another client | [In another client's transaction](#in-another-clients-transaction) |
//! | keep secrets out of the database | [Encrypted fields](#encrypted-fields) |
//!
//! All programs need:
//!
//! ```sh
//! cargo add defer-axum defer-sqlx tracing-subscriber
//! cargo add tokio --features full
//! ```
//!
//! # A nightly report for the whole fleet
//!
//! Every process of the fleet requests the report at two in the morning, and exactly one request must win. The day is the primary
//! key of a table, and the job is stored in the transaction that inserts it. A unique key of the queue would not do: it is released
//! when the job starts, and a process that is late would run the report again.
//!
//! ```sh
//! cargo add jiff
//! ```
//!
#![cfg_attr(feature = "sqlite", doc = "```no_run")]
#![cfg_attr(not(feature = "sqlite"), doc = "```text")]
//! use std::time::Duration;
//!
//! use defer_axum::{BoxError, JobResult, Runner, job};
//! use defer_sqlx::{
//!     SqlxQueue,
//!     sqlx::{self, SqlitePool, sqlite::SqliteConnectOptions},
//! };
//! use jiff::{ZonedDateTime, civil::time};
//!
//! #[job(queue, tries = 5)]
//! async fn send_report(day: String) -> JobResult {
//!     println!("the report of {day}");
//!     Ok(())
//! }
//!
//! /// Stores the job, unless another process has stored the one of this day.
//! async fn request_report(pool: &SqlitePool, queue: &SqlxQueue, day: String) -> Result<(), BoxError> {
//!     let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
//!     let insert = sqlx::query("INSERT INTO reports (day) VALUES (?1) ON CONFLICT DO NOTHING");
//!     if insert.bind(&day).execute(&mut *tx).await?.rows_affected() == 1 {
//!         queue.push_in(&mut tx, send_report { day }).await?;
//!     }
//!     tx.commit().await?;
//!     Ok(())
//! }
//!
//! /// Requests the latest report that is due. Returns how long it is until the next one.
//! async fn request_latest(pool: &SqlitePool, queue: &SqlxQueue) -> Result<Duration, BoxError> {
//!     let now = ZonedDateTime::now().in_tz("Europe/Berlin")?;
//!     let tonight = now.with().time(time(2, 0, 0, 0)).build()?;
//!     let due = if tonight > now { tonight.yesterday()? } else { tonight };
//!     request_report(pool, queue, due.date().to_string()).await?;
//!     Ok(now.duration_until(&due.tomorrow()?).try_into()?)
//! }
//!
//! /// Every process runs this.
//! async fn every_night(pool: SqlitePool, queue: SqlxQueue) {
//!     loop {
//!         let pause = request_latest(&pool, &queue).await.unwrap_or_else(|error| {
//!             eprintln!("no report: {error}");
//!             Duration::from_secs(60) // then tries again
//!         });
//!         tokio::time::sleep(pause).await;
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), BoxError> {
//!     tracing_subscriber::fmt().init();
//!     let file = SqliteConnectOptions::new().filename("app.db").create_if_missing(true);
//!     let pool = SqlitePool::connect_with(file).await?;
//!     sqlx::query("CREATE TABLE IF NOT EXISTS reports (day TEXT PRIMARY KEY)").execute(&pool).await?;
//!     let queue = SqlxQueue::sqlite(&pool).await?;
//!
//!     for _process in 0..3 {
//!         tokio::spawn(every_night(pool.clone(), queue.clone()));
//!     }
//!     let runner = Runner::builder().queue(queue.clone()).build();
//!     let worker = queue.worker(runner).job::<send_report>();
//!     worker.run_until(async { drop(tokio::signal::ctrl_c().await) }).await?;
//!     Ok(())
//! }
//! ```
//!
//! Three tasks stand in for three processes. The program prints yesterday's or today's report once, and nothing when you start it
//! again:
//!
//! ```text
//! the report of 2026-11-28
//! ```
//!
//! Each process requests the latest report that is due, so a fleet that was down at two catches up. On Postgres, use
//! `SqlxQueue::postgres(&pool)`, `pool.begin()` and `$1`.
//!
//! # Jobs from a command
//!
//! The same program is a worker without arguments, and with an argument a command that stores a job:
//!
//! ```no_run
//! use defer_axum::{BoxError, JobResult, Runner, job};
//! use defer_sqlx::SqlxQueue;
//!
//! #[job(queue, tries = 3)]
//! async fn send_welcome(to: String) -> JobResult {
//!     println!("welcome, {to}");
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), BoxError> {
//!     tracing_subscriber::fmt().init();
//!     let queue = SqlxQueue::connect("sqlite:jobs.db").await?;
//!     if let Some(to) = std::env::args().nth(1) {
//!         let id = queue.push(send_welcome { to }).await?;
//!         println!("stored {id}");
//!         return Ok(());
//!     }
//!
//!     // In your service, give the worker to `serve(..).with_worker(worker)`.
//!     let runner = Runner::builder().queue(queue.clone()).build();
//!     let worker = queue.worker(runner).job::<send_welcome>();
//!     worker.run_until(async { drop(tokio::signal::ctrl_c().await) }).await?;
//!     Ok(())
//! }
//! ```
//!
//! ```sh
//! cargo run &
//! cargo run -- ada@example.com
//! ```
//!
//! ```text
//! stored 01M8J8GNSD7PK31NFA00000001
//! welcome, ada@example.com
//! ```
//!
//! A script that stores jobs and should wait for them calls [`run_until_empty`](crate::Worker::run_until_empty) instead of
//! `run_until`.
//!
//! # At a wall-clock time
//!
//! A delay is a duration, so subtract the current time. `jiff` knows time zones and daylight saving time.
//!
//! ```sh
//! cargo add jiff
//! ```
//!
#![cfg_attr(feature = "sqlite", doc = "```")]
#![cfg_attr(not(feature = "sqlite"), doc = "```text")]
//! use std::time::Duration;
//!
//! use defer_axum::{BoxError, JobResult, Runner, job};
//! use defer_sqlx::SqlxQueue;
//! use jiff::{ToSpan, ZonedDateTime};
//!
//! #[job(queue, tries = 3)]
//! async fn remind(of: String) -> JobResult {
//!     println!("{of}: now");
//!     Ok(())
//! }
//!
//! /// Returns how long it is until then, or zero if it has passed.
//! fn until(time: &ZonedDateTime) -> Duration {
//!     ZonedDateTime::now().duration_until(time).try_into().unwrap_or_default()
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), BoxError> {
//!     tracing_subscriber::fmt().init();
//!     let queue = SqlxQueue::connect("sqlite::memory:").await?;
//!     let runner = Runner::builder().queue(queue.clone()).build();
//!
//!     let now = ZonedDateTime::now().in_tz("Europe/Berlin")?;
//!     let morning = now.tomorrow()?.with().hour(8).minute(0).second(0).subsec_nanosecond(0).build()?;
//!     println!("tomorrow at eight is in {:?}", until(&morning));
//!
//!     let soon = now.checked_add(2.seconds())?;
//!     queue.push(remind { of: "tea".to_owned() }).delay(until(&soon)).await?;
//!     queue.worker(runner).job::<remind>().run_until_empty().await?;
//!     assert!(ZonedDateTime::now() >= soon);
//!     Ok(())
//! }
//! ```
//!
//! In a handler, it is `remind::defer("tea").delay(until(&time))`. The delay is fixed when the job is stored: it does not follow
//! later changes of the clock. If the job must never run early, let it compare the times and return
//! [`JobError::snooze`](defer_core::JobError::snooze). The demo keeps its queue in memory; use a file or Postgres to survive a
//! restart.
//!
//! # Fan-out with a last job
//!
//! An album is published when all its photos are resized. A table lists the open photos. Each job removes its photo, and the one
//! that removes the last photo stores the last job, in the same transaction. Workers of all processes share the photos.
//!
//! ```sh
//! cargo add serde --features derive
//! ```
//!
#![cfg_attr(feature = "sqlite", doc = "```no_run")]
#![cfg_attr(not(feature = "sqlite"), doc = "```text")]
//! use defer_axum::{BoxError, Deferrable, Job, JobContext, JobError, JobResult, Runner, job};
//! use defer_sqlx::{
//!     SqlxQueue,
//!     sqlx::{self, SqlitePool, sqlite::SqliteConnectOptions},
//! };
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deferrable, Serialize, Deserialize)]
//! #[defer(queue, tries = 3)]
//! struct ResizePhoto {
//!     album: i64,
//!     photo: i64,
//! }
//!
//! impl Job for ResizePhoto {
//!     async fn run(&self, cx: &JobContext) -> JobResult {
//!         println!("resized photo {}", self.photo);
//!         self.finish(cx).await
//!     }
//!
//!     /// Called if the job fails permanently. A failed photo must not hold up the album.
//!     async fn failed(&self, cx: &JobContext, error: &JobError) {
//!         println!("photo {} failed: {error}", self.photo);
//!         if let Err(error) = self.finish(cx).await {
//!             println!("the album waits for photo {}: {error}", self.photo);
//!         }
//!     }
//! }
//!
//! impl ResizePhoto {
//!     /// Removes the photo from those that are open. The last one stores the last job, in the same transaction.
//!     async fn finish(&self, cx: &JobContext) -> JobResult {
//!         let (pool, queue) = (cx.state::<SqlitePool>()?, cx.state::<SqlxQueue>()?);
//!         let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
//!         let delete = sqlx::query("DELETE FROM open_photos WHERE album = ?1 AND photo = ?2");
//!         let deleted = delete.bind(self.album).bind(self.photo).execute(&mut *tx).await?;
//!         let count = sqlx::query_scalar("SELECT count(*) FROM open_photos WHERE album = ?1");
//!         let open: i64 = count.bind(self.album).fetch_one(&mut *tx).await?;
//!         if deleted.rows_affected() == 1 && open == 0 {
//!             queue.push_in(&mut tx, publish_album { album: self.album }).await?;
//!         }
//!         tx.commit().await?;
//!         Ok(())
//!     }
//! }
//!
//! #[job(queue, tries = 3)]
//! async fn publish_album(album: i64) -> JobResult {
//!     println!("published album {album}");
//!     Ok(())
//! }
//!
//! /// Stores the photos and their jobs together.
//! async fn upload(pool: &SqlitePool, queue: &SqlxQueue, album: i64, photos: i64) -> Result<(), BoxError> {
//!     let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
//!     for photo in 1..=photos {
//!         let insert = sqlx::query("INSERT INTO open_photos (album, photo) VALUES (?1, ?2)");
//!         insert.bind(album).bind(photo).execute(&mut *tx).await?;
//!         queue.push_in(&mut tx, ResizePhoto { album, photo }).await?;
//!     }
//!     tx.commit().await?;
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), BoxError> {
//!     tracing_subscriber::fmt().init();
//!     let file = SqliteConnectOptions::new().filename("app.db").create_if_missing(true);
//!     let pool = SqlitePool::connect_with(file).await?;
//!     let table = "CREATE TABLE IF NOT EXISTS open_photos (album INTEGER, photo INTEGER, PRIMARY KEY (album, photo))";
//!     sqlx::query(table).execute(&pool).await?;
//!     let queue = SqlxQueue::sqlite(&pool).await?;
//!     let runner = Runner::builder().state(pool.clone()).state(queue.clone()).queue(queue.clone()).build();
//!
//!     upload(&pool, &queue, 1, 3).await?;
//!     queue.worker(runner).job::<ResizePhoto>().job::<publish_album>().run_until_empty().await?;
//!     Ok(())
//! }
//! ```
//!
//! ```text
//! resized photo 1
//! resized photo 2
//! resized photo 3
//! published album 1
//! ```
//!
//! A photo that is resized twice, after a crash, deletes no row the second time, so the album is published once. SQLite has one
//! writer at a time, so no two transactions can both miss the last photo. On Postgres, lock the album's row first, with `SELECT ..
//! FOR UPDATE`.
//!
//! # In another client's transaction
//!
//! `push_in` accepts transactions of [several clients](super::pushing#in-your-own-transaction). This is SeaORM 2:
//!
//! ```sh
//! cargo add defer-sqlx --features sea-orm-2
//! cargo add sea-orm@2 --no-default-features --features runtime-tokio,sqlx-sqlite
//! ```
//!
#![cfg_attr(feature = "sea-orm", doc = "```no_run")]
#![cfg_attr(not(feature = "sea-orm"), doc = "```text")]
//! use defer_axum::{BoxError, JobResult, Runner, job};
//! use defer_sqlx::SqlxQueue;
//! use sea_orm::{ConnectionTrait, Database, TransactionTrait};
//! use tracing_subscriber::filter::LevelFilter;
//!
//! #[job(queue, tries = 3)]
//! async fn send_welcome(to: String) -> JobResult {
//!     println!("welcome, {to}");
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), BoxError> {
//!     tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).init(); // SeaORM logs each query at INFO
//!     let db = Database::connect("sqlite:app.db?mode=rwc").await?;
//!     db.execute_unprepared("CREATE TABLE IF NOT EXISTS users (email TEXT)").await?;
//!     let queue = SqlxQueue::connect("sqlite:app.db").await?; // the same database
//!
//!     for (email, is_valid) in [("ada@example.com", true), ("nobody", false)] {
//!         let mut tx = db.begin().await?;
//!         tx.execute_unprepared(&format!("INSERT INTO users (email) VALUES ('{email}')")).await?;
//!         queue.push_in(&mut tx, send_welcome { to: email.to_owned() }).await?;
//!         if is_valid {
//!             tx.commit().await?;
//!         } else {
//!             tx.rollback().await?; // no user, and no mail
//!         }
//!     }
//!
//!     let runner = Runner::builder().queue(queue.clone()).build();
//!     queue.worker(runner).job::<send_welcome>().run_until_empty().await?;
//!     Ok(())
//! }
//! ```
//!
//! ```text
//! welcome, ada@example.com
//! ```
//!
//! The second user and its mail were rolled back together. With SeaORM 1.1, use the feature `sea-orm` and see [which clients can be
//! combined](crate::QueueTransaction#which-versions-resolve-together). For a client without a feature, execute the statement of
//! [`insert`](crate::SqlxQueue::insert) in your transaction.
//!
//! # Encrypted fields
//!
//! The queue stores jobs as plain JSON. Encrypt secrets in the handler, and decrypt them in the job. The runner's state holds the
//! key.
//!
//! ```sh
//! cargo add chacha20poly1305
//! cargo add serde --features derive
//! ```
//!
#![cfg_attr(feature = "sqlite", doc = "```")]
#![cfg_attr(not(feature = "sqlite"), doc = "```text")]
//! use chacha20poly1305::{
//!     XChaCha20Poly1305, XNonce,
//!     aead::{Aead, Generate, Key, KeyInit},
//! };
//! use defer_axum::{BoxError, JobContext, JobResult, Runner, job};
//! use defer_sqlx::SqlxQueue;
//! use serde::{Deserialize, Serialize};
//!
//! /// An encrypted text.
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Sealed {
//!     nonce: [u8; 24],
//!     bytes: Vec<u8>,
//! }
//!
//! #[derive(Clone)]
//! struct Cipher(XChaCha20Poly1305);
//!
//! impl Cipher {
//!     fn seal(&self, text: &str) -> Result<Sealed, BoxError> {
//!         let nonce = XNonce::generate();
//!         let bytes = self.0.encrypt(&nonce, text.as_bytes())?;
//!         Ok(Sealed { nonce: nonce.into(), bytes })
//!     }
//!
//!     fn open(&self, sealed: &Sealed) -> Result<String, BoxError> {
//!         let bytes = self.0.decrypt(&sealed.nonce.into(), &sealed.bytes[..])?;
//!         Ok(String::from_utf8(bytes)?)
//!     }
//! }
//!
//! #[job(queue, tries = 3)]
//! async fn send_code(to: String, code: Sealed, cx: &JobContext) -> JobResult {
//!     println!("to {to}: your code is {}", cx.state::<Cipher>()?.open(&code)?);
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), BoxError> {
//!     tracing_subscriber::fmt().init();
//!     // In your service the key is a secret, the same in every process.
//!     let cipher = Cipher(XChaCha20Poly1305::new(&Key::<XChaCha20Poly1305>::generate()));
//!     let queue = SqlxQueue::connect("sqlite::memory:").await?;
//!     let runner = Runner::builder().state(cipher.clone()).queue(queue.clone()).build();
//!
//!     let code = cipher.seal("2718")?;
//!     queue.push(send_code { to: "ada@example.com".to_owned(), code }).await?;
//!     queue.worker(runner).job::<send_code>().run_until_empty().await?;
//!     Ok(())
//! }
//! ```
//!
//! ```text
//! to ada@example.com: your code is 2718
//! ```
//!
//! The stored payload contains the nonce and the encrypted bytes, but not the code. The name of the job, its keys and its errors
//! are not encrypted.
//!
//! [recipes of `defer-axum`]: https://docs.rs/defer-axum/latest/defer_axum/guide/recipes/
