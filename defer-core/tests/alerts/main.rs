//! The alert rules of the guide, on what a real exporter says before and after each fault.
//!
//! Time is paused in each test that sleeps: a sleep lets virtual time pass.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod promql;
#[path = "../support/mod.rs"]
mod support;

use std::{collections::BTreeMap, future::pending, time::Duration};

use defer_core::{
    BoxError, Deferrable, Job, JobContext, JobError, JobResult, Overflow, Policy, Runner, RunnerBuilder,
    defer, metrics,
    queue::{Holder, NameCounts, Process},
    scope,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use promql::{Samples, evaluate, scrape};
use support::{Does, Kind, Other, Patient, Plain, Release, Rows, SECOND};

/// The rules: each alert's expression.
fn rules() -> BTreeMap<String, String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../defer-axum/src/guide/alerts.yml");
    let text = std::fs::read_to_string(path).unwrap();
    let mut rules = BTreeMap::new();
    let mut alert = None;
    for line in text.lines() {
        if let Some(name) = line.trim().strip_prefix("- alert: ") {
            assert_eq!(alert.replace(name.to_owned()), None, "an alert without an expression");
        } else if let Some(expression) = line.trim().strip_prefix("expr: ") {
            rules.insert(alert.take().unwrap(), expression.to_owned());
        }
    }
    rules
}

/// A durable job.
struct Mail;

impl Job for Mail {
    async fn run(&self, _: &JobContext) -> JobResult {
        Ok(())
    }
}

impl Deferrable for Mail {
    const NAME: &'static str = "Mail";
    const POLICY: Policy = Policy::new().with_queue();
    const ENCODE: Option<fn(&Self) -> Result<Vec<u8>, BoxError>> = Some(|_| Ok(Vec::new()));
    const DECODE: Option<fn(&[u8]) -> Result<Self, BoxError>> = Some(|_| Ok(Self));
}

/// A service with an exporter of its own.
struct Service {
    runner: Runner,
    queue: Rows,
    exporter: PrometheusHandle,
}

impl Service {
    async fn scrape(&self) -> Samples {
        tokio::time::advance(SECOND).await;
        metrics::record_gauges([&self.runner]).await;
        scrape(&self.exporter.render())
    }

    async fn defer<K: Kind>(&self, job: Does<K>) {
        scope(&self.runner, async { drop(defer(job)) }).await;
        tokio::task::yield_now().await;
    }
}

/// Returns which alerts fire after this fault. It checks that none does before it.
async fn alerts(
    settings: fn(RunnerBuilder) -> RunnerBuilder,
    fault: impl AsyncFnOnce(&Service),
) -> Vec<String> {
    let buckets = Matcher::Prefix("defer_job_".into());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(buckets, &metrics::BUCKETS).unwrap();
    let recorder = builder.build_recorder();
    let exporter = recorder.handle();
    let _guard = ::metrics::set_default_local_recorder(&recorder);
    let queue = Rows::default();
    let mut worker = Holder::new("w", Process::new("host", 1), "1");
    worker.names = vec!["Mail".to_owned()];
    queue.set_holders(vec![worker]);
    let runner = settings(Runner::builder()).job::<Does<Plain>>().job::<Does<Patient>>().job::<Mail>();
    let service = Service { runner: runner.queue(queue.clone()).build(), queue, exporter };
    let firing = |before: &Samples, now: &Samples| {
        let fires =
            |(alert, rule): (String, String)| (!evaluate(&rule, before, now).is_empty()).then_some(alert);
        rules().into_iter().filter_map(fires).collect::<Vec<_>>()
    };
    let before = service.scrape().await;
    // A job that goes well.
    service.defer(Plain::job(|_| async { Ok(()) })).await;
    let well = service.scrape().await;
    assert_eq!(firing(&before, &well), [""; 0], "all is well");
    fault(&service).await;
    firing(&well, &service.scrape().await)
}

fn as_it_is(builder: RunnerBuilder) -> RunnerBuilder {
    builder
}

fn fails() -> Does<Plain> {
    Plain::job(|_| async { Err(JobError::msg("no such host")) })
}

fn lasts(seconds: u64) -> Does<Plain> {
    Plain::job(move |_| async move {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        Ok(())
    })
}

#[tokio::test(start_paused = true)]
async fn each_alert_fires_at_its_fault_and_not_before() {
    let mut fired: Vec<String> = Vec::new();
    let mut check = |alerts: Vec<String>, expected: &[&str]| {
        assert_eq!(alerts, expected);
        fired.extend(alerts);
    };
    // The first failure of a type, in a process that never had one.
    check(
        alerts(as_it_is, async |service| service.defer(fails()).await).await,
        &["JobFailed", "JobsFailing"],
    );
    let abandons = async |service: &Service| {
        service.defer(Plain::job(|_| pending())).await;
        service.runner.shutdown(Duration::ZERO).await;
    };
    check(alerts(as_it_is, abandons).await, &["JobFailed"]);
    let sheds = async |service: &Service| {
        for _ in 0..3 {
            service.defer(lasts(1)).await;
        }
        service.runner.idle().await;
    };
    check(
        alerts(|builder| builder.max_running(1).max_pending(1).overflow(Overflow::Shed), sheds).await,
        &["JobsShed"],
    );
    let retries = async |service: &Service| {
        for _ in 0..3 {
            service.defer(Patient::job(|_| async { Err(JobError::msg("no answer")) })).await;
        }
    };
    check(alerts(as_it_is, retries).await, &["RetryStorm"]);
    // Another waits behind one that lasts.
    let waits = async |service: &Service| {
        service.defer(lasts(90)).await;
        service.defer(Other::job(|_| async { Ok(()) })).await;
        tokio::time::sleep(60 * SECOND).await;
    };
    check(
        alerts(|builder| builder.max_running(1), waits).await,
        &["JobsLate", "JobsSaturated", "JobsStoppedRunning"],
    );
    let waited = async |service: &Service| {
        service.defer(lasts(9)).await;
        service.defer(Plain::job(|_| async { Ok(()) })).await;
        service.runner.idle().await;
    };
    check(alerts(|builder| builder.max_running(1), waited).await, &["JobsWait"]);
    let late = async |service: &Service| {
        let mut mail = NameCounts::new("Mail");
        (mail.ready, mail.oldest_due) = (1, Some(301 * SECOND));
        service.queue.set_counts(vec![mail]);
    };
    check(alerts(as_it_is, late).await, &["QueueLate"]);
    let has_failed = async |service: &Service| {
        let mut mail = NameCounts::new("Mail");
        mail.failed = 1;
        service.queue.set_counts(vec![mail]);
    };
    check(alerts(as_it_is, has_failed).await, &["QueueHasFailures"]);
    let loses_worker = async |service: &Service| service.queue.set_holders(Vec::new());
    check(alerts(as_it_is, loses_worker).await, &["QueueWithoutWorkers"]);
    let is_away = async |service: &Service| service.queue.cut_off(true);
    check(alerts(as_it_is, is_away).await, &["QueueAway"]);
    let never: Vec<_> = rules().into_keys().filter(|alert| !fired.contains(alert)).collect();
    assert_eq!(never, ["JobsStuck"], "it is told of from another thread: see the test below");
}

/// The watchdog tells from its own thread, which has no recorder but the process's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_alert_of_a_job_that_blocks_its_thread_fires() {
    let exporter = PrometheusBuilder::new().install_recorder().unwrap();
    let (stuck, mut told) = tokio::sync::mpsc::unbounded_channel();
    let runner = Runner::builder().stuck_after(Duration::from_millis(20)).build();
    // Added behind the one that counts.
    runner.on_event(move |event| {
        if let defer_core::event::JobEventKind::Stuck { .. } = event.kind() {
            stuck.send(()).unwrap();
        }
    });
    let before = scrape(&exporter.render());
    let release = Release::new();
    let spin = release.spin();
    scope(&runner, async {
        defer(Other::job(move |_| {
            spin();
            async { Ok(()) }
        }));
    })
    .await;
    // Only a failing test waits this long.
    tokio::time::timeout(60 * SECOND, told.recv()).await.expect("the watchdog tells").unwrap();
    drop(release);
    let rule = &rules()["JobsStuck"];
    assert!(evaluate(rule, &before, &before).is_empty());
    assert_eq!(evaluate(rule, &before, &scrape(&exporter.render())).len(), 1);
    runner.idle().await;
}
