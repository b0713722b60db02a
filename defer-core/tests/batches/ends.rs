//! How the jobs of a batch end: each by itself.

use std::{
    future::{pending, ready},
    sync::Arc,
};

use defer_core::{Cancel, JobError, Runner, ShutdownReport, defer, scope};
use tokio::{sync::Notify, time::Instant};

use crate::{
    common::{Events, Journal, OnDrop, SECOND, assert_all_accounted_for, assert_room_for, quiet_panics},
    support::{
        HOUR, Limited, Plain, Soon, Table, Thrice, Twice, all, defer_each, in_time, slow_table, table,
        table_that,
    },
};

/// A table that takes no batch with this row.
fn table_without(bad: u32) -> (Table, crate::support::Written) {
    table_that(move |rows| {
        ready(if rows.contains(&bad) { Err(JobError::msg("on purpose").fatal()) } else { Ok(()) })
    })
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_is_tried_again_and_at_last_each_job_by_itself() {
    let events = Events::default();
    let (table, written) = table_without(2);
    let runner = events.runner().state(table).build();
    defer_each::<Thrice>(&runner, 1..=3).await;
    in_time(runner.idle()).await;
    let mut written = all(written);
    assert_eq!(written[..2], [[1, 2, 3], [1, 2, 3]]);
    written[2..].sort();
    assert_eq!(written[2..], [[1], [2], [3]]);
    assert_eq!((runner.stats().succeeded, runner.stats().failed, runner.stats().retried), (2, 1, 6));
    assert_eq!((events.count("Started"), events.count("Failed")), (9, 1));
    assert_all_accounted_for(&runner);
    assert_room_for(&runner, 65_536);
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_with_one_attempt_all_fail() {
    let events = Events::default();
    let (table, written) = table_without(2);
    let runner = events.runner().state(table).build();
    defer_each::<Plain>(&runner, 1..=3).await;
    in_time(runner.idle()).await;
    assert_eq!(all(written), [[1, 2, 3]]);
    assert_eq!(events.errors_of("Plain"), ["on purpose"; 3]);
    assert_eq!(runner.stats().failed, 3);
}

#[tokio::test(start_paused = true)]
async fn a_fatal_error_of_a_single_job_is_its_own() {
    let (table, written) = table_without(2);
    let runner = Runner::builder().state(table).build();
    defer_each::<Thrice>(&runner, [2]).await;
    in_time(runner.idle()).await;
    assert_eq!(all(written), [[2]], "it was not tried again");
    assert_eq!(runner.stats().failed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_panics_panics_for_each_of_its_jobs() {
    quiet_panics();
    let events = Events::default();
    let (table, written) = table_that(|rows| {
        assert!(rows.len() == 1, "on purpose");
        ready(Ok(()))
    });
    let runner = events.runner().state(table).build();
    defer_each::<Plain>(&runner, 1..=3).await;
    defer_each::<Twice>(&runner, 1..=3).await;
    in_time(runner.idle()).await;
    assert_eq!((events.count("Panicked"), events.count("Retrying")), (3, 3));
    assert!(events.errors_of("Plain").iter().all(|error| error == "panicked: on purpose"));
    assert_eq!((runner.stats().failed, runner.stats().succeeded), (3, 3));
    assert_eq!(all(written).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_takes_too_long_is_dropped_and_its_jobs_are_tried_by_themselves() {
    let (events, journal) = (Events::default(), Journal::default());
    let dropped = journal.clone();
    let table = Table::new(move |rows, _| {
        let dropped = dropped.clone();
        async move {
            if rows.len() > 1 {
                let _dropped = OnDrop(|| dropped.note("dropped"));
                pending::<()>().await;
            }
            dropped.note(format!("{rows:?}"));
            Ok(())
        }
    });
    let runner = events.runner().max_running(1).state(table).build();
    defer_each::<Limited>(&runner, 1..=2).await;
    in_time(runner.idle()).await;
    let mut lines = journal.lines();
    lines[1..].sort();
    assert_eq!(lines, ["dropped", "[1]", "[2]"]);
    assert_eq!(events.errors_of("Limited"), ["took longer than its limit of 1s"; 2]);
    assert_eq!(runner.stats().succeeded, 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_given_up_is_told_with_its_own_context() {
    let journal = Journal::default();
    let told = journal.clone();
    let table = Table::new(|_, _| ready(Err(JobError::msg("on purpose"))))
        .on_failed(move |row, cx, error| told.note(format!("{row} {} {} {error}", cx.id(), cx.attempt())));
    let runner = Runner::builder().state(table).build();
    let deferred = defer_each::<Plain>(&runner, 1..=2).await;
    in_time(runner.idle()).await;
    let expected = [1, 2].map(|row| format!("{row} {} 1 on purpose", deferred[row - 1].id()));
    assert_eq!(journal.lines(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_batch_may_say_when_its_jobs_are_to_be_tried_again() {
    let answers = Arc::new(std::sync::Mutex::new(vec![
        Ok(()),
        Err(JobError::msg("busy").retry_after(SECOND * 60)),
        Err(JobError::snooze(SECOND * 60)),
    ]));
    let (table, written) = table_that(move |_| ready(answers.lock().unwrap().pop().unwrap_or(Ok(()))));
    let runner = Runner::builder().state(table).build();
    let since = Instant::now();
    defer_each::<Thrice>(&runner, 1..=2).await;
    in_time(runner.idle()).await;
    assert_eq!(all(written), [[1, 2], [1, 2], [1, 2]], "a snooze spends no attempt");
    assert_eq!(since.elapsed(), SECOND * 120);
}

#[tokio::test(start_paused = true)]
async fn one_job_that_is_cancelled_while_its_batch_runs_ends_so_and_the_others_go_on() {
    let (table, _written, started) = slow_table();
    let runner = Runner::builder().state(table).build();
    let deferred = defer_each::<Plain>(&runner, 1..=3).await;
    in_time(started.notified()).await;
    assert_eq!(runner.cancel(deferred[1].id()).await, Cancel::Asked);
    in_time(runner.idle()).await;
    assert_eq!((runner.stats().succeeded, runner.stats().cancelled), (2, 1));
}

/// A batch that never ends, and says when it starts and when it is dropped.
fn endless() -> (Table, Arc<Notify>, Arc<Notify>) {
    let (starts, drops) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (started, dropped) = (starts.clone(), drops.clone());
    let table = Table::new(move |_, _| {
        let (starts, drops) = (starts.clone(), drops.clone());
        async move {
            let _dropped = OnDrop(|| drops.notify_one());
            starts.notify_one();
            pending().await
        }
    });
    (table, started, dropped)
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_jobs_were_all_cancelled_is_dropped() {
    let (table, started, dropped) = endless();
    let runner = Runner::builder().max_running(1).state(table).build();
    let deferred = defer_each::<Plain>(&runner, 1..=3).await;
    in_time(started.notified()).await;
    for deferred in deferred {
        runner.cancel(deferred.id()).await;
    }
    in_time(dropped.notified()).await;
    in_time(runner.idle()).await;
    assert_eq!(runner.stats().cancelled, 3);
    assert_room_for(&runner, 65_536);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_begins_with_the_batches_that_form() {
    let (table, written) = table();
    let runner = Runner::builder().state(table).build();
    defer_each::<Plain>(&runner, 1..=2).await;
    defer_each::<Soon>(&runner, [3]).await;
    tokio::time::sleep(SECOND / 2).await;
    let since = Instant::now();
    let report = runner.shutdown(HOUR).await;
    assert_eq!(since.elapsed(), std::time::Duration::ZERO);
    assert_eq!((report.completed, report.unfinished), (3, vec![]));
    let mut written = all(written);
    written.sort();
    assert_eq!(written, [vec![1, 2], vec![3]]);
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_of_a_shutdown_a_batch_is_stopped_and_each_job_named() {
    let (table, started, dropped) = endless();
    let runner = Runner::builder().max_running(1).state(table).build();
    let mut ids: Vec<_> = defer_each::<Plain>(&runner, 1..=3).await.iter().map(|job| job.id()).collect();
    in_time(started.notified()).await;
    // They wait for the one that runs.
    ids.extend(defer_each::<Plain>(&runner, 4..=5).await.iter().map(|job| job.id()));
    let report: ShutdownReport = runner.shutdown(SECOND).await;
    assert_eq!(report.unfinished.iter().map(|job| job.id).collect::<Vec<_>>(), ids);
    in_time(dropped.notified()).await;
    assert_eq!(runner.stats().abandoned, 5);
    assert_all_accounted_for(&runner);
}

#[test]
fn jobs_of_a_runtime_that_is_dropped_are_counted_as_abandoned() {
    let (table, started, dropped) = endless();
    let runner = Runner::builder().max_running(1).state(table).build();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        defer_each::<Plain>(&runner, 1..=3).await;
        started.notified().await;
        defer_each::<Plain>(&runner, 4..=5).await;
        scope(&runner, async { defer(crate::support::Kind::row(6) as crate::support::Row<Soon>) }).await;
    });
    drop(runtime);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(dropped.notified());
    runtime.block_on(runner.idle());
    assert_eq!(runner.stats().abandoned, 6);
    assert_all_accounted_for(&runner);
    // Its permit is free.
    runtime.block_on(async {
        defer_each::<Plain>(&runner, 7..=9).await;
        started.notified().await;
    });
}
