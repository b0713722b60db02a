//! What a worker may take, and how it gets rid of what it has before it stops.
//!
//! An apalis worker that was told to stop takes no more acknowledgements until all its tasks have ended. Those that have ended wait
//! until their acknowledgement is taken, if more than four times the storage's batch size have: then the worker never ends
//! (apalis-core 1.0.0, seen on Redis). So its tasks have to end, and be acknowledged, before it is told.
//!
//! It also drops a fetch that it waits for, whose tasks are then nobody's until their worker counts as dead. So the last fetch has
//! to be answered before.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::select;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Sleep, sleep},
};

/// How many jobs a worker may have, running or waiting in its runner. apalis-redis moves all tasks of a dead worker in one call,
/// which Redis refuses above about 8,000 (apalis-redis 1.0.0), and those of a stopping one become due together.
pub(crate) const MAX_JOBS: usize = 1000;
/// How long a worker with so many pauses between two fetches, and one that is closing. What it fetches, it only hands back. But it
/// has to fetch: while it waits for one, apalis takes no acknowledgements and sends no heartbeat.
const FULL_PAUSE: Duration = Duration::from_secs(10);
const CLOSING_PAUSE: Duration = Duration::from_millis(200);
/// How long acknowledgements may take. Nothing tells when apalis has taken them.
const SETTLE: Duration = Duration::from_secs(1);
/// How long the last fetch may take.
const SEAL_WITHIN: Duration = Duration::from_millis(500);
/// Each tick polls the worker, which waits in the same task, so that it takes acknowledgements.
const TICK: Duration = Duration::from_millis(50);
/// How often a worker looks for tasks and heartbeats that are due, at least. apalis forgets to, if both its timers fire during a fetch
/// that then finds nothing (apalis-core 1.0.0): nothing would wake an idle worker any more.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Open,
    /// Begins no job, and hands back what it fetches.
    Closing,
    /// Also fetches nothing, once it knows that no fetch is under way.
    Sealed,
    NothingUnderWay,
}

/// The tasks of a handler.
#[derive(Debug)]
pub(crate) struct Drain {
    phase: watch::Sender<Phase>,
    jobs: Arc<Count>,
    hand_backs: Arc<Count>,
    rooms: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Count(watch::Sender<usize>);

/// Counts a task until it is dropped.
pub(crate) struct Counted(Arc<Count>);

impl Default for Drain {
    fn default() -> Self {
        let rooms = Arc::new(Semaphore::new(MAX_JOBS));
        Self { phase: watch::Sender::default(), jobs: Arc::default(), hand_backs: Arc::default(), rooms }
    }
}

impl Drain {
    /// Counts a task that may begin. `None` if the worker is about to stop.
    pub(crate) fn begin(&self) -> Option<Counted> {
        // Counted before the look, as `drained` closes before it counts: one of them sees the other.
        let job = Count::one(&self.jobs);
        (!self.is_closing()).then_some(job)
    }

    /// Counts a task that a closing worker hands back.
    pub(crate) fn hand_back(&self) -> Counted {
        Count::one(&self.hand_backs)
    }

    /// Returns room for one more job, if there is any.
    pub(crate) fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.rooms).try_acquire_owned().ok()
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.phase.borrow() >= Phase::Closing
    }

    pub(crate) async fn closing(&self) {
        self.reached(Phase::Closing).await;
    }

    pub(crate) async fn sealed(&self) {
        self.reached(Phase::Sealed).await;
    }

    /// Lets no more tasks begin, and waits until those that run have ended and are acknowledged, and no fetch is under way.
    pub(crate) async fn drained(&self) {
        self.enter(Phase::Closing);
        self.jobs.zero().await;
        ticks(SETTLE).await;
        self.enter(Phase::Sealed);
        // Late, the worker stops nevertheless. Most often nothing is due, and the fetch under way finds nothing.
        select(pin!(self.reached(Phase::NothingUnderWay)), pin!(ticks(SEAL_WITHIN))).await;
        self.hand_backs.zero().await;
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let enters = *now < phase;
            *now = phase.max(*now);
            enters
        });
    }

    async fn reached(&self, phase: Phase) {
        // The sender is its own.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    /// Returns how long to pause between two fetches.
    fn pause(&self) -> Option<Duration> {
        if self.is_closing() {
            return Some(CLOSING_PAUSE);
        }
        (self.rooms.available_permits() == 0).then_some(FULL_PAUSE)
    }
}

impl Count {
    fn one(count: &Arc<Self>) -> Counted {
        count.0.send_modify(|tasks| *tasks += 1);
        Counted(Arc::clone(count))
    }

    async fn zero(&self) {
        // The sender is its own.
        let _ = self.0.subscribe().wait_for(|tasks| *tasks == 0).await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.send_modify(|tasks| *tasks -= 1);
    }
}

/// Waits so long, and wakes the task meanwhile: it runs the worker too, which takes acknowledgements only when it is polled.
async fn ticks(time: Duration) {
    for _ in 0..time.as_millis() / TICK.as_millis() {
        sleep(TICK).await;
    }
}

/// When one worker may ask its storage for a task.
///
/// When it may, apalis polls the fetch that is under way, takes a task of the last one, or begins the next: which of these, nothing
/// tells. But after a task was taken, no fetch is under way.
#[derive(Default)]
pub(crate) struct Intake {
    next_look: Option<Pin<Box<Sleep>>>,
    has_taken: bool,
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl Intake {
    pub(crate) fn taken(&mut self) {
        self.has_taken = true;
    }

    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>, drain: &Drain) -> Poll<()> {
        self.look_again(cx);
        let is_sealed = *drain.phase.borrow() >= Phase::Sealed;
        if is_sealed && self.has_taken {
            drain.enter(Phase::NothingUnderWay);
            return Poll::Pending;
        }
        // Those of one fetch are taken together.
        let pause = drain.pause().filter(|_| !is_sealed && !self.has_taken);
        if let Some(pause) = pause {
            ready!(self.poll_pause(cx, pause));
        }
        self.pause = None;
        self.has_taken = false;
        Poll::Ready(())
    }

    /// Has the worker polled again soon.
    fn look_again(&mut self, cx: &mut Context<'_>) {
        // A timer that has fired wakes nobody again, so the next one is polled at once.
        while self.next_look.get_or_insert_with(|| Box::pin(sleep(LOOK_EVERY))).as_mut().poll(cx).is_ready() {
            self.next_look = None;
        }
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>, pause: Duration) -> Poll<()> {
        let (_, sleeping) = match self.pause.take() {
            Some(same) if same.0 == pause => self.pause.insert(same),
            // Asked for by the storage's load, so nothing but time ends it.
            _ => self.pause.insert((pause, Box::pin(sleep(pause)))),
        };
        sleeping.as_mut().poll(cx)
    }
}

impl Clone for Intake {
    /// Returns that of another worker.
    fn clone(&self) -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::poll;
    use tokio::time::{Instant, timeout};

    use super::*;

    /// Asks as a worker does that gets no task.
    async fn ask(intake: &mut Intake, drain: &Drain) {
        poll_fn(|cx| intake.poll_ready(cx, drain)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_closing_worker_fetches_at_intervals_and_takes_each_fetch_whole() {
        let (drain, mut intake) = (Drain::default(), Intake::default());
        let start = Instant::now();
        for _ in 0..100 {
            ask(&mut intake, &drain).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO, "an open one is not limited");
        drain.enter(Phase::Closing);
        for _ in 0..10 {
            ask(&mut intake, &drain).await;
            for _ in 0..10 {
                intake.taken();
                ask(&mut intake, &drain).await;
            }
        }
        assert!(start.elapsed() >= CLOSING_PAUSE * 10, "{:?}", start.elapsed());
        assert!(start.elapsed() < CLOSING_PAUSE * 11, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_worker_fetches_rarely_until_a_job_ends() {
        let (drain, mut intake) = (Drain::default(), Intake::default());
        let mut rooms: Vec<_> = (0..MAX_JOBS).map(|_| drain.room().expect("there is room")).collect();
        assert!(drain.room().is_none());
        let start = Instant::now();
        ask(&mut intake, &drain).await;
        assert!(start.elapsed() >= FULL_PAUSE);
        let mut asks = pin!(ask(&mut intake, &drain));
        assert!(poll!(&mut asks).is_pending());
        rooms.pop();
        assert!(poll!(&mut asks).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_sealed_worker_takes_one_task_and_then_stops_at_once() {
        let (drain, mut intake) = (Drain::default(), Intake::default());
        let mut drained = pin!(drain.drained());
        assert!(poll!(&mut drained).is_pending());
        tokio::select! {
            () = &mut drained => panic!("it has not settled"),
            () = drain.sealed() => {}
        }
        // The fetch under way brings a task.
        ask(&mut intake, &drain).await;
        let hand_back = drain.hand_back();
        intake.taken();
        let asks = poll_fn(|cx| Poll::Ready(intake.poll_ready(cx, &drain))).await;
        assert!(asks.is_pending(), "it begins no other fetch");
        assert!(
            timeout(Duration::from_secs(60), &mut drained).await.is_err(),
            "the task is handed back first"
        );
        drop(hand_back);
        drained.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_closing_worker_waits_for_its_jobs_and_settles_after_the_last() {
        let drain = Drain::default();
        let job = drain.begin().expect("it is open");
        let mut drained = pin!(drain.drained());
        assert!(timeout(Duration::from_secs(60), &mut drained).await.is_err());
        assert!(drain.begin().is_none());
        drop(job);
        let start = Instant::now();
        drained.await;
        assert!(start.elapsed() >= SETTLE);
    }
}
