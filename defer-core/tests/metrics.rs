//! The metrics of jobs in an exporter. In a file of its own, because a process has one recorder.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{collections::BTreeMap, sync::Arc};

use defer_core::{JobError, Overflow, Runner, defer, defer_fn, metrics, scope};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use support::{Kind, Plain, SECOND, Twice, assert_all_accounted_for};
use tokio::sync::Semaphore;

/// Returns the samples that an exporter wrote, by their names and labels. Strict: a line is a comment that it knows, or a sample.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut typed = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            let (kind, rest) = comment.split_once(' ').unwrap();
            let (name, what) = rest.split_once(' ').unwrap();
            assert!(!what.is_empty());
            match kind {
                "HELP" => {}
                "TYPE" => {
                    assert!(matches!(what, "counter" | "gauge" | "histogram"), "{line}");
                    typed.push(name.to_owned());
                }
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{line}");
        let of = typed.iter().any(|typed| {
            name.strip_prefix(typed.as_str())
                .is_some_and(|rest| matches!(rest, "" | "_bucket" | "_sum" | "_count"))
        });
        assert!(of, "no type: {line}");
        if let Some(labels) = series.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            let labels = labels.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
            for label in labels.split(',') {
                let (key, value) = label.split_once("=\"").unwrap();
                assert!(matches!(key, "name" | "outcome" | "le"), "{line}");
                assert!(value.ends_with('"'), "{line}");
            }
        }
        assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
    }
    samples
}

fn total(samples: &BTreeMap<String, f64>, metric: &str, label: &str) -> u64 {
    let of = samples.iter().filter(|(series, _)| series.starts_with(metric) && series.contains(label));
    of.map(|(_, value)| *value as u64).sum()
}

#[tokio::test(start_paused = true)]
async fn the_metrics_are_those_of_the_runner() {
    let buckets = Matcher::Prefix("defer_job_".into());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(buckets, &metrics::BUCKETS).unwrap();
    let exporter = builder.install_recorder().unwrap();
    let runner = Runner::builder().max_running(1).max_pending(3).overflow(Overflow::Shed).build();
    let gate = Arc::new(Semaphore::new(0));
    let turn = gate.clone();
    scope(&runner, async {
        // A marker, which must be nowhere.
        let secret = "marker-4711".to_owned();
        defer(Plain::job(move |_| {
            let (turn, secret) = (turn.clone(), secret.clone());
            async move {
                drop(turn.acquire().await);
                tokio::time::sleep(SECOND).await;
                assert!(!secret.is_empty());
                Ok(())
            }
        }));
    })
    .await;
    tokio::task::yield_now().await;
    scope(&runner, async {
        defer(Twice::job(|cx| {
            let first = cx.attempt() == 1;
            async move { if first { Err(JobError::msg("once")) } else { Ok(()) } }
        }));
        defer(Plain::job(|_| async { Err(JobError::msg("down")) })).cancel();
        defer(Plain::job(|_| async { Err(JobError::msg("down")) }));
        defer_fn(|_| async { assert!(std::env::args().count() == 0, "on purpose") });
    })
    .await;
    // There is no room for it.
    scope(&runner, async { drop(defer(Plain::job(|_| async { Ok(()) }))) }).await;
    tokio::time::sleep(3 * SECOND).await;

    metrics::record_gauges([&runner]).await;
    let now = samples(&exporter.render());
    assert_eq!((now["defer_jobs_pending"], now["defer_jobs_running"]), (3.0, 1.0));
    assert_eq!(now["defer_oldest_pending_seconds"], 3.0);
    gate.add_permits(1);
    support::quiet_panics();
    runner.idle().await;
    assert_all_accounted_for(&runner);

    metrics::record_gauges([&runner, &Runner::default()]).await;
    let text = exporter.render();
    assert!(!text.contains("4711") && !text.contains("down"), "{text}");
    for help in ["# HELP defer_jobs_total Jobs that have ended", "# TYPE defer_job_run_seconds histogram"] {
        assert!(text.contains(help), "{text}");
    }
    let ended = samples(&text);
    let stats = runner.stats();
    for (outcome, count) in [
        ("succeeded", stats.succeeded),
        ("failed", stats.failed),
        ("cancelled", stats.cancelled),
        ("shed", stats.shed),
        ("skipped", stats.skipped),
    ] {
        assert_eq!(total(&ended, "defer_jobs_total", &format!("outcome=\"{outcome}\"")), count, "{outcome}");
    }
    assert_eq!((stats.succeeded, stats.failed, stats.cancelled, stats.shed, stats.retried), (2, 2, 1, 1, 1));
    assert_eq!(total(&ended, "defer_jobs_total", ""), stats.deferred);
    assert_eq!(total(&ended, "defer_job_attempts_total", "outcome=\"retried\""), stats.retried);
    assert_eq!(total(&ended, "defer_job_attempts_total", "outcome=\"panicked\""), 1);
    // The first ran for four seconds, and those behind it waited for that.
    assert_eq!(ended["defer_job_run_seconds_sum{name=\"Plain\"}"], 4.0);
    assert_eq!(ended["defer_job_run_seconds_bucket{name=\"Plain\",le=\"2.5\"}"], 1.0);
    assert_eq!(ended["defer_job_run_seconds_bucket{name=\"Plain\",le=\"5\"}"], 2.0);
    assert_eq!(total(&ended, "defer_job_wait_seconds_count", ""), 5);
    assert_eq!(ended["defer_job_wait_seconds_sum{name=\"Twice\"}"], 4.0, "its backoff is no wait");
    assert_eq!((ended["defer_jobs_pending"], ended["defer_oldest_pending_seconds"]), (0.0, 0.0));
}
