//! Jobs that hold their thread.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{sync::Mutex, time::Duration};

use defer_core::{Runner, defer, defer_fn, event::JobEventKind, scope};
use support::{Blocking, Kind, Limited, Log, Plain, Release, SECOND, assert_all_accounted_for};
use tokio::sync::mpsc;

const LIMIT: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_job_that_never_yields_is_named_while_it_holds_its_thread() {
    let log = Log::capture_everywhere();
    let (stuck, mut told) = mpsc::unbounded_channel();
    let runner = Runner::builder()
        .stuck_after(LIMIT)
        .on_event(move |event| {
            if let JobEventKind::Stuck { elapsed, .. } = event.kind() {
                stuck.send((event.name(), event.id(), event.attempt(), elapsed)).unwrap();
            }
        })
        .build();
    let release = Release::new();
    let spin = release.spin();
    let mut id = None;
    let list = scope(&runner, async {
        // Its time limit cannot fire meanwhile.
        id = Some(
            defer(Limited::job(move |_| {
                spin();
                async { Ok(()) }
            }))
            .id(),
        );
    });
    list.await;
    let (name, of, attempt, elapsed) = told.recv().await.unwrap();
    assert_eq!((name, Some(of), attempt), ("Limited", id, 1));
    assert!(elapsed >= LIMIT);
    assert_eq!(runner.stats().running, 1, "it goes on");
    let spin = release.spin();
    scope(&runner, async {
        defer(Plain::job(move |_| {
            spin();
            async { Ok(()) }
        }));
    })
    .await;
    let (name, ..) = told.recv().await.unwrap();
    assert_eq!(name, "Plain", "the first is named once, however often it is looked at until then");
    drop(release);
    runner.idle().await;
    let id = format!("id={of}");
    assert_eq!(
        log.lines_with(&["WARN", "job is blocking its thread", "job=\"Limited\"", &id, "attempt=1"]),
        1
    );
    assert_all_accounted_for(&runner);
}

/// With a limit of nothing each look finds every job that is watched and is polled just then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_on_the_blocking_pool_may_block() {
    let (stuck, mut told) = mpsc::unbounded_channel();
    let runner = Runner::builder()
        .stuck_after(Duration::ZERO)
        .on_event(move |event| {
            if matches!(event.kind(), JobEventKind::Stuck { .. }) {
                stuck.send(event.name()).unwrap();
            }
        })
        .build();
    let release = Release::new();
    let (began, begun) = tokio::sync::oneshot::channel();
    let (spin, blocks, began) = (release.spin(), release.spin(), Mutex::new(Some(began)));
    scope(&runner, async {
        defer(Blocking::job(move |_| {
            began.lock().unwrap().take().unwrap().send(()).unwrap();
            blocks();
            async { Ok(()) }
        }));
    })
    .await;
    begun.await.unwrap();
    scope(&runner, async {
        defer(Limited::job(move |_| {
            spin();
            async { Ok(()) }
        }));
    })
    .await;
    assert_eq!(told.recv().await, Some("Limited"), "the other had been there for longer");
    drop(release);
    runner.idle().await;
    assert!(told.try_recv().is_err());
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_watched_is_a_job_like_any_other() {
    support::quiet_panics();
    let runner = Runner::builder().stuck_after(SECOND).build();
    scope(&runner, async {
        defer(Limited::job(|_| async { panic!("on purpose") }));
        defer(Limited::job(|_| std::future::pending()));
        defer_fn(|_| async {});
    })
    .await;
    runner.idle().await;
    assert_eq!((runner.stats().failed, runner.stats().succeeded), (2, 1));
    assert_all_accounted_for(&runner);
}
