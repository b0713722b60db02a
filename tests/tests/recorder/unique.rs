//! Unique keys of recorded jobs.

use super::*;

async fn sync(recorder: &Recorder) -> bool {
    scope(recorder.runner(), async { SendWelcome::defer("ada@example.com").unique("ada").is_duplicate() })
        .await
}

#[tokio::test]
async fn of_recorded_jobs_with_a_unique_key_the_first_stays_and_the_others_say_that_they_are_duplicates() {
    let log = Log::new();
    let recorder = Recorder::with(Runner::builder().state(log.clone()));
    assert_eq!([sync(&recorder).await, sync(&recorder).await, sync(&recorder).await], [false, true, true]);
    recorder.assert_deferred_times::<SendWelcome>(1);
    recorder.run_all_ok().await;
    assert_eq!(log.lines(), ["welcome, ada@example.com"]);
    assert!(!sync(&recorder).await, "one that has run is in nobody's way");
}

#[tokio::test]
async fn a_job_that_may_be_skipped_leaves_no_other_out() {
    let recorder = Recorder::new();
    for _ in 0..2 {
        scope(recorder.runner(), async { SendWelcome::defer("ada@example.com").on_success().unique("ada") })
            .await;
    }
    recorder.assert_deferred_times::<SendWelcome>(2);
}

#[tokio::test]
async fn a_job_with_a_unique_key_can_still_be_given_options_and_cancelled() {
    let recorder = Recorder::new();
    scope(recorder.runner(), async {
        SendWelcome::defer("a@b").unique("one").delay(Duration::from_secs(60)).serial("mails");
        assert!(SendWelcome::defer("c@d").unique("other").cancel());
    })
    .await;
    recorder.assert_deferred_with::<SendWelcome>(|_, with| {
        with.delay() == Some(Duration::from_secs(60)) && with.serial_key() == Some("mails")
    });
    recorder.assert_deferred_times::<SendWelcome>(1);
}

/// Its queue checks the key when it stores the job.
#[derive(Deferrable, serde::Serialize, serde::Deserialize)]
#[defer(queue)]
struct Ship;

impl Job for Ship {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.add("shipped");
        Ok(())
    }
}

#[tokio::test]
async fn a_handler_is_not_told_that_a_durable_job_is_a_duplicate() {
    let log = Log::new();
    let recorder = Recorder::with(Runner::builder().state(log.clone()));
    for _ in 0..3 {
        let is_duplicate =
            scope(recorder.runner(), async { Ship::defer().unique("truck").is_duplicate() }).await;
        assert!(!is_duplicate);
    }
    recorder.run_all_ok().await;
    assert_eq!(log.lines(), ["shipped"]);
}
