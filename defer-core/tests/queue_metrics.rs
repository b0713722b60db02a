//! The metrics of known types and of a queue, as an exporter has them. Each test has a recorder of its own.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use defer_core::{
    BoxError, BoxFuture, Deferrable, Job, JobContext, JobError, JobId, JobResult, JobStatus, Policy, Runner,
    defer, metrics,
    queue::{Cancel, Envelope, FailedJob, Holder, InspectQueue, NameCounts, Process, Queue, QueueCounts},
    scope,
    testing::TestQueue,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use support::{Does, Kind, Other, Plain, SECOND};

/// A recorder of this thread, until the guard is dropped.
macro_rules! exporter {
    ($exporter:ident) => {
        let recorder = PrometheusBuilder::new().build_recorder();
        let $exporter = recorder.handle();
        let _guard = ::metrics::set_default_local_recorder(&recorder);
    };
}

/// The value of a series, by its name and labels.
fn value(exporter: &PrometheusHandle, series: &str) -> Option<f64> {
    let text = exporter.render();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

/// The values of `defer_jobs_total` of a type that are not zero, in the order of their outcomes. An exporter has no order.
fn outcomes(exporter: &PrometheusHandle, name: &str) -> Vec<String> {
    let text = exporter.render();
    let start = format!("defer_jobs_total{{name=\"{name}\",outcome=");
    let of_type = text.lines().filter_map(|line| line.strip_prefix(&start));
    let mut outcomes: Vec<_> = of_type.filter(|rest| !rest.ends_with(" 0")).map(str::to_owned).collect();
    outcomes.sort();
    outcomes
}

/// Durable, and fails if it is told to.
struct Mail {
    fails: bool,
}

impl Job for Mail {
    async fn run(&self, _: &JobContext) -> JobResult {
        if self.fails { Err(JobError::msg("no such host")) } else { Ok(()) }
    }
}

impl Deferrable for Mail {
    const NAME: &'static str = "Mail";
    const POLICY: Policy = Policy::new().with_queue();
    const ENCODE: Option<fn(&Self) -> Result<Vec<u8>, BoxError>> = Some(|job| Ok(vec![job.fails.into()]));
    const DECODE: Option<fn(&[u8]) -> Result<Self, BoxError>> = Some(|text| Ok(Self { fails: text == [1] }));
}

/// A queue that others have filled.
#[derive(Clone, Default)]
struct Filled(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    counts: Vec<NameCounts>,
    holders: Vec<Holder>,
    questions: usize,
    is_away: bool,
    is_silent: bool,
}

impl Queue for Filled {
    fn push(&self, _: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async { Err("full".into()) })
    }

    fn inspect(&self) -> Option<&dyn InspectQueue> {
        Some(self)
    }
}

impl InspectQueue for Filled {
    fn counts(&self) -> BoxFuture<'_, Result<QueueCounts, BoxError>> {
        panic!("it may have to look at what is done")
    }

    fn counts_by_name(&self) -> BoxFuture<'_, Result<Vec<NameCounts>, BoxError>> {
        let mut state = self.0.lock().unwrap();
        state.questions += 1;
        let (counts, is_away, is_silent) = (state.counts.clone(), state.is_away, state.is_silent);
        Box::pin(async move {
            if is_silent {
                pending::<()>().await;
            }
            if is_away { Err("away".into()) } else { Ok(counts) }
        })
    }

    fn holders(&self) -> BoxFuture<'_, Result<Vec<Holder>, BoxError>> {
        let holders = self.0.lock().unwrap().holders.clone();
        Box::pin(async { Ok(holders) })
    }

    fn failed(&self, _: usize) -> BoxFuture<'_, Result<Vec<FailedJob>, BoxError>> {
        panic!("nobody needs it")
    }

    fn status(&self, _: JobId) -> BoxFuture<'_, Result<Option<JobStatus>, BoxError>> {
        panic!("nobody needs it")
    }

    fn retry(&self, _: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        panic!("nobody needs it")
    }

    fn cancel(&self, _: JobId) -> BoxFuture<'_, Result<Cancel, BoxError>> {
        panic!("nobody needs it")
    }
}

#[tokio::test(start_paused = true)]
async fn every_series_of_a_known_type_exists_from_the_start_as_zero() {
    exporter!(exporter);
    let runner = Runner::builder().job::<Does<Plain>>().job::<Mail>().queue(Filled::default()).build();
    metrics::record_gauges([&runner]).await;
    for name in ["Plain", "Mail"] {
        for outcome in ["succeeded", "failed", "skipped", "cancelled", "duplicate", "shed", "abandoned"] {
            let series = format!("defer_jobs_total{{name=\"{name}\",outcome=\"{outcome}\"}}");
            assert_eq!(value(&exporter, &series), Some(0.0), "{series}");
        }
        for outcome in ["succeeded", "retried", "snoozed", "failed", "panicked", "timed_out"] {
            let series = format!("defer_job_attempts_total{{name=\"{name}\",outcome=\"{outcome}\"}}");
            assert_eq!(value(&exporter, &series), Some(0.0), "{series}");
        }
        for histogram in ["run", "wait"] {
            let series = format!("defer_job_{histogram}_seconds_count{{name=\"{name}\"}}");
            assert_eq!(value(&exporter, &series), Some(0.0), "{series}");
        }
    }
    for state in ["ready", "delayed", "running", "failed"] {
        let series = format!("defer_queue_jobs{{name=\"Mail\",state=\"{state}\"}}");
        assert_eq!(value(&exporter, &series), Some(0.0), "{series}");
    }
    assert_eq!(value(&exporter, "defer_queue_oldest_due_seconds{name=\"Mail\"}"), Some(0.0));
    assert_eq!(
        value(&exporter, "defer_queue_jobs{name=\"Plain\",state=\"ready\"}"),
        None,
        "it is not durable"
    );
    for series in ["defer_queue_workers", "defer_queue_failures_total", "defer_jobs_stuck_total"] {
        assert_eq!(value(&exporter, series), Some(0.0), "{series}");
    }
    // One that nobody named, from its first job on.
    scope(&runner, async { drop(defer(Other::job(|_| pending()))) }).await;
    metrics::record_gauges([&runner]).await;
    assert_eq!(value(&exporter, "defer_jobs_total{name=\"Other\",outcome=\"failed\"}"), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_an_outcome_of_its_own() {
    exporter!(exporter);
    let runner = Runner::default();
    let plain = || Plain::job(|_| async { Ok(()) });
    scope(&runner, async { drop(defer(plain()).unique("key").delay(SECOND)) }).await;
    scope(&runner, async { drop(defer(plain()).unique("key")) }).await;
    runner.idle().await;
    assert_eq!(outcomes(&exporter, "Plain"), ["\"duplicate\"} 1", "\"succeeded\"} 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_durable_job_counts_once_where_one_process_defers_and_runs_it() {
    exporter!(exporter);
    let queue = TestQueue::new();
    let runner = Runner::builder().queue(queue.clone()).build();
    // No worker here takes it before it is on the queue.
    scope(&runner, async { drop(defer(Mail { fails: false })) }).await;
    scope(&runner, async { drop(defer(Mail { fails: true })) }).await;
    runner.idle().await;
    assert_eq!(outcomes(&exporter, "Mail"), [""; 0], "they wait");
    queue.worker(runner.clone()).job::<Mail>().run_until_empty().await;
    runner.idle().await;
    assert_eq!(outcomes(&exporter, "Mail"), ["\"failed\"} 1", "\"succeeded\"} 1"]);
}

#[tokio::test(start_paused = true)]
async fn the_gauges_of_the_queue_tell_what_it_has_and_nothing_of_what_is_gone() {
    exporter!(exporter);
    let queue = Filled::default();
    let mut mail = NameCounts::new("Mail");
    (mail.ready, mail.delayed, mail.running, mail.failed) = (4, 3, 2, 1);
    mail.oldest_due = Some(90 * SECOND);
    let holder = |names: &[&str], silent: Duration| {
        let mut holder = Holder::new("h", Process::new("host", 1), "1");
        (holder.names, holder.last_seen) = (names.iter().map(|name| (*name).to_owned()).collect(), silent);
        holder
    };
    {
        let mut state = queue.0.lock().unwrap();
        state.counts = vec![mail, NameCounts::new("Other")];
        // One that takes nothing, and one that is dead.
        state.holders = vec![holder(&["Mail"], SECOND), holder(&[], SECOND), holder(&["Mail"], 99 * SECOND)];
    }
    let runner = Runner::builder().queue(queue.clone()).max_running(7).build();
    metrics::record_gauges([&runner]).await;
    let jobs =
        |state: &str| value(&exporter, &format!("defer_queue_jobs{{name=\"Mail\",state=\"{state}\"}}"));
    let all = || ["ready", "delayed", "running", "failed"].map(|state| jobs(state).unwrap());
    let oldest = "defer_queue_oldest_due_seconds{name=\"Mail\"}";
    assert_eq!((all(), value(&exporter, oldest)), ([4.0, 3.0, 2.0, 1.0], Some(90.0)));
    assert_eq!(value(&exporter, "defer_queue_workers"), Some(1.0));
    assert_eq!(value(&exporter, "defer_jobs_max_running"), Some(7.0));
    queue.0.lock().unwrap().counts.clear();
    tokio::time::advance(SECOND).await;
    metrics::record_gauges([&runner]).await;
    assert_eq!((all(), value(&exporter, oldest)), ([0.0; 4], Some(0.0)));
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_asked_at_most_once_a_second_whoever_scrapes() {
    exporter!(_exporter);
    let queue = Filled::default();
    let runner = Runner::builder().queue(queue.clone()).build();
    let asked = || queue.0.lock().unwrap().questions;
    // Ten seconds, with twenty at once each tenth of a second.
    for tenth in 0..100 {
        let scrape = |runner: Runner| async move { metrics::record_gauges([&runner]).await };
        let all: Vec<_> = (0..20).map(|_| tokio::spawn(scrape(runner.clone()))).collect();
        for scrape in all {
            scrape.await.unwrap();
        }
        assert_eq!(asked(), tenth / 10 + 1);
        tokio::time::advance(SECOND / 10).await;
    }
    queue.0.lock().unwrap().is_silent = true;
    for _ in 0..100 {
        metrics::record_gauges([&runner]).await;
        tokio::time::advance(SECOND).await;
    }
    assert_eq!(asked(), 11, "one question is open at a time, and nobody waits for it for long");
}

#[tokio::test(start_paused = true)]
async fn what_the_queue_fails_at_is_counted_and_its_gauges_stay() {
    exporter!(exporter);
    let queue = Filled::default();
    let mut mail = NameCounts::new("Mail");
    mail.ready = 4;
    queue.0.lock().unwrap().counts = vec![mail];
    let runner = Runner::builder().queue(queue.clone()).build();
    metrics::record_gauges([&runner]).await;
    queue.0.lock().unwrap().is_away = true;
    tokio::time::advance(SECOND).await;
    metrics::record_gauges([&runner]).await;
    assert_eq!(value(&exporter, "defer_queue_failures_total"), Some(1.0));
    assert_eq!(value(&exporter, "defer_queue_jobs{name=\"Mail\",state=\"ready\"}"), Some(4.0));
    // A job that it does not take.
    scope(&runner, async { drop(defer(Mail { fails: false })) }).await;
    runner.idle().await;
    assert_eq!(value(&exporter, "defer_queue_failures_total"), Some(2.0));
    assert_eq!(outcomes(&exporter, "Mail"), ["\"succeeded\"} 1"]);
}
