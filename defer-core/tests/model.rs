//! Whatever requests defer, whatever their jobs do, and whenever the runner is shut down: each job ends once, within
//! the bounds and in its order.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use defer_core::{
    BoxError, BoxFuture, Deferrable, Delivery, Job, JobContext, JobError, JobId, JobResult, Overflow, Policy,
    ResponseInfo, Runner, Scope, ShutdownReport, defer, defer_fn,
    queue::{Envelope, Queue},
    scope,
};
use http::StatusCode;
use proptest::{collection::vec, option, prelude::*};
use support::{Event, Events, assert_all_accounted_for, assert_room_for, quiet_panics};
use tokio::task::JoinSet;

/// A time in ms.
type Ms = u64;

#[derive(Clone, Debug)]
struct Plan {
    max_running: usize,
    max_pending: usize,
    overflow: Overflow,
    requests: Vec<Request>,
    /// When, and with how much grace.
    shutdown: (Ms, Ms),
    /// Which pushes to the queue fail, from the first; all later ones succeed.
    queue_fails: Vec<bool>,
}

#[derive(Clone, Debug)]
struct Request {
    at: Ms,
    jobs: Vec<Planned>,
    takes: Ms,
    end: End,
}

#[derive(Clone, Debug)]
enum End {
    /// The scope's future completes, or is dropped after this while.
    Scope { dropped: Option<Ms> },
    /// Released with this status.
    Response { status: u16, admitted: bool },
    /// Dropped without a release.
    Lost,
}

#[derive(Clone, Debug)]
struct Planned {
    kind: Kind,
    takes: Ms,
    condition: Option<Condition>,
    key: Option<u8>,
    cancelled: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    Ok,
    Error,
    Fatal,
    Panics,
    TimesOut,
    HangsUntilShutdown,
    Hangs,
    FailsUntil(u32),
    Defers(Vec<Planned>),
    Queued,
    Closure,
    Blocking,
}

#[derive(Clone, Copy, Debug)]
enum Condition {
    OnSuccess,
    When(bool),
    Panics,
}

fn planned() -> impl Strategy<Value = Planned> {
    fn with(kind: impl Strategy<Value = Kind>) -> impl Strategy<Value = Planned> {
        let condition = prop_oneof![
            Just(Condition::OnSuccess),
            any::<bool>().prop_map(Condition::When),
            Just(Condition::Panics)
        ];
        (
            kind,
            0..20u64,
            option::weighted(0.2, condition),
            option::weighted(0.2, 0..3u8),
            prop::bool::weighted(0.1),
        )
            .prop_map(|(kind, takes, condition, key, cancelled)| Planned {
                kind,
                takes,
                condition,
                key,
                cancelled,
            })
    }
    let leaf = prop_oneof![
        8 => Just(Kind::Ok),
        2 => Just(Kind::Error),
        1 => Just(Kind::Fatal),
        1 => Just(Kind::Panics),
        1 => Just(Kind::TimesOut),
        1 => Just(Kind::HangsUntilShutdown),
        1 => Just(Kind::Hangs),
        3 => (2..5u32).prop_map(Kind::FailsUntil),
        2 => Just(Kind::Queued),
        2 => Just(Kind::Closure),
    ];
    let leaf = prop_oneof![60 => leaf, 1 => Just(Kind::Blocking)];
    fn defers(jobs: impl Strategy<Value = Planned>) -> impl Strategy<Value = Kind> {
        vec(jobs, 1..4).prop_map(Kind::Defers)
    }
    let leaf = leaf.boxed();
    let planned = with(leaf.clone());
    let planned = with(prop_oneof![10 => leaf.clone(), 1 => defers(planned)]);
    with(prop_oneof![10 => leaf, 1 => defers(planned)])
}

fn request() -> impl Strategy<Value = Request> {
    let end = prop_oneof![
        6 => Just(End::Scope { dropped: None }),
        2 => (0..20u64).prop_map(|after| End::Scope { dropped: Some(after) }),
        3 => (prop_oneof![Just(200u16), Just(500)], any::<bool>())
            .prop_map(|(status, admitted)| End::Response { status, admitted }),
        1 => Just(End::Lost),
    ];
    (0..100u64, vec(planned(), 0..8), 0..10u64, end).prop_map(|(at, jobs, takes, end)| Request {
        at,
        jobs,
        takes,
        end,
    })
}

fn plan() -> impl Strategy<Value = Plan> {
    let overflow = prop_oneof![Just(Overflow::Wait), Just(Overflow::Shed)];
    let grace = prop_oneof![1 => Just(0u64), 2 => 0..200u64, 1 => Just(100_000)];
    (1..6usize, 1..12usize, overflow, vec(request(), 0..12), (0..300u64, grace), vec(any::<bool>(), 0..4))
        .prop_map(|(max_running, max_pending, overflow, requests, shutdown, queue_fails)| Plan {
            max_running,
            max_pending,
            overflow,
            requests,
            shutdown,
            queue_fails,
        })
}

/// The view from inside the jobs.
#[derive(Default)]
struct Seen {
    running: AtomicUsize,
    most: AtomicUsize,
    /// For each request its jobs' first attempts: when they began, and how many were under way.
    requests: Mutex<BTreeMap<usize, Vec<JobId>>>,
    first_attempts: Mutex<BTreeMap<usize, usize>>,
    overlaps: AtomicUsize,
    kinds: Mutex<BTreeMap<JobId, Planned>>,
}

/// An attempt that is under way.
struct Running {
    seen: Arc<Seen>,
    first_of: Option<usize>,
}

impl Seen {
    fn begin(self: &Arc<Self>, request: usize, cx: &JobContext) -> Running {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let first_of = (cx.attempt() == 1).then_some(request);
        if first_of.is_some() {
            self.requests.lock().unwrap().entry(request).or_default().push(cx.id());
            let mut under_way = self.first_attempts.lock().unwrap();
            let under_way = under_way.entry(request).or_default();
            *under_way += 1;
            if *under_way > 1 {
                self.overlaps.fetch_add(1, Ordering::SeqCst);
            }
        }
        Running { seen: self.clone(), first_of }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.seen.running.fetch_sub(1, Ordering::SeqCst);
        if let Some(request) = self.first_of {
            *self.seen.first_attempts.lock().unwrap().get_mut(&request).unwrap() -= 1;
        }
    }
}

/// A planned job, in one of four types.
struct Typed<const TYPE: u8>(Does);

#[derive(Clone)]
struct Does {
    request: usize,
    planned: Planned,
    seen: Arc<Seen>,
}

const ASYNC: u8 = 0;
const LIMITED: u8 = 1;
const BLOCKING: u8 = 2;
const QUEUED: u8 = 3;

impl<const TYPE: u8> Job for Typed<TYPE> {
    async fn run(&self, cx: &JobContext) -> JobResult {
        self.0.run(cx).await
    }
}

impl<const TYPE: u8> Deferrable for Typed<TYPE> {
    const NAME: &'static str = ["Async", "Limited", "Blocking", "Queued"][TYPE as usize];
    const POLICY: Policy = {
        let policy =
            Policy::new().with_tries(3).with_backoff(Duration::from_millis(10), Duration::from_millis(40));
        match TYPE {
            LIMITED => policy.with_timeout(Duration::from_millis(15)),
            BLOCKING => policy.with_blocking(),
            QUEUED => policy.with_queue(),
            _ => policy,
        }
    };
    const ENCODE: Option<fn(&Self) -> Result<Vec<u8>, BoxError>> =
        if TYPE == QUEUED { Some(|_| Ok(Vec::new())) } else { None };
}

impl Does {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let _running = self.seen.begin(self.request, cx);
        // Paused time stands still while anything is on the blocking pool.
        if !matches!(self.planned.kind, Kind::Blocking) {
            tokio::time::sleep(Duration::from_millis(self.planned.takes % 10)).await;
        }
        match &self.planned.kind {
            Kind::Ok | Kind::Queued | Kind::Closure | Kind::Blocking => Ok(()),
            Kind::Error => Err(JobError::msg("on purpose")),
            Kind::Fatal => Err(JobError::msg("on purpose").fatal()),
            Kind::Panics => panic!("on purpose"),
            Kind::TimesOut | Kind::Hangs => std::future::pending().await,
            Kind::HangsUntilShutdown => {
                cx.shutting_down().await;
                Ok(())
            }
            Kind::FailsUntil(attempt) if cx.attempt() < *attempt => Err(JobError::msg("on purpose")),
            Kind::FailsUntil(_) => Ok(()),
            Kind::Defers(jobs) => {
                jobs.iter().for_each(|job| self.seen.clone().defer(self.request, job));
                Ok(())
            }
        }
    }
}

impl Seen {
    fn defer(self: Arc<Self>, request: usize, planned: &Planned) {
        let does = Does { request, planned: planned.clone(), seen: self.clone() };
        let deferred = match planned.kind {
            Kind::TimesOut => defer(Typed::<LIMITED>(does)),
            Kind::Blocking => defer(Typed::<BLOCKING>(does)),
            Kind::Queued => defer(Typed::<QUEUED>(does)),
            Kind::Closure => defer_fn(|cx| async move { does.run(&cx).await }),
            _ => defer(Typed::<ASYNC>(does)),
        };
        self.kinds.lock().unwrap().insert(deferred.id(), planned.clone());
        match planned.condition {
            None => {}
            Some(Condition::OnSuccess) => drop(deferred.on_success()),
            Some(Condition::When(runs)) => drop(deferred.when(move |_| runs)),
            Some(Condition::Panics) => drop(deferred.when(|_| panic!("on purpose"))),
        }
        if let Some(key) = planned.key {
            deferred.key(key.to_string());
        }
        if planned.cancelled {
            deferred.cancel();
        }
    }
}

struct Pushes {
    fails: Mutex<Vec<bool>>,
    taken: Arc<AtomicUsize>,
}

impl Queue for Pushes {
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        let fails = self.fails.lock().unwrap().pop().unwrap_or(false);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(3)).await;
            if fails {
                return Err("on purpose".into());
            }
            self.taken.fetch_add(jobs.len(), Ordering::SeqCst);
            Ok(())
        })
    }
}

async fn serve(runner: Runner, seen: Arc<Seen>, number: usize, request: Request) {
    tokio::time::sleep(Duration::from_millis(request.at)).await;
    let handler = async {
        let half = request.jobs.len() / 2;
        request.jobs[..half].iter().for_each(|job| seen.clone().defer(number, job));
        tokio::time::sleep(Duration::from_millis(request.takes)).await;
        request.jobs[half..].iter().for_each(|job| seen.clone().defer(number, job));
    };
    match request.end {
        End::Scope { dropped: None } => scope(&runner, handler).await,
        End::Scope { dropped: Some(after) } => {
            let _ = tokio::time::timeout(Duration::from_millis(after), scope(&runner, handler)).await;
        }
        End::Response { .. } | End::Lost => {
            let mut list = Scope::new(runner);
            list.enter(|| request.jobs.iter().for_each(|job| seen.clone().defer(number, job)));
            let Some(jobs) = list.list() else { return };
            let End::Response { status, admitted } = request.end else { return };
            if admitted && !jobs.try_admit() {
                jobs.admit(None).await;
            }
            tokio::time::sleep(Duration::from_millis(request.takes)).await;
            let status = StatusCode::from_u16(status).ok();
            jobs.release(Some(ResponseInfo::new(Delivery::Sent).with_status(status)));
        }
    }
}

struct Outcome {
    report: ShutdownReport,
    events: Vec<Event>,
    seen: Arc<Seen>,
    queued: usize,
    /// The jobs that were there when the shutdown began.
    before: BTreeSet<JobId>,
}

/// Runs the plan to its end.
async fn carry_out(plan: &Plan) -> Outcome {
    let (events, seen, queued) =
        (Events::default(), Arc::new(Seen::default()), Arc::new(AtomicUsize::new(0)));
    let fails = Mutex::new(plan.queue_fails.clone());
    let mut runner =
        events.runner().max_running(plan.max_running).max_pending(plan.max_pending).overflow(plan.overflow);
    if !plan.queue_fails.is_empty() {
        runner = runner.queue(Pushes { fails, taken: queued.clone() });
    }
    let runner = runner.build();
    let mut requests = JoinSet::new();
    for (number, request) in plan.requests.iter().enumerate() {
        requests.spawn(serve(runner.clone(), seen.clone(), number, request.clone()));
    }
    let (at, grace) = plan.shutdown;
    tokio::time::sleep(Duration::from_millis(at)).await;
    let before = events.all().iter().map(|event| event.id).collect();
    let report = runner.shutdown(Duration::from_millis(grace)).await;
    // Jobs deferred after that are shut down too: responses may be held back until then.
    while !requests.is_empty() {
        tokio::select! {
            done = requests.join_next() => done.expect("there are requests").expect("a request does not panic"),
            () = async {
                runner.shutdown(Duration::from_millis(300)).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            } => {}
        }
    }
    runner.shutdown(Duration::from_millis(300)).await;
    tokio::time::timeout(Duration::from_secs(100), runner.idle()).await.expect("nothing is left");
    assert_all_accounted_for(&runner);
    let all = events.all();
    let stats = runner.stats();
    let count = |what: &[&str]| all.iter().filter(|event| what.contains(&event.what)).count() as u64;
    assert_eq!(count(&["Deferred"]), stats.deferred);
    assert_eq!(count(&["Succeeded"]), stats.succeeded);
    assert_eq!(count(&["Failed", "Panicked", "TimedOut"]), stats.failed);
    assert_eq!(count(&["Retrying"]), stats.retried);
    let others = ["Skipped", "Cancelled", "Shed", "Queued", "Abandoned"].map(|what| count(&[what]));
    assert_eq!(others, [stats.skipped, stats.cancelled, stats.shed, stats.queued, stats.abandoned]);
    // A stopped job needs a moment to be gone.
    tokio::time::timeout(Duration::from_secs(100), async {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if seen.running.load(Ordering::SeqCst) == 0 {
                break;
            }
        }
    })
    .await
    .expect("what was stopped is dropped");
    if plan.overflow == Overflow::Wait && plan.queue_fails.is_empty() {
        assert_room_for(&runner, plan.max_pending);
    }
    Outcome { report, events: all, seen, queued: queued.load(Ordering::SeqCst), before }
}

/// Checks the promises that hold in any order of events.
fn check(plan: &Plan, outcome: &Outcome) {
    let Outcome { report, events, seen, queued, before } = outcome;
    let mut by_job: BTreeMap<JobId, Vec<&Event>> = BTreeMap::new();
    events.iter().for_each(|event| by_job.entry(event.id).or_default().push(event));
    for (id, events) in &by_job {
        assert_eq!(events[0].what, "Deferred", "{events:#?}");
        assert_eq!(events.iter().filter(|event| event.is_final()).count(), 1, "{events:#?}");
        let starts = events.iter().filter(|event| event.what == "Started").map(|event| event.attempt);
        assert!(starts.clone().eq(1..=starts.count() as u32), "{events:#?}");
        let end = events.iter().find(|event| event.is_final()).unwrap();
        let kind = &seen.kinds.lock().unwrap()[id];
        let fits = match end.what {
            "Succeeded" => !matches!(
                kind.kind,
                Kind::Error
                    | Kind::Fatal
                    | Kind::Panics
                    | Kind::TimesOut
                    | Kind::Hangs
                    | Kind::FailsUntil(4..)
            ),
            "Failed" => matches!(kind.kind, Kind::Error | Kind::Fatal | Kind::FailsUntil(4..)),
            "Panicked" => {
                matches!(kind.kind, Kind::Panics) || matches!(kind.condition, Some(Condition::Panics))
            }
            "TimedOut" => matches!(kind.kind, Kind::TimesOut),
            "Skipped" => matches!(kind.condition, Some(Condition::OnSuccess | Condition::When(false))),
            "Cancelled" => kind.cancelled || kind.key.is_some(),
            "Shed" => plan.overflow == Overflow::Shed,
            "Queued" => matches!(kind.kind, Kind::Queued),
            "Abandoned" => true,
            _ => false,
        };
        assert!(fits, "{kind:?} ended as {end:?}");
    }
    assert!(seen.most.load(Ordering::SeqCst) <= plan.max_running, "{} ran", seen.most.load(Ordering::SeqCst));
    assert_eq!(seen.overlaps.load(Ordering::SeqCst), 0, "a request's first attempts overlapped");
    for (request, jobs) in &*seen.requests.lock().unwrap() {
        assert!(jobs.is_sorted(), "request {request} ran in the order {jobs:?}");
    }
    // Two pushes, one dropped half-way and the other of the job's rest, may both succeed.
    assert!(*queued >= events.iter().filter(|event| event.what == "Queued").count());
    let named: BTreeSet<_> = report.unfinished.iter().map(|job| job.id).collect();
    assert_eq!(named.len(), report.unfinished.len());
    for id in &named {
        assert_eq!(by_job[id].iter().filter(|event| event.what == "Abandoned").count(), 1);
    }
    assert!(report.completed + report.queued + named.len() <= by_job.len());
    if plan.shutdown.1 == 0 {
        for id in before
            .iter()
            .filter(|id| !by_job[id].iter().any(|event| event.is_final() && event.what != "Abandoned"))
        {
            let scope_was_lost = plan.requests.iter().any(|request| matches!(request.end, End::Lost));
            assert!(named.contains(id) || scope_was_lost, "{id} is not in the report");
        }
    }
}

fn without_noise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(quiet_panics);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_job_ends_once_within_the_bounds_and_in_its_order(plan in plan()) {
        without_noise();
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().start_paused(true).build().unwrap();
        let outcome = runtime.block_on(carry_out(&plan));
        // In one thread events are in order, too: nothing happens to a job after its end.
        let mut ended = BTreeSet::new();
        for event in &outcome.events {
            assert!(!ended.contains(&event.id), "{event:?} after its end");
            if event.is_final() {
                ended.insert(event.id);
            }
        }
        check(&plan, &outcome);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn so_it_is_on_several_threads(plan in plan()) {
        without_noise();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(3).enable_all().build().unwrap();
        let mut plan = plan;
        plan.shutdown.1 = plan.shutdown.1.min(200);
        let outcome = runtime.block_on(async { carry_out(&plan).await });
        check(&plan, &outcome);
    }
}
