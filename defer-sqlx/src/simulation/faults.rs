//! Injects faults: in a whole process, and in each of its transactions.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use defer_core::{BoxFuture, JobId};
use tokio::{
    sync::{Notify, oneshot},
    task::AbortHandle,
    time::{Instant, Sleep, sleep, sleep_until},
};

use super::{World, memory::Tables};
use crate::store::{
    Beat, Cancelling, Change, Changed, Holder, HolderId, NewJob, Store, StoreError, Stored, Taken,
};

/// The time limit of a process for a transaction.
const DEADLINE: Duration = Duration::from_secs(5);

/// One process: whether it is alive, and whether it is stalled.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) name: String,
    /// Notified when the process closes its queue.
    pub(super) leaves: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    is_dead: bool,
    has_left: bool,
    /// The holder that the process registered last.
    holder: HolderId,
    /// The process is shutting down normally.
    is_closing: bool,
    stalled_until: Instant,
    cut_off_until: Instant,
    /// The last time at which something kept it from beating, in milliseconds.
    troubled: i64,
    /// The tasks of its jobs and requests, and those of its queue.
    tasks: [Vec<AbortHandle>; 2],
}

impl Gate {
    pub(super) fn new(name: String) -> Arc<Self> {
        let now = Instant::now();
        let state = State {
            is_dead: false,
            has_left: false,
            holder: HolderId::new(),
            is_closing: false,
            stalled_until: now,
            cut_off_until: now,
            troubled: -60_000,
            tasks: Default::default(),
        };
        Arc::new(Self { name, leaves: Notify::new(), state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a task of the process's jobs and requests.
    pub(super) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_in(0, Box::pin(task));
    }

    /// Runs a task of the process's queue.
    pub(super) fn spawn_queue(self: &Arc<Self>, task: BoxFuture<'static, ()>) {
        self.spawn_in(1, task);
    }

    fn spawn_in(self: &Arc<Self>, which: usize, task: BoxFuture<'static, ()>) {
        let mut state = self.lock();
        if state.is_dead || which == 0 && state.is_closing {
            return drop((state, task));
        }
        let task = tokio::spawn(Gated { gate: self.clone(), task, sleep: None });
        let tasks = &mut state.tasks[which];
        if tasks.len() > 64 {
            tasks.retain(|task| !task.is_finished());
        }
        tasks.push(task.abort_handle());
    }

    /// Kills the process, wherever its tasks are waiting.
    pub(super) fn kill(&self) {
        let tasks = {
            let mut state = self.lock();
            state.is_dead = true;
            std::mem::take(&mut state.tasks)
        };
        tasks.iter().flatten().for_each(AbortHandle::abort);
    }

    /// Drops the jobs and requests of the process, and with them its queue.
    pub(super) fn close(&self) {
        let tasks = {
            let mut state = self.lock();
            state.is_closing = true;
            std::mem::take(&mut state.tasks[0])
        };
        tasks.iter().for_each(AbortHandle::abort);
    }

    /// Closes its queue, while its jobs and requests go on.
    pub(super) fn leave(&self) {
        self.lock().has_left = true;
        self.leaves.notify_one();
    }

    /// Returns whether it was killed, is shutting down, or has closed its queue.
    pub(super) fn is_gone(&self) -> bool {
        let state = self.lock();
        state.is_dead || state.is_closing || state.has_left
    }

    pub(super) fn is_now(&self, holder: &str) {
        self.lock().holder = holder.to_owned();
    }

    pub(super) fn is_known_as(&self, holder: &str) -> bool {
        self.lock().holder == holder
    }

    fn is_dead(&self) -> bool {
        self.lock().is_dead
    }

    pub(super) fn stall(&self, now: i64, time: Duration) {
        self.lock().stalled_until = Instant::now() + time;
        self.trouble(now, time);
    }

    pub(super) fn cut_off(&self, now: i64, time: Duration) {
        self.lock().cut_off_until = Instant::now() + time;
        self.trouble(now, time);
    }

    /// Notes trouble that lasts this long, plus some time for transactions in flight.
    fn trouble(&self, now: i64, time: Duration) {
        let until = now + i64::try_from(time.as_millis()).unwrap_or_default() + 5_000;
        let mut state = self.lock();
        state.troubled = state.troubled.max(until);
    }

    fn is_cut_off(&self) -> bool {
        Instant::now() < self.lock().cut_off_until
    }

    fn stalled_until(&self) -> Option<Instant> {
        Some(self.lock().stalled_until).filter(|until| Instant::now() < *until)
    }

    /// Waits until the process runs. Never completes if it is dead.
    async fn moves(&self) {
        while let Some(until) = self.stalled_until() {
            sleep_until(until.min(Instant::now() + Duration::from_millis(500))).await;
        }
        if self.is_dead() {
            std::future::pending().await
        }
    }

    /// Returns the last time at which something kept it from beating.
    pub(super) fn troubled(&self) -> i64 {
        self.lock().troubled
    }
}

/// A task that stalls with its process.
struct Gated {
    gate: Arc<Gate>,
    task: BoxFuture<'static, ()>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Future for Gated {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.gate.is_dead() {
            return Poll::Pending;
        }
        while let Some(until) = self.gate.stalled_until() {
            let until = until.min(Instant::now() + Duration::from_millis(500));
            let mut sleep = Box::pin(sleep_until(until));
            if sleep.as_mut().poll(cx).is_pending() {
                self.sleep = Some(sleep);
                return Poll::Pending;
            }
        }
        self.task.as_mut().poll(cx)
    }
}

/// The fate of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Slow,
    Refused,
    AnswerLost,
    Late,
    Twice,
}

/// The store as seen by one process.
pub(super) struct Link {
    pub(super) gate: Arc<Gate>,
    pub(super) world: Arc<World>,
}

impl Link {
    /// Runs a transaction, in which anything can go wrong.
    async fn run<T: Send + 'static>(
        &self,
        kind: &'static str,
        work: impl Fn(&mut Tables) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (gate, world) = (self.gate.clone(), self.world.clone());
        gate.moves().await;
        let (fault, before, after) = self.fault(kind);
        if fault == Fault::Refused {
            sleep(before).await;
            gate.moves().await;
            return Err(StoreError::Away("refused".to_owned()));
        }
        let (answer, answered) = oneshot::channel();
        let again = world.millis(100..20_000);
        let name = gate.name.clone();
        tokio::spawn(async move {
            sleep(before).await;
            // A transaction that was in flight when the process died has arrived or has not.
            if gate.is_dead() && world.one_in(2) {
                return;
            }
            let done = world.transact(&name, kind, &work);
            // A refused transaction is rolled back, and never arrives later.
            let is_done = done.is_ok();
            let _ = answer.send(done);
            if fault == Fault::Twice && is_done {
                sleep(again).await;
                let _ = world.transact(&name, kind, &work);
            }
        });
        let answer = async {
            let answer = answered.await;
            sleep(after).await;
            match answer {
                Ok(answer) if fault != Fault::AnswerLost => answer,
                _ => Err(StoreError::InDoubt("the answer is lost".to_owned())),
            }
        };
        let answer = tokio::time::timeout(DEADLINE, answer).await;
        self.gate.moves().await;
        answer.unwrap_or_else(|_| Err(StoreError::InDoubt("no answer".to_owned())))
    }

    /// Returns the fault, and the delays of the request and of the answer.
    fn fault(&self, kind: &'static str) -> (Fault, Duration, Duration) {
        let world = &self.world;
        let quick = || world.millis(1..20);
        if self.gate.is_cut_off() {
            let fault = [Fault::Refused, Fault::AnswerLost, Fault::Late][world.below(3)];
            world.count(kind, "cut off");
            return match fault {
                Fault::Late => (Fault::Late, world.millis(5_000..20_000), quick()),
                fault => (fault, quick(), world.millis(1..5_000)),
            };
        }
        let fault = if world.goes_wrong() {
            [Fault::Slow, Fault::Refused, Fault::AnswerLost, Fault::Late, Fault::Twice][world.below(5)]
        } else {
            Fault::None
        };
        if fault != Fault::None {
            world.count(
                kind,
                match fault {
                    Fault::Slow => "slow",
                    Fault::Refused => "refused",
                    Fault::AnswerLost => "answer lost",
                    Fault::Late => "late",
                    Fault::Twice | Fault::None => "twice",
                },
            );
            if kind == "beat" && fault != Fault::Twice {
                self.gate.trouble(world.now(), Duration::ZERO);
            }
        }
        match fault {
            Fault::Slow => (fault, world.millis(1..4_900), world.millis(1..4_900)),
            Fault::Late => (fault, world.millis(5_000..20_000), quick()),
            Fault::AnswerLost => (fault, quick(), world.millis(1..5_000)),
            _ => (fault, quick(), quick()),
        }
    }
}

macro_rules! run {
    ($self:ident, $kind:literal, |$tables:ident| $work:expr) => {
        Box::pin($self.run($kind, move |$tables| $work))
    };
}

impl Store for Link {
    fn register(&self, holder: Holder) -> Stored<'_, ()> {
        self.world.note_holder(&holder.id, &self.gate);
        run!(self, "register", |tables| Ok(tables.register(&holder)))
    }

    fn rename(&self, _holder: Holder) -> Stored<'_, ()> {
        run!(self, "rename", |_tables| Ok(()))
    }

    fn beat(&self, holder: HolderId) -> Stored<'_, Beat> {
        run!(self, "beat", |tables| Ok(tables.beat(&holder)))
    }

    fn bury(&self, holder: HolderId, count: i64) -> Stored<'_, bool> {
        let world = self.world.clone();
        run!(self, "bury", |tables| Ok(world.bury(tables, &holder, count)))
    }

    fn recover(&self) -> Stored<'_, bool> {
        run!(self, "recover", |tables| Ok(tables.recover()))
    }

    fn unregister(&self, holder: HolderId) -> Stored<'_, ()> {
        Box::pin(async move {
            loop {
                let holder = holder.clone();
                if !self.run("unregister", move |tables| Ok(tables.unregister(&holder))).await? {
                    return Ok(());
                }
            }
        })
    }

    fn write<'a>(
        &'a self,
        holder: &'a str,
        held: &'a [NewJob],
        changes: &'a [Change],
    ) -> Stored<'a, Vec<Changed>> {
        let (holder, held, changes) = (holder.to_owned(), held.to_owned(), changes.to_owned());
        run!(self, "write", |tables| tables.write(&holder, &held, &changes))
    }

    fn push<'a>(&'a self, jobs: &'a [NewJob]) -> Stored<'a, Vec<Option<JobId>>> {
        let jobs = jobs.to_owned();
        run!(self, "push", |tables| tables.push(&jobs))
    }

    fn take(&self, holder: HolderId, names: Vec<String>, limit: usize) -> Stored<'_, Vec<Taken>> {
        run!(self, "take", |tables| Ok(tables.take(&holder, &names, limit)))
    }

    fn next_due(&self, names: Vec<String>) -> Stored<'_, Option<i64>> {
        run!(self, "next_due", |tables| Ok(tables.next_due(&names)))
    }

    fn notified(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// Prunes nothing, because the oracle needs all rows.
    fn prune(&self, _done: i64, _failed: i64) -> Stored<'_, bool> {
        Box::pin(async { Ok(false) })
    }

    fn unclaimed(&self, _due: i64) -> Stored<'_, Vec<String>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn cancel<'a>(&'a self, id: JobId, holder: &'a str, started: bool) -> Stored<'a, Cancelling> {
        let holder = holder.to_owned();
        run!(self, "cancel", |tables| Ok(tables.cancel(id, &holder, started)))
    }

    not_simulated!();
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("gate", &self.gate.name).finish_non_exhaustive()
    }
}
