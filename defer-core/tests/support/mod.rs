//! Shared by the tests of the runner.
#![allow(dead_code, reason = "no test file uses all of it")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    marker::PhantomData,
    sync::{
        Arc, Mutex, Once, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use defer_core::{
    BoxError, BoxFuture, Deferrable, Job, JobContext, JobId, JobResult, JobStatus, Policy, Runner,
    RunnerBuilder, Scope, defer_fn,
    event::{JobEvent, JobEventKind},
    queue::{Cancel, Envelope, FailedJob, Holder, InspectQueue, NameCounts, Queue, QueueCounts},
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A job that does what its closure says, under the name and the policy of `K`.
pub(crate) struct Does<K> {
    work: Box<dyn Fn(JobContext) -> BoxFuture<'static, JobResult> + Send + Sync>,
    kind: PhantomData<fn() -> K>,
}

/// A job type.
pub(crate) trait Kind: Sized + 'static {
    const NAME: &'static str;
    const POLICY: Policy;
    const QUEUED: bool = Self::POLICY.is_queued();

    /// A job of this type.
    fn job<Fut>(work: impl Fn(JobContext) -> Fut + Send + Sync + 'static) -> Does<Self>
    where
        Fut: Future<Output = JobResult> + Send + 'static,
    {
        Does { work: Box::new(move |cx| Box::pin(work(cx))), kind: PhantomData }
    }
}

impl<K: Kind> Job for Does<K> {
    async fn run(&self, cx: &JobContext) -> JobResult {
        (self.work)(cx.clone()).await
    }
}

impl<K: Kind> Deferrable for Does<K> {
    const NAME: &'static str = K::NAME;
    const POLICY: Policy = K::POLICY;
    const ENCODE: Option<fn(&Self) -> Result<Vec<u8>, BoxError>> =
        if K::QUEUED { Some(|_| Ok(K::NAME.as_bytes().to_vec())) } else { None };
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $policy:expr;)*) => {$(
        $(#[$doc])*
        pub(crate) enum $name {}
        impl Kind for $name {
            const NAME: &'static str = stringify!($name);
            const POLICY: Policy = $policy;
        }
    )*};
}

kinds! {
    Plain = Policy::new();
    Other = Policy::new();
    /// Waits exactly a second between tries.
    Thrice = Policy::new().with_tries(3).with_backoff(SECOND, SECOND);
    Twice = Policy::new().with_tries(2).with_backoff(SECOND, SECOND);
    /// Waits for an hour between tries.
    Patient = Policy::new().with_tries(2).with_backoff(Duration::from_secs(3600), Duration::from_secs(3600));
    Limited = Policy::new().with_timeout(SECOND);
    LimitedThrice = Policy::new().with_tries(3).with_backoff(SECOND, SECOND).with_timeout(SECOND);
    OnSuccess = Policy::new().with_on_success();
    Blocking = Policy::new().with_blocking();
    BlockingTwice = Policy::new().with_blocking().with_tries(2).with_backoff(SECOND, SECOND);
    BlockingLimited = Policy::new().with_blocking().with_timeout(Duration::from_millis(20));
    BlockingAlone = Policy::new().with_blocking().with_timeout(Duration::from_millis(20)).with_max_running(1);
    /// No more than two of them run at once.
    Narrow = Policy::new().with_max_running(2).with_tries(2).with_backoff(SECOND, SECOND);
    Beside = Policy::new().with_concurrent();
    BesideAlone = Policy::new().with_concurrent().with_max_running(1);
    BesideQueued = Policy::new().with_concurrent().with_queue();
    Alone = Policy::new().with_max_running(1);
    BesideThrice = Policy::new().with_concurrent().with_tries(3).with_backoff(SECOND, SECOND);
    BesideOnSuccess = Policy::new().with_concurrent().with_on_success();
    /// Waits for an hour between tries, and not for a delay once a shutdown has begun.
    RunNow = Policy::new()
        .with_run_at_shutdown()
        .with_tries(2)
        .with_backoff(Duration::from_secs(3600), Duration::from_secs(3600));
    Queued = Policy::new().with_queue();
    QueuedTwice = Policy::new().with_queue().with_tries(2).with_backoff(SECOND, SECOND);
    QueuedOnSuccess = Policy::new().with_queue().with_on_success();
}

/// The notes, in order.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub(crate) fn note(&self, what: impl fmt::Display) {
        self.0.lock().unwrap().push(what.to_string());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Defers a closure that notes `what`.
pub(crate) fn defer_note(journal: &Journal, what: impl fmt::Display) {
    let (journal, what) = (journal.clone(), what.to_string());
    defer_fn(|_| async move { journal.note(what) });
}

/// Every event of a runner, in order.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<Event>>>);

#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) name: &'static str,
    pub(crate) id: JobId,
    pub(crate) attempt: u32,
    pub(crate) what: &'static str,
    pub(crate) error: String,
    pub(crate) delay: Option<Duration>,
}

impl Event {
    pub(crate) fn is_final(&self) -> bool {
        !matches!(
            self.what,
            "Deferred" | "Taken" | "Started" | "Retrying" | "Snoozed" | "Stuck" | "QueueFailed"
        )
    }
}

impl Events {
    /// A builder of a runner whose events these are.
    pub(crate) fn runner(&self) -> RunnerBuilder {
        let events = self.clone();
        Runner::builder().on_event(move |event| events.0.lock().unwrap().push(Event::of(event)))
    }

    pub(crate) fn all(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    /// Returns the events of the jobs with this name, with the attempt: `Failed 1`.
    pub(crate) fn of(&self, name: &str) -> Vec<String> {
        let all = self.all();
        all.iter()
            .filter(|event| event.name == name)
            .map(|event| format!("{} {}", event.what, event.attempt))
            .collect()
    }

    /// The errors of the jobs of this name.
    pub(crate) fn errors_of(&self, name: &str) -> Vec<String> {
        let all = self.all();
        all.iter()
            .filter(|event| event.name == name && !event.error.is_empty())
            .map(|event| event.error.clone())
            .collect()
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        self.all().iter().filter(|event| event.what == what).count()
    }
}

impl Event {
    fn of(event: &JobEvent) -> Self {
        let mut delay = None;
        let (what, error) = match event.kind() {
            JobEventKind::Deferred => ("Deferred", None),
            JobEventKind::Taken => ("Taken", None),
            JobEventKind::Started => ("Started", None),
            JobEventKind::Succeeded { .. } => ("Succeeded", None),
            JobEventKind::Retrying { error, delay: until, .. } => {
                delay = Some(until);
                ("Retrying", Some(error))
            }
            JobEventKind::Snoozed { delay: until, .. } => {
                delay = Some(until);
                ("Snoozed", None)
            }
            JobEventKind::Stuck { .. } => ("Stuck", None),
            JobEventKind::Failed { error, .. } => ("Failed", Some(error)),
            JobEventKind::Panicked { error, .. } => ("Panicked", Some(error)),
            JobEventKind::TimedOut { error, .. } => ("TimedOut", Some(error)),
            JobEventKind::Skipped => ("Skipped", None),
            JobEventKind::Cancelled => ("Cancelled", None),
            JobEventKind::Duplicate { .. } => ("Duplicate", None),
            JobEventKind::Shed => ("Shed", None),
            JobEventKind::Queued => ("Queued", None),
            JobEventKind::QueueFailed { error, .. } => ("QueueFailed", Some(error)),
            JobEventKind::Abandoned => ("Abandoned", None),
            kind => panic!("an event these tests do not know: {kind:?}"),
        };
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        Self { name: event.name(), id: event.id(), attempt: event.attempt(), what, error, delay }
    }
}

/// A panic's error without its place in the source, which moves with the lines of the test.
pub(crate) fn without_place(error: &str) -> String {
    let Some((before, rest)) = error.split_once("panicked at ") else { return error.to_owned() };
    // `file:line:column: message`, or without a message.
    match rest.split_once(": ") {
        Some((_, message)) => format!("{before}panicked: {message}"),
        None => format!("{before}panicked{}", rest.find(' ').map_or("", |end| &rest[end..])),
    }
}

/// Checks that nothing is under way and that every job is in exactly one final count.
#[track_caller]
pub(crate) fn assert_all_accounted_for(runner: &Runner) {
    let stats = runner.stats();
    assert_eq!((stats.pending, stats.running), (0, 0), "{stats:?}");
    let ended = stats.succeeded
        + stats.failed
        + stats.skipped
        + stats.cancelled
        + stats.shed
        + stats.queued
        + stats.abandoned;
    assert_eq!(ended, stats.deferred + stats.taken, "{stats:?}");
}

/// Checks that a runner without jobs has all of its room: what was taken was given back, once. (Room that was given
/// back twice is as bad as room that was not: the count of what is taken is below none then, and that leaves no room.)
/// The jobs that it asks with end as abandoned.
#[track_caller]
pub(crate) fn assert_room_for(runner: &Runner, max_pending: usize) {
    let mut scope = Scope::new(runner.clone());
    scope.enter(|| (0..max_pending).for_each(|_| drop(defer_fn(|_| async {}))));
    let list = scope.list().expect("something was deferred");
    assert!(list.try_admit(), "there is not room for {max_pending} jobs");
}

/// Keeps panics that a test is about out of its output.
pub(crate) fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let payload = info.payload();
            let message = payload.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| payload.downcast_ref::<&str>().copied());
            if !message.unwrap_or("on purpose").contains("on purpose") {
                default(info);
            }
        }));
    });
}

/// Releases a job that never yields. Dropped, as in a test that failed, it lets the job go, which would keep the
/// runtime from its end.
pub(crate) struct Release(Arc<AtomicBool>);

impl Release {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// Keeps the thread until then.
    pub(crate) fn spin(&self) -> impl Fn() + Send + Sync + use<> {
        let released = self.0.clone();
        move || {
            while !released.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Notes when it is dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The log of this thread, as text.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes what this thread logs, until the guard is dropped.
    pub(crate) fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        Self::capture_from(tracing::Level::INFO)
    }

    /// Takes what this thread logs from this level on, until the guard is dropped.
    pub(crate) fn capture_from(level: tracing::Level) -> (Self, tracing::subscriber::DefaultGuard) {
        // With a single subscriber, tracing (0.1.44) asks the one of the thread that comes to a log line first, which
        // may be another test's that has none, and then never asks again.
        static SECOND: OnceLock<tracing::Dispatch> = OnceLock::new();
        SECOND.get_or_init(|| tracing::Dispatch::new(tracing_subscriber::registry()));
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .with_max_level(level)
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// Takes what all threads of this process log from now on.
    pub(crate) fn capture_everywhere() -> Self {
        let log = Self::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::set_global_default(subscriber).expect("there is no other");
        log
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).expect("text")
    }

    /// The lines that contain all of this.
    pub(crate) fn lines_with(&self, parts: &[&str]) -> usize {
        self.text().lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A job of this type that notes its name.
pub(crate) fn noting<K: Kind>(journal: &Journal) -> Does<K> {
    let journal = journal.clone();
    K::job(move |_| {
        let journal = journal.clone();
        async move {
            journal.note(K::NAME);
            Ok(())
        }
    })
}

/// A queue that takes every job, and tells of each what it was told.
#[derive(Clone, Default)]
pub(crate) struct Rows(Arc<Mutex<RowsState>>);

#[derive(Default)]
struct RowsState {
    by_id: HashMap<JobId, JobStatus>,
    cancels: HashMap<JobId, Cancel>,
    counts: Vec<NameCounts>,
    holders: Vec<Holder>,
    is_cut_off: bool,
    asked: usize,
}

impl Rows {
    pub(crate) fn set(&self, id: JobId, status: JobStatus) {
        self.0.lock().unwrap().by_id.insert(id, status);
    }

    pub(crate) fn remove(&self, id: JobId) {
        self.0.lock().unwrap().by_id.remove(&id);
    }

    /// Sets the answer to a cancellation of this job. Otherwise the queue has no such job.
    pub(crate) fn answer_cancel(&self, id: JobId, answer: Cancel) {
        self.0.lock().unwrap().cancels.insert(id, answer);
    }

    /// Sets the counts of each type.
    pub(crate) fn set_counts(&self, counts: Vec<NameCounts>) {
        self.0.lock().unwrap().counts = counts;
    }

    /// The processes that take from it.
    pub(crate) fn set_holders(&self, holders: Vec<Holder>) {
        self.0.lock().unwrap().holders = holders;
    }

    /// Whether it can be reached.
    pub(crate) fn cut_off(&self, is_cut_off: bool) {
        self.0.lock().unwrap().is_cut_off = is_cut_off;
    }

    /// How often it was asked for a job's status.
    pub(crate) fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }

    fn answer<T: Send + 'static>(
        &self,
        answer: impl FnOnce(&RowsState) -> T,
    ) -> BoxFuture<'static, Result<T, BoxError>> {
        let state = self.0.lock().unwrap();
        let answer = if state.is_cut_off { Err("cut off".into()) } else { Ok(answer(&state)) };
        Box::pin(async { answer })
    }
}

impl Queue for Rows {
    fn push(&self, _: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async { Ok(()) })
    }

    fn inspect(&self) -> Option<&dyn InspectQueue> {
        Some(self)
    }
}

impl InspectQueue for Rows {
    fn counts(&self) -> BoxFuture<'_, Result<QueueCounts, BoxError>> {
        self.answer(|_| QueueCounts::default())
    }

    fn counts_by_name(&self) -> BoxFuture<'_, Result<Vec<NameCounts>, BoxError>> {
        self.answer(|state| state.counts.clone())
    }

    fn holders(&self) -> BoxFuture<'_, Result<Vec<Holder>, BoxError>> {
        self.answer(|state| state.holders.clone())
    }

    fn failed(&self, _: usize) -> BoxFuture<'_, Result<Vec<FailedJob>, BoxError>> {
        self.answer(|_| Vec::new())
    }

    fn status(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobStatus>, BoxError>> {
        self.0.lock().unwrap().asked += 1;
        self.answer(|state| state.by_id.get(&id).cloned())
    }

    fn retry(&self, _: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        self.answer(|_| false)
    }

    fn cancel(&self, id: JobId) -> BoxFuture<'_, Result<Cancel, BoxError>> {
        self.answer(|state| state.cancels.get(&id).copied().unwrap_or(Cancel::Unknown))
    }
}
