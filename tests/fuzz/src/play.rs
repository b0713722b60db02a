//! Plays a case.

use std::{
    collections::BTreeSet,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use defer_axum::Runner;
use defer_tests::{By, Pipe, PipeListener, Server};
use tokio::sync::Notify;

use crate::{
    app,
    case::{Case, Protocol, Step},
    client::Client,
    counts::Counts,
    http2,
    oracle::Oracle,
    world::World,
};

/// Plays a case under `defer_axum::serve`. Checks after each step what jobs were told.
///
/// # Errors
///
/// Returns the broken promise, and the reason.
pub fn play(case: &Case) -> Result<Counts, String> {
    play_by(By::Defer, case)
}

/// Plays a case under this server. Under axum's there are fewer checks, made for [`Breadth::Shared`](crate::Breadth).
///
/// # Errors
///
/// Returns the broken promise, and the reason.
pub fn play_by(by: By, case: &Case) -> Result<Counts, String> {
    let (counts, stuck) = caught(|| {
        at_rest(|rest| async move {
            let mut play = Play::begin(by, case, rest);
            play.settle().await;
            for (at, step) in case.steps.iter().enumerate() {
                play.step(step).await;
                play.settle().await;
                play.check().map_err(|failure| format!("after step {at}: {failure}"))?;
            }
            let unanswered = play.let_through().await;
            play.check().map_err(|failure| format!("at the end: {failure}"))?;
            let stops = play.leave().await;
            let counts = play.end(stops).map_err(|failure| format!("at the end: {failure}"))?;
            Ok((counts, Stuck { unanswered, stops }))
        })
    })?;
    if by == By::Defer && !(stuck.stops && stuck.unanswered.is_empty()) {
        let axum = stuck_under_axum(case)?;
        let held: Vec<_> = stuck.unanswered.difference(&axum.unanswered).collect();
        if !held.is_empty() {
            return Err(format!(
                "at the end: held up: the responses of {held:?}, which axum's server lets through"
            ));
        }
        if axum.stops && !stuck.stops {
            return Err("at the end: the server does not stop, though its client has left".to_owned());
        }
    }
    Ok(counts)
}

/// The parts that are stuck.
struct Stuck {
    /// The requests whose responses should have ended.
    unanswered: BTreeSet<usize>,
    /// The server stops once its client has left.
    stops: bool,
}

/// Returns what gets stuck under axum's server too: hyper 1.12 forgets some requests that follow one with an unread body.
fn stuck_under_axum(case: &Case) -> Result<Stuck, String> {
    caught(|| {
        at_rest(|rest| async move {
            let mut play = Play::begin(By::Axum, case, rest);
            play.settle().await;
            for step in &case.steps {
                play.step(step).await;
                play.settle().await;
            }
            Ok(Stuck { unanswered: play.let_through().await, stops: play.leave().await })
        })
    })
}

fn caught<T>(play: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|_| Err("played: a panic".to_owned()))
}

/// Signals that every task is waiting.
struct Rest(Arc<Notify>);

impl Rest {
    async fn settle(&self) {
        self.0.notified().await;
    }
}

/// Runs a future that can wait until all other tasks are waiting.
fn at_rest<F: Future>(future: impl FnOnce(Rest) -> F) -> F::Output {
    let parks = Arc::new(Notify::new());
    let rest = Rest(parks.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        // This runtime is never idle, so only steps let time pass.
        .start_paused(true)
        .on_thread_park(move || parks.notify_waiters())
        .build()
        .expect("a runtime");
    runtime.block_on(future(rest))
}

/// The default time that a server waits for its connections.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

struct Play<'a> {
    case: &'a Case,
    pipe: Pipe,
    client: Client,
    oracle: Oracle<'a>,
    world: World,
    runner: Runner,
    server: Option<Server<()>>,
    rest: Rest,
    flushes_blocked: bool,
    counts: Counts,
}

impl Drop for Play<'_> {
    fn drop(&mut self) {
        let router = self.world.inner().take();
        drop(router);
    }
}

impl<'a> Play<'a> {
    fn begin(by: By, case: &'a Case, rest: Rest) -> Self {
        let transport = &case.transport;
        let pipe = Pipe::new(transport.per_write, transport.vectored);
        pipe.limit_reads(transport.per_read);
        if transport.stutters {
            pipe.stutter();
        }
        let world = World::new(&pipe, case.exchanges());
        let mut runner = Runner::builder();
        if let Some(jobs) = case.app.max_running {
            runner = runner.max_running(jobs);
        }
        if let Some(jobs) = case.app.max_pending {
            runner = runner.max_pending(jobs);
        }
        let runner = runner.build();
        let app = app::router(&case.app, &world, &runner);
        let (connect, listener) = PipeListener::new();
        connect.send(pipe.clone()).expect("the listener is there");
        let server = by.serve_on(listener, app, &runner);
        Self {
            case,
            client: Client::connect(case, &pipe),
            oracle: Oracle::new(by, case, &world, &pipe),
            pipe,
            world,
            runner,
            server: Some(server),
            rest,
            flushes_blocked: false,
            counts: Counts { cases: 1, ..Counts::default() },
        }
    }

    async fn step(&mut self, step: &Step) {
        let Self { client, pipe, counts, .. } = self;
        counts.steps += 1;
        match step {
            Step::Request(exchange) => counts.requests += u64::from(client.request(exchange)),
            Step::Send(bytes) if !client.over => client.send(*bytes),
            Step::Send(_) => {}
            Step::Allow(bytes) => pipe.allow(*bytes),
            Step::BlockFlushes(block) => {
                pipe.block_flushes(*block);
                counts.blocked_flushes += u64::from(*block);
                self.flushes_blocked = *block;
            }
            Step::Feed(n, times) => self.world.feed(*n, *times),
            Step::Shutdown => {
                counts.shutdowns += 1;
                self.oracle.stops(self.server.take());
            }
            Step::Wait => {
                counts.waits += 1;
                // No longer than jobs have at the end.
                tokio::time::advance(CLOSE_TIMEOUT).await;
                self.oracle.waited.set(true);
                if self.server.is_none() {
                    client.over = true;
                    client.broke = true;
                }
            }
            Step::BreakWrites | Step::BreakReads | Step::Leave | Step::Vanish => {
                counts.breaks += 1;
                if matches!(step, Step::BreakWrites | Step::Vanish) {
                    pipe.break_writes();
                }
                if matches!(step, Step::BreakReads | Step::Vanish) {
                    pipe.break_reads();
                }
                if matches!(step, Step::Leave) {
                    pipe.leave();
                }
                client.over = true;
                client.broke = true;
            }
            step => client.speak(step, counts),
        }
    }

    /// Lets every task run until nothing changes any more. The client reacts to what it has to.
    async fn settle(&mut self) {
        self.rest.settle().await;
        if self.case.protocol == Protocol::Http1 || self.client.over {
            return;
        }
        if let Ok(frames) = self.pipe.with_accepted(http2::frames) {
            self.client.react(&frames);
            self.rest.settle().await;
        }
    }

    fn check(&self) -> Result<(), String> {
        // h2 puts frames of several streams into one buffer, and flushes once all of it is written. While the pipe is full, a
        // release may have to wait for the rest.
        let is_exact = self.case.protocol == Protocol::Http1 || self.pipe.has_room();
        let seen = self.oracle.look()?;
        self.oracle.check_told(&self.client, &seen)?;
        if !self.flushes_blocked && !self.client.over && is_exact {
            self.oracle.check_released(&self.client, &seen)?;
        }
        Ok(())
    }

    /// Lets everything through. Returns the requests whose responses should end and do not.
    async fn let_through(&mut self) -> BTreeSet<usize> {
        self.pipe.block_flushes(false);
        self.flushes_blocked = false;
        self.pipe.allow(usize::MAX);
        self.world.open();
        self.settle().await;
        if !self.client.over {
            // The next check reports bytes that are not a frame.
            let frames = match self.case.protocol {
                Protocol::Http1 => http2::Frames::default(),
                Protocol::Http2 => self.pipe.with_accepted(http2::frames).unwrap_or_default(),
            };
            self.client.open(&frames);
            self.settle().await;
        }
        self.oracle
            .look()
            .map_or_else(|_| BTreeSet::new(), |seen| self.oracle.unanswered(&self.client, &seen))
    }

    /// Leaves, and shuts the server down. Returns whether it stops.
    async fn leave(&mut self) -> bool {
        self.pipe.leave();
        self.settle().await;
        self.oracle.stops(self.server.take());
        self.settle().await;
        (self.client.broke, self.client.over) = (true, true);
        self.oracle.has_stopped()
    }

    /// Checks what is known only once the server has stopped.
    fn end(mut self, stopped: bool) -> Result<Counts, String> {
        let seen = self.oracle.look()?;
        self.oracle.check_told(&self.client, &seen)?;
        if stopped {
            self.oracle.check_ended(&self.runner, &seen, &mut self.counts)?;
        }
        self.counts.bytes += self.pipe.with_accepted(<[u8]>::len) as u64;
        Ok(self.counts)
    }
}
