//! Jobs that a recorder keeps, of a type that runs in batches.

use std::future::ready;

use defer_core::{JobError, Runner, event::JobEventKind, testing::Recorder};

use crate::{
    common::assert_room_for,
    support::{Plain, Row, Thrice, all, defer_each, table, table_that},
};

#[tokio::test(start_paused = true)]
async fn a_recorder_runs_what_it_recorded_in_batches_and_waits_for_no_more() {
    let (table, written) = table();
    let recorder = Recorder::with(Runner::builder().state(table));
    defer_each::<Plain>(recorder.runner(), 1..=5).await;
    recorder.assert_deferred::<Row<Plain>>(|row| row.number == 4);
    assert!(recorder.recorded().iter().all(|job| job.batch_size() == Some(3)));
    assert!(written.is_empty());
    recorder.run_all_ok().await;
    assert_eq!(all(written), [vec![1, 2, 3], vec![4, 5]]);
    assert_eq!(recorder.runner().stats().succeeded, 5);
    assert_room_for(recorder.runner(), 65_536);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_a_test_keeps_runs_by_itself() {
    let (table, written) = table();
    let recorder = Recorder::with(Runner::builder().state(table));
    defer_each::<Plain>(recorder.runner(), 1..=3).await;
    let kept = recorder.recorded().remove(1);
    recorder.run_all_ok().await;
    let mut written = all(written);
    written.sort();
    assert_eq!(written, [vec![1, 3], vec![2]]);
    assert_eq!(kept.job::<Row<Plain>>().unwrap().number, 2);
}

#[tokio::test(start_paused = true)]
async fn a_faked_type_runs_in_no_batch() {
    let (table, written) = table();
    let recorder = Recorder::with(Runner::builder().state(table));
    recorder.fake::<Row<Plain>>();
    defer_each::<Plain>(recorder.runner(), 1..=2).await;
    defer_each::<Thrice>(recorder.runner(), 3..=4).await;
    recorder.run_all_ok().await;
    assert_eq!(all(written), [[3, 4]]);
    recorder.assert_deferred::<Row<Plain>>(|row| row.number == 1);
}

#[tokio::test(start_paused = true)]
async fn one_attempt_of_a_recorded_job_is_a_batch_of_its_own() {
    let (table, written) = table_that(|_| ready(Err(JobError::msg("on purpose"))));
    let recorder = Recorder::with(Runner::builder().state(table));
    let deferred = defer_each::<Thrice>(recorder.runner(), 1..=2).await;
    let ended = recorder.run_attempt(deferred[0].id(), 1).await;
    assert!(matches!(ended, JobEventKind::Retrying { .. }), "{ended:?}");
    assert_eq!(all(written), [[1]]);
}
