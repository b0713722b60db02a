//! What a queue promises, on each storage.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use defer_apalis::{ApalisQueue, Worker};
use defer_axum::{
    JobId, JobStatus, Policy, Runner,
    event::JobEventKind,
    queue::{Envelope, Queue},
    scope,
};
use defer_queue_tests::{
    backend::{Backend, Place},
    jobs::{Crash, Fails, Hangs, Log, Meets, Note, OldNote, Renamed, Snoozes, Unknown, lines},
    program::{Client, Program},
    waiting::{PATIENCE, until, until_lines},
};
use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_defer-queue-program");

/// A queue, and a runner that uses it.
struct Service {
    place: Place,
    queue: ApalisQueue,
    runner: Runner,
    log: Log,
}

impl Service {
    async fn on(backend: Backend) -> Self {
        Self::at(backend.place().await).await
    }

    async fn at(place: Place) -> Self {
        let queue = ApalisQueue::connect(&place.url).await.unwrap();
        let log = place.log();
        let runner = runner(&queue, &log);
        Self { place, queue, runner, log }
    }

    /// Another process' runner, as good as.
    fn other_runner(&self) -> Runner {
        runner(&self.queue, &self.log)
    }

    fn worker(&self) -> Worker {
        self.queue.worker(self.other_runner()).job::<Note>().job::<Meets>().job::<Fails>().job::<Hangs>()
    }

    /// Runs one job at a time, until an attempt has ended, on a runner of its own.
    async fn work_until_an_attempt_ends(&self) -> Runner {
        let ended = Arc::new(Notify::new());
        let told = ended.clone();
        let runner = Runner::builder().state(self.log.clone()).on_event(move |event| {
            use JobEventKind::{Failed, Retrying, Snoozed, Succeeded};
            if let Failed { .. } | Retrying { .. } | Snoozed { .. } | Succeeded { .. } = event.kind() {
                told.notify_one();
            }
        });
        let runner = runner.build();
        let worker = self.queue.worker(runner.clone()).job::<Note>().job::<Fails>().job::<Snoozes>();
        worker.concurrency(1).run_until(ended.notified()).await.unwrap();
        runner
    }

    async fn status(&self, id: JobId) -> Option<JobStatus> {
        self.queue.status(id).await.unwrap()
    }

    /// Returns how many jobs are pending, running, done and failed.
    async fn counts(&self) -> [u64; 4] {
        let counts = self.queue.counts().await.unwrap();
        [counts.pending, counts.running, counts.done, counts.failed]
    }
}

fn runner(queue: &ApalisQueue, log: &Log) -> Runner {
    Runner::builder().state(log.clone()).queue(queue.clone()).push_timeout(PATIENCE).build()
}

/// A worker that runs.
struct Runs {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Runs {
    fn new(worker: Worker) -> Self {
        let (stop, stopped) = oneshot::channel();
        let run = worker.run_until(async { drop(stopped.await) });
        Self { stop, task: tokio::spawn(async { run.await.unwrap() }) }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

/// Lets four clients make requests until this many were acknowledged, over a service that is killed in the midst of it.
async fn acknowledged_jobs_survive_sigkill(backend: Backend) {
    for round in 0_u32..5 {
        let place = backend.place().await;
        let log = place.log();
        // Spread over the round, and another each time.
        let kill_at = 60 + 190 * round + std::process::id() % 100;
        let program = Arc::new(Mutex::new(Program::start(PROGRAM, "serve", &place.url, &log.0)));
        // None while there is no program: another test's may listen there next.
        let address = Arc::new(Mutex::new(Some(program.lock().unwrap().address())));
        let (acknowledged, next) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicU32::new(0)));
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let (acknowledged, next, address) = (acknowledged.clone(), next.clone(), address.clone());
                std::thread::spawn(move || {
                    let mut client = None;
                    while acknowledged.lock().unwrap().len() < 1_000 {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if client.is_none() {
                            client =
                                address.lock().unwrap().and_then(|address| Client::connect(address).ok());
                        }
                        match client.as_mut().map(|client| client.post(&format!("/{number}"))) {
                            Some(Ok(true)) => drop(acknowledged.lock().unwrap().insert(number)),
                            _ => {
                                client = None;
                                std::thread::sleep(Duration::from_millis(5));
                            }
                        }
                    }
                })
            })
            .collect();
        until("the moment", async || acknowledged.lock().unwrap().len() as u32 >= kill_at).await;
        *address.lock().unwrap() = None;
        let restarted = tokio::task::spawn_blocking({
            let (program, url, log) = (program.clone(), place.url.clone(), log.clone());
            move || {
                let mut program = program.lock().unwrap();
                program.0.kill().unwrap();
                *program = Program::start(PROGRAM, "serve", &url, &log.0);
                program.address()
            }
        });
        *address.lock().unwrap() = Some(restarted.await.unwrap());
        tokio::task::spawn_blocking(move || clients.into_iter().for_each(|client| client.join().unwrap()))
            .await
            .unwrap();
        let acknowledged = acknowledged.lock().unwrap().clone();
        assert!(acknowledged.len() >= 1_000);
        let queue = ApalisQueue::connect(&place.url).await.unwrap();
        until("every job is done", async || {
            let counts = queue.counts().await.unwrap();
            (counts.pending, counts.running) == (0, 0)
        })
        .await;
        let ran: BTreeSet<u32> = log.lines().iter().map(|line| line.parse().unwrap()).collect();
        let missing: Vec<_> = acknowledged.difference(&ran).collect();
        let failed = queue.failed(10).await.unwrap();
        assert_eq!((missing, failed), (vec![], vec![]), "in round {round}");
    }
}

async fn a_job_that_kills_its_process_is_given_up_after_its_tries(backend: Backend) {
    let service = Service::on(backend).await;
    scope(&service.runner, async { drop(Crash::defer()) }).await;
    let mut starts = 0;
    let mut program = Program::start(PROGRAM, "work", &service.place.url, &service.log.0);
    until("it is given up", async || {
        if program.0.try_wait().unwrap().is_some() {
            starts += 1;
            program = Program::start(PROGRAM, "work", &service.place.url, &service.log.0);
        }
        service.queue.counts().await.unwrap().failed == 1
    })
    .await;
    assert_eq!((service.log.lines(), starts), (vec!["crash 1".to_owned(), "crash 2".to_owned()], 2));
    let failed = service.queue.failed(10).await.unwrap();
    assert_eq!((&*failed[0].name, failed[0].attempts), ("Crash", 2));
    assert!(failed[0].error.contains("worker died"), "{}", failed[0].error);
}

async fn an_unknown_name_and_a_broken_payload_fail_and_stop_nothing(backend: Backend) {
    let service = Service::on(backend).await;
    let (unknown, broken) = scope(&service.runner, async {
        let unknown = Unknown::defer().id();
        let broken = OldNote::defer("hello").id();
        Note::defer(7_u32);
        (unknown, broken)
    })
    .await;
    let worker = Runs::new(service.worker());
    until_lines(&service.log, 1).await;
    until("both failed", async || service.queue.counts().await.unwrap().failed == 2).await;
    let failed = service.queue.failed(10).await.unwrap();
    let errors: HashMap<_, _> = failed.iter().map(|job| (job.id, (&*job.name, &*job.error))).collect();
    assert_eq!(errors[&unknown].0, "Unknown");
    assert!(errors[&unknown].1.contains("no job type is named `Unknown`"), "{}", errors[&unknown].1);
    assert_eq!(errors[&broken].0, "Note");
    assert!(errors[&broken].1.contains("missing field `number`"), "{}", errors[&broken].1);
    worker.stop().await;
    // Its type had another name once, and a worker is told so.
    assert!(service.queue.retry(unknown).await.unwrap());
    assert!(!service.queue.retry(unknown).await.unwrap(), "it is retried once");
    let worker = Runs::new(service.queue.worker(service.other_runner()).job::<Renamed>());
    until_lines(&service.log, 2).await;
    assert_eq!(service.log.lines(), ["7", "renamed"]);
    until("it is noted", async || service.queue.counts().await.unwrap().done == 2).await;
    worker.stop().await;
    assert_eq!(service.queue.forget_done(Duration::from_secs(3600)).await.unwrap(), 0);
    assert_eq!(service.queue.forget_done(Duration::ZERO).await.unwrap(), 2);
    let counts = service.queue.counts().await.unwrap();
    assert_eq!((counts.pending, counts.running, counts.done, counts.failed), (0, 0, 0, 1));
}

async fn two_workers_share_the_work_and_no_job_runs_twice(backend: Backend) {
    let service = Service::on(backend).await;
    let other = service.place.folder.path().join("other");
    let program = Program::start(PROGRAM, "work", &service.place.url, &other).works();
    // Slow, while the other is fast. No job ends before each has one, and neither can have all.
    let worker = Runs::new(service.worker().concurrency(1));
    let logs = [service.log.0.clone(), other.clone()];
    let meets = |number: u32| drop(Meets::defer(number, logs.clone()));
    scope(&service.runner, async { (0..400).for_each(meets) }).await;
    until("all are done", async || service.queue.counts().await.unwrap().done == 400).await;
    let (here, there) = (service.log.lines(), lines(&other));
    assert!(!here.is_empty() && !there.is_empty(), "{} here, {} there", here.len(), there.len());
    let all: BTreeSet<_> = here.iter().chain(&there).collect();
    assert_eq!((all.len(), here.len() + there.len()), (400, 400));
    worker.stop().await;
    drop(program);
}

async fn a_failed_attempt_is_made_again_after_its_backoff_by_another_worker(backend: Backend) {
    let service = Service::on(backend).await;
    scope(&service.runner, async { drop(Fails::defer(2_u32)) }).await;
    let stats = service.work_until_an_attempt_ends().await.stats();
    assert_eq!(service.log.lines(), ["attempt 1"]);
    assert_eq!((stats.deferred, stats.retried, stats.queued), (1, 1, 1));
    assert_eq!(service.queue.counts().await.unwrap().pending, 1);
    let runner = service.other_runner();
    let worker = Runs::new(service.queue.worker(runner.clone()).job::<Fails>());
    until("it succeeded", async || service.queue.counts().await.unwrap().done == 1).await;
    assert_eq!(service.log.lines(), ["attempt 1", "attempt 2", "attempt 3"]);
    assert_eq!((runner.stats().succeeded, runner.stats().retried), (1, 1));
    // Out of tries, it is kept.
    scope(&service.runner, async { drop(Fails::defer(9_u32)) }).await;
    until("it failed", async || service.queue.counts().await.unwrap().failed == 1).await;
    let failed = service.queue.failed(10).await.unwrap();
    assert_eq!((failed[0].attempts, &*failed[0].error), (3, "the mail server is away"));
    worker.stop().await;
}

async fn a_job_that_snoozes_runs_again_and_spends_no_attempt(backend: Backend) {
    let service = Service::on(backend).await;
    let id = scope(&service.runner, async { Snoozes::defer(2_usize, Duration::from_secs(1)).id() }).await;
    for run in 1..=2 {
        service.work_until_an_attempt_ends().await;
        assert_eq!(service.log.lines(), vec!["attempt 1"; run]);
        assert_eq!(service.status(id).await, Some(JobStatus::Pending));
        assert_eq!(service.counts().await, [1, 0, 0, 0]);
        assert_eq!(service.queue.failed(10).await.unwrap(), []);
    }
    service.work_until_an_attempt_ends().await;
    assert_eq!(service.log.lines(), ["attempt 1"; 3]);
    assert_eq!(service.status(id).await, Some(JobStatus::Succeeded));
    assert_eq!(service.counts().await, [0, 0, 1, 0]);
}

/// The worker takes one job at a time, and the one that is due first.
async fn a_job_that_snoozes_is_not_run_before_its_delay(backend: Backend) {
    let service = Service::on(backend).await;
    scope(&service.runner, async { drop(Snoozes::defer(9_usize, Duration::from_secs(3600))) }).await;
    service.work_until_an_attempt_ends().await;
    // Due later than a snoozed job whose delay was forgotten.
    scope(&service.runner, async { drop(Note::defer(1_u32).delay(Duration::from_secs(1))) }).await;
    service.work_until_an_attempt_ends().await;
    assert_eq!(service.log.lines(), ["attempt 1", "1"]);
    assert_eq!(service.counts().await, [1, 0, 1, 0]);
}

async fn what_became_of_a_job_is_known_by_its_id(backend: Backend) {
    let service = Service::on(backend).await;
    let fails = scope(&service.runner, async { Fails::defer(9_u32).id() }).await;
    assert_eq!(service.status(fails).await, Some(JobStatus::Pending));
    service.work_until_an_attempt_ends().await;
    assert_eq!(service.status(fails).await, Some(JobStatus::Pending), "two attempts are left");
    let (note, delayed, hangs) = scope(&service.runner, async {
        let delayed = Note::defer(2_u32).delay(Duration::from_secs(3600)).id();
        (Note::defer(1_u32).id(), delayed, Hangs::defer().id())
    })
    .await;
    // Given up with attempts left, because it cannot be read.
    let broken = Envelope::new(JobId::unique(), "Note", Policy::new().with_tries(3), b"{}".to_vec());
    let id_of_broken = broken.id;
    service.queue.push(vec![broken]).await.unwrap();
    for waits in [note, delayed, hangs, id_of_broken] {
        assert_eq!(service.status(waits).await, Some(JobStatus::Pending));
    }
    assert_eq!(service.status(JobId::unique()).await, None, "it was never stored");

    let worker = Runs::new(service.worker().drain_timeout(Duration::ZERO));
    until("one hangs", async || service.log.lines().contains(&"hangs 1".to_owned())).await;
    assert_eq!(service.status(hangs).await, Some(JobStatus::Running));
    until("the others have ended", async || service.counts().await == [1, 1, 1, 2]).await;
    assert_eq!(service.status(note).await, Some(JobStatus::Succeeded));
    assert_eq!(service.status(fails).await, Some(JobStatus::failed("the mail server is away")));
    let inspected = service.queue.inspect().unwrap().status(id_of_broken).await.unwrap();
    let Some(JobStatus::Failed { error, .. }) = inspected else { panic!("{inspected:?}") };
    assert!(error.contains("the stored job is not a `Note`"), "{error}");
    assert_eq!(service.status(delayed).await, Some(JobStatus::Pending));
    worker.stop().await;
    assert_eq!(service.status(hangs).await, Some(JobStatus::Pending), "it was given back");

    assert_eq!(service.queue.forget_done(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(service.status(note).await, None, "it is forgotten");
    assert!(service.queue.retry(fails).await.unwrap());
    assert_eq!(service.status(fails).await, Some(JobStatus::Pending), "it is tried again");
}

async fn a_worker_that_stops_gives_its_jobs_back_at_once(backend: Backend) {
    let service = Service::on(backend).await;
    let worker = Runs::new(service.worker().drain_timeout(Duration::ZERO));
    scope(&service.runner, async { drop(Hangs::defer()) }).await;
    until_lines(&service.log, 1).await;
    worker.stop().await;
    let counts = service.queue.counts().await.unwrap();
    assert_eq!((counts.pending, counts.running), (1, 0));
    let worker = Runs::new(service.worker().drain_timeout(Duration::ZERO));
    until_lines(&service.log, 2).await;
    assert_eq!(service.log.lines(), ["hangs 1", "hangs 1"], "it has not used up an attempt");
    worker.stop().await;
}

async fn a_job_whose_worker_is_killed_runs_again_and_has_had_an_attempt(backend: Backend) {
    let service = Service::on(backend).await;
    scope(&service.runner, async { drop(Hangs::defer()) }).await;
    let program = Program::start(PROGRAM, "work", &service.place.url, &service.log.0);
    until_lines(&service.log, 1).await;
    drop(program);
    let worker = Runs::new(service.worker().drain_timeout(Duration::ZERO));
    until_lines(&service.log, 2).await;
    assert_eq!(service.log.lines(), ["hangs 1", "hangs 2"]);
    worker.stop().await;
}

async fn the_same_id_is_never_stored_twice(backend: Backend) {
    let service = Service::on(backend).await;
    let (first, second) =
        (Envelope::of(&Note { number: 1 }).unwrap(), Envelope::of(&Note { number: 2 }).unwrap());
    service.queue.push(vec![first.clone()]).await.unwrap();
    service.queue.push(vec![first.clone(), second.clone()]).await.unwrap();
    let (again, both) = tokio::join!(service.queue.push(vec![first]), service.queue.push(vec![second]));
    again.and(both).unwrap();
    assert_eq!(service.queue.counts().await.unwrap().pending, 2);
    let worker = Runs::new(service.worker());
    until("both are done", async || service.queue.counts().await.unwrap().done == 2).await;
    assert_eq!(service.log.lines().len(), 2);
    worker.stop().await;
}

async fn services_that_start_at_once_all_connect(backend: Backend) {
    let place = backend.place().await;
    let starting: Vec<_> = (0..8)
        .map(|_| {
            let url = place.url.clone();
            tokio::spawn(async move { ApalisQueue::connect(&url).await })
        })
        .collect();
    for started in starting {
        started.await.unwrap().unwrap();
    }
    let service = Service::at(place).await;
    scope(&service.runner, async { drop(Note::defer(1_u32)) }).await;
    assert_eq!(service.queue.counts().await.unwrap().pending, 1);
}

/// The worker takes one job at a time, and the one that is due first.
async fn a_delayed_job_waits_in_the_queue(backend: Backend) {
    let service = Service::on(backend).await;
    let worker = Runs::new(service.worker().concurrency(1));
    scope(&service.runner, async {
        Note::defer(2_u32).delay(Duration::from_secs(2));
        Note::defer(1_u32);
    })
    .await;
    until_lines(&service.log, 2).await;
    assert_eq!(service.log.lines(), ["1", "2"]);
    // While the worker waits for one that is due soon, it has time to take the other.
    scope(&service.runner, async {
        Note::defer(4_u32).delay(Duration::from_secs(3600));
        Note::defer(3_u32).delay(Duration::from_secs(1));
    })
    .await;
    until("the one that is due soon is done", async || service.queue.counts().await.unwrap().done == 3).await;
    assert_eq!(service.log.lines(), ["1", "2", "3"]);
    let counts = service.queue.counts().await.unwrap();
    assert_eq!((counts.pending, counts.running, counts.oldest_due), (1, 0, None));
    worker.stop().await;
}

async fn many_jobs_that_are_due_at_once_are_taken(backend: Backend) {
    let service = Service::on(backend).await;
    // Few at a time: Redis does nothing else meanwhile, and is taken to be away if it is silent for half a second.
    for _ in 0..18 {
        let jobs = (0..500).map(|number| Envelope::of(&Note { number }).unwrap()).collect();
        service.queue.push(jobs).await.unwrap();
    }
    let worker = Runs::new(service.worker().concurrency(64));
    until("some are done", async || service.queue.counts().await.unwrap().done > 200).await;
    worker.stop().await;
    let counts = service.queue.counts().await.unwrap();
    assert_eq!((counts.pending + counts.done, counts.running), (9_000, 0));
}

/// Jobs run here while the queue is away. `cut` and `mend` are how it goes and comes back.
async fn while_the_queue_is_away_jobs_run_in_process(
    url: &str,
    place: &Place,
    cut: impl AsyncFnOnce(),
    mend: impl AsyncFnOnce(),
) {
    let queue = ApalisQueue::connect(url).await.unwrap();
    let (log, failures) = (place.log(), Arc::new(AtomicU32::new(0)));
    let count = failures.clone();
    let runner = Runner::builder()
        .state(log.clone())
        .queue(queue.clone())
        .push_timeout(PATIENCE)
        .on_event(move |event| {
            if let JobEventKind::QueueFailed { .. } = event.kind() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
        .build();
    let worker = Runs::new(queue.worker(runner.clone()).job::<Note>());
    scope(&runner, async { drop(Note::defer(1_u32)) }).await;
    until_lines(&log, 1).await;
    assert_eq!(failures.load(Ordering::Relaxed), 0);
    // So that the worker has nothing to do.
    until("it is noted", async || queue.counts().await.unwrap().done == 1).await;
    cut().await;
    scope(&runner, async { drop(Note::defer(2_u32)) }).await;
    until("it runs here", async || log.lines().contains(&"2".to_owned())).await;
    assert_eq!(failures.load(Ordering::Relaxed), 1);
    mend().await;
    until("the queue takes jobs again", async || {
        let before = failures.load(Ordering::Relaxed);
        scope(&runner, async { drop(Note::defer(3_u32)) }).await;
        failures.load(Ordering::Relaxed) == before
    })
    .await;
    until("the worker works again", async || {
        let counts = queue.counts().await.unwrap();
        (counts.pending, counts.running) == (0, 0) && counts.done >= 2
    })
    .await;
    worker.stop().await;
}

/// Stores jobs in a transaction of a process that dies.
async fn a_job_of_a_transaction_runs_if_that_is_committed_and_only_then(backend: Backend) {
    let service = Service::on(backend).await;
    let worker = Runs::new(service.worker());
    let run = |what| Program::start(PROGRAM, what, &service.place.url, Path::new("unused"));
    let mut program = run("roll-back");
    tokio::task::block_in_place(|| program.0.wait().unwrap());
    assert_eq!(service.queue.counts().await.unwrap(), <_>::default());
    let mut program = run("commit");
    tokio::task::block_in_place(|| program.0.wait().unwrap());
    until_lines(&service.log, 3).await;
    let ran: BTreeSet<String> = service.log.lines().into_iter().collect();
    assert_eq!(ran, ["1", "2", "3"].map(str::to_owned).into());
    until("they are done", async || service.queue.counts().await.unwrap().done == 3).await;
    worker.stop().await;
}

macro_rules! on_each {
    ($($backend:ident $module:ident $(#[$attribute:meta])*: $($test:ident)*;)*) => {$(
        $(#[$attribute])*
        mod $module {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$test(Backend::$backend).await;
                }
            )*
        }
    )*};
}

on_each! {
    Sqlite sqlite:
        acknowledged_jobs_survive_sigkill
        a_job_that_kills_its_process_is_given_up_after_its_tries
        an_unknown_name_and_a_broken_payload_fail_and_stop_nothing
        two_workers_share_the_work_and_no_job_runs_twice
        a_failed_attempt_is_made_again_after_its_backoff_by_another_worker
        a_job_that_snoozes_runs_again_and_spends_no_attempt
        a_job_that_snoozes_is_not_run_before_its_delay
        what_became_of_a_job_is_known_by_its_id
        a_worker_that_stops_gives_its_jobs_back_at_once
        a_job_whose_worker_is_killed_runs_again_and_has_had_an_attempt
        the_same_id_is_never_stored_twice
        services_that_start_at_once_all_connect
        a_delayed_job_waits_in_the_queue
        many_jobs_that_are_due_at_once_are_taken
        a_job_of_a_transaction_runs_if_that_is_committed_and_only_then;
    Postgres postgres #[cfg(feature = "servers")]:
        acknowledged_jobs_survive_sigkill
        a_job_that_kills_its_process_is_given_up_after_its_tries
        an_unknown_name_and_a_broken_payload_fail_and_stop_nothing
        two_workers_share_the_work_and_no_job_runs_twice
        a_failed_attempt_is_made_again_after_its_backoff_by_another_worker
        a_job_that_snoozes_runs_again_and_spends_no_attempt
        a_job_that_snoozes_is_not_run_before_its_delay
        what_became_of_a_job_is_known_by_its_id
        a_worker_that_stops_gives_its_jobs_back_at_once
        a_job_whose_worker_is_killed_runs_again_and_has_had_an_attempt
        the_same_id_is_never_stored_twice
        services_that_start_at_once_all_connect
        a_delayed_job_waits_in_the_queue
        many_jobs_that_are_due_at_once_are_taken
        a_job_of_a_transaction_runs_if_that_is_committed_and_only_then;
    Redis redis #[cfg(feature = "servers")]:
        acknowledged_jobs_survive_sigkill
        a_job_that_kills_its_process_is_given_up_after_its_tries
        an_unknown_name_and_a_broken_payload_fail_and_stop_nothing
        two_workers_share_the_work_and_no_job_runs_twice
        a_failed_attempt_is_made_again_after_its_backoff_by_another_worker
        a_job_that_snoozes_runs_again_and_spends_no_attempt
        a_job_that_snoozes_is_not_run_before_its_delay
        what_became_of_a_job_is_known_by_its_id
        a_worker_that_stops_gives_its_jobs_back_at_once
        a_job_whose_worker_is_killed_runs_again_and_has_had_an_attempt
        the_same_id_is_never_stored_twice
        services_that_start_at_once_all_connect
        a_delayed_job_waits_in_the_queue
        many_jobs_that_are_due_at_once_are_taken;
}

mod away {
    #[cfg(feature = "servers")]
    use defer_queue_tests::{backend::redis_connection, proxy::Proxy};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn sqlite() {
        use defer_apalis::sqlx::{Connection, SqliteConnection, query};
        let place = Backend::Sqlite.place().await;
        let queue = ApalisQueue::connect(&place.url).await.unwrap();
        drop(queue);
        // Another process that holds the lock and does not let it go.
        let lock = tokio::sync::Mutex::new(SqliteConnection::connect(&place.url).await.unwrap());
        let run = async |sql| {
            query(sql).execute(&mut *lock.lock().await).await.unwrap();
        };
        while_the_queue_is_away_jobs_run_in_process(
            &place.url,
            &place,
            async || run("BEGIN EXCLUSIVE").await,
            async || run("COMMIT").await,
        )
        .await;
    }

    #[cfg(feature = "servers")]
    async fn server(backend: Backend) {
        let place = backend.place().await;
        let after_scheme = place.url.split_once("://").unwrap().1;
        let authority = after_scheme.split('/').next().unwrap();
        let server = authority.rsplit('@').next().unwrap();
        let proxy = Proxy::to(server.parse().unwrap()).await;
        let url = place.url.replace(server, &proxy.address.to_string());
        while_the_queue_is_away_jobs_run_in_process(
            &url,
            &place,
            async || lose_an_answer(backend, &place, &proxy).await,
            async || proxy.mend(),
        )
        .await;
        until("the job runs whose answer was lost", async || place.log().lines().contains(&"9".to_owned()))
            .await;
    }

    /// Cuts the proxy while the worker waits for an answer, and leaves a job taken by it: as if the connection had broken
    /// between the database's commit and its answer. The server has no connection of the queue's any more when this returns.
    #[cfg(feature = "servers")]
    async fn lose_an_answer(backend: Backend, place: &Place, proxy: &Proxy) {
        let mut note = Envelope::of(&Note { number: 9 }).unwrap();
        note.delay = Duration::from_secs(3600);
        let id = note.id.to_string();
        ApalisQueue::connect(&place.url).await.unwrap().push(vec![note]).await.unwrap();
        if backend == Backend::Postgres {
            use defer_apalis::sqlx::{Connection, PgConnection, Row, query};
            let mut connection = PgConnection::connect(&place.url).await.unwrap();
            let taken = query(
                "UPDATE apalis.jobs SET status = 'Running', run_at = now(), lock_by = (SELECT id FROM apalis.workers) \
                 WHERE id = $1",
            );
            assert_eq!(taken.bind(id).execute(&mut connection).await.unwrap().rows_affected(), 1);
            let mut lock = connection.begin().await.unwrap();
            query("LOCK TABLE apalis.jobs").execute(&mut *lock).await.unwrap();
            // In a transaction, Postgres would always show what it did at the first look.
            let mut looks = PgConnection::connect(&place.url).await.unwrap();
            let mut count = async |sql| query(sql).fetch_one(&mut looks).await.unwrap().get::<i64, _>(0);
            let waits = "SELECT count(*) FROM pg_stat_activity \
                         WHERE datname = current_database() AND query LIKE 'UPDATE apalis.jobs SET status = ''Running''%' \
                         AND wait_event_type = 'Lock'";
            until("the worker waits", async || count(waits).await > 0).await;
            proxy.cut().await;
            lock.rollback().await.unwrap();
            connection.close().await.unwrap();
            let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                          AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
            until("only this connection is left", async || count(others).await == 0).await;
        } else {
            use ::redis::cmd;
            let mut connection = redis_connection(&place.url).await;
            let workers = cmd("ZRANGE").arg("defer:workers").arg(&[0, -1]).query_async(&mut connection).await;
            let workers: Vec<String> = workers.unwrap();
            cmd("ZREM").arg("defer:scheduled").arg(&id).exec_async(&mut connection).await.unwrap();
            let inflight = format!("defer:inflight:{}", workers[0]);
            cmd("SADD").arg(inflight).arg(&id).exec_async(&mut connection).await.unwrap();
            // By the proxy: a server that pauses is away for other tests, too.
            let answered = tokio::time::timeout(PATIENCE, proxy.withhold_an_answer());
            answered.await.expect("the worker asks, and waits");
            proxy.cut().await;
            let database = place.url.rsplit('/').next().expect("a number");
            until("only this connection is left", async || {
                let clients: String = cmd("CLIENT").arg("LIST").query_async(&mut connection).await.unwrap();
                let is_ours = |client: &&str| client.contains(&format!(" db={database} "));
                clients.lines().filter(is_ours).count() == 1
            })
            .await;
        }
    }

    #[cfg(feature = "servers")]
    #[tokio::test(flavor = "multi_thread")]
    async fn postgres() {
        server(Backend::Postgres).await;
    }

    #[cfg(feature = "servers")]
    #[tokio::test(flavor = "multi_thread")]
    async fn redis() {
        server(Backend::Redis).await;
    }
}

#[cfg(feature = "servers")]
#[tokio::test]
async fn a_transaction_of_another_database_is_refused_and_still_works() {
    use defer_apalis::{
        Error,
        sqlx::{PgPool, SqlitePool},
    };
    let [sqlite, postgres, redis] = [Backend::Sqlite, Backend::Postgres, Backend::Redis];
    let [sqlite, postgres, redis] =
        [Service::on(sqlite).await, Service::on(postgres).await, Service::on(redis).await];
    let mut of_sqlite = SqlitePool::connect(&sqlite.place.url).await.unwrap().begin().await.unwrap();
    let mut of_postgres = PgPool::connect(&postgres.place.url).await.unwrap().begin().await.unwrap();
    let note = |number| Note { number };
    for refused in [
        sqlite.queue.push_in(&mut of_postgres, note(1)).await,
        postgres.queue.push_in(&mut of_sqlite, note(2)).await,
        redis.queue.push_in(&mut of_sqlite, note(3)).await,
        redis.queue.push_in(&mut of_postgres, note(4)).await,
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::OtherDatabase { .. }), "{error}");
    }
    sqlite.queue.push_in(&mut of_sqlite, note(5)).await.unwrap();
    postgres.queue.push_in(&mut of_postgres, note(6)).await.unwrap();
    of_sqlite.commit().await.unwrap();
    of_postgres.commit().await.unwrap();
    for (service, pending) in [(sqlite, 1), (postgres, 1), (redis, 0)] {
        assert_eq!(service.counts().await, [pending, 0, 0, 0]);
    }
}

#[tokio::test]
async fn an_unknown_url_is_refused_and_so_are_two_types_with_one_name() {
    use defer_apalis::Error;
    let service = Service::on(Backend::Sqlite).await;
    let twice = service.queue.worker(service.runner.clone()).job::<Note>().job::<OldNote>();
    let error = twice.run_until(std::future::pending()).await.unwrap_err();
    assert!(matches!(error, Error::DuplicateName { .. }), "{error}");
    let error = ApalisQueue::connect("mysql://localhost").await.unwrap_err();
    assert!(matches!(error, Error::UnknownUrl { .. }), "{error}");
}

/// Tables of apalis and of the user may be in one database, and migrate by themselves.
#[tokio::test]
async fn a_queue_in_the_users_database_leaves_the_users_migrations_alone() {
    use defer_apalis::sqlx::{Row, SqlitePool, query};
    let place = Backend::Sqlite.place().await;
    let pool = SqlitePool::connect(&format!("{}?mode=rwc", place.url)).await.unwrap();
    ApalisQueue::sqlite(pool.clone()).await.unwrap();
    ApalisQueue::sqlite(pool.clone()).await.unwrap();
    let known = query("SELECT COUNT(*) FROM _sqlx_migrations").fetch_one(&pool).await.unwrap();
    assert_eq!(known.get::<i64, _>(0), 0);
    // One that apalis has set up before is taken as it is.
    let place = Backend::Sqlite.place().await;
    let pool = SqlitePool::connect(&format!("{}?mode=rwc", place.url)).await.unwrap();
    defer_apalis::apalis_sqlite::SqliteStorage::setup(&pool).await.unwrap();
    ApalisQueue::sqlite(pool).await.unwrap();
}

/// Two ways to strand jobs: the row of a worker is deleted before its jobs were freed, and a worker comes back under the
/// name of one that died. The first is freed by the next heartbeat. The second cannot be: each worker has a new name.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_worker_whose_row_is_gone_are_freed() {
    use defer_apalis::sqlx::{Connection, SqliteConnection, query};
    let service = Service::on(Backend::Sqlite).await;
    scope(&service.runner, async { drop(Note::defer(1_u32)) }).await;
    let mut connection = SqliteConnection::connect(&service.place.url).await.unwrap();
    for sql in ["PRAGMA foreign_keys = OFF", "UPDATE Jobs SET status = 'Running', lock_by = 'gone'"] {
        query(sql).execute(&mut connection).await.unwrap();
    }
    let worker = Runs::new(service.worker());
    until_lines(&service.log, 1).await;
    worker.stop().await;
}
