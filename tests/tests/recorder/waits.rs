//! Delays, backoffs and snoozes, without a paused clock.

use std::sync::atomic::{AtomicU32, Ordering};

use defer_tests::in_time;

use super::*;

/// Polls, and snoozes for an hour.
#[derive(Deferrable)]
struct Polls {
    times: u32,
}

#[derive(Default)]
struct Looked(AtomicU32);

impl Job for Polls {
    async fn run(&self, cx: &JobContext) -> JobResult {
        if cx.state::<Looked>()?.0.fetch_add(1, Ordering::Relaxed) < self.times {
            return Err(JobError::snooze(Duration::from_secs(3600)));
        }
        Ok(())
    }
}

#[tokio::test]
async fn waits_elapse_at_once_when_they_are_skipped() {
    let log = Log::new();
    let recorder = Recorder::with(Runner::builder().state(log.clone()).state(Looked::default()));
    recorder.skip_waits();
    scope(recorder.runner(), async {
        Call::defer("succeeds").delay(Duration::from_secs(3600));
        Call::defer("fails once");
        Polls::defer(3_u32);
    })
    .await;
    in_time(recorder.run_all_ok()).await;
    let mut lines = log.lines();
    lines.sort_unstable();
    assert_eq!(lines, ["fails once 1", "fails once 2", "succeeds 1"]);
    assert_eq!(recorder.runner().stats().succeeded, 3);
}

#[tokio::test]
async fn a_wait_that_is_skipped_is_told_as_it_is() {
    let recorder = Recorder::with(Runner::builder().state(Log::new()));
    recorder.skip_waits();
    let hour = Duration::from_secs(3600);
    let id = scope(recorder.runner(), async { Call::defer("fails").delay(hour).id() }).await;
    assert_eq!(recorder.recorded()[0].delay(), Some(hour));
    let ended = in_time(recorder.run_attempt(id, 1)).await;
    assert!(matches!(ended, JobEventKind::Retrying { delay, .. } if delay == hour), "{ended:?}");
}

#[tokio::test]
async fn a_job_that_snoozes_forever_ends_the_test_with_its_name() {
    let recorder = Recorder::with(Runner::builder().state(Looked::default()));
    recorder.skip_waits();
    scope(recorder.runner(), async { Polls::defer(u32::MAX) }).await;
    let message = in_time(panic_in(async move { recorder.run_all().await })).await;
    for part in ["`Polls` has snoozed 1000 times", "waits.rs:"] {
        assert!(message.contains(part), "{part} in {message}");
    }
}
