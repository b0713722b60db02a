//! Faked types among others.

use super::*;

/// Defers another job.
#[derive(Deferrable)]
struct CloseOrder;

impl Job for CloseOrder {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.add("closed");
        Charge::defer(42_u32).delay(Duration::from_secs(3600)).serial("charges");
        Ok(())
    }
}

#[derive(Debug, Deferrable)]
struct Charge {
    cents: u32,
}

impl Job for Charge {
    async fn run(&self, _: &JobContext) -> JobResult {
        panic!("a card is charged: {}", self.cents)
    }
}

#[tokio::test]
async fn a_faked_type_stays_recorded_while_the_others_run() {
    let log = Log::new();
    let recorder = Recorder::with(Runner::builder().state(log.clone()));
    recorder.fake::<Charge>();
    recorder.skip_waits();
    scope(recorder.runner(), async {
        Charge::defer(1_u32);
        CloseOrder::defer();
    })
    .await;
    recorder.run_all_ok().await;
    assert_eq!(log.lines(), ["closed"]);
    recorder.assert_order(&["Charge", "Charge"]);
    recorder.assert_deferred::<Charge>(|charge| charge.cents == 1);
    recorder.assert_deferred_with::<Charge>(|charge, with| {
        charge.cents == 42
            && with.delay() == Some(Duration::from_secs(3600))
            && with.serial_key() == Some("charges")
    });
    recorder.run_all_ok().await;
    recorder.assert_deferred_times::<Charge>(2);
}

#[tokio::test]
async fn a_faked_job_is_asked_for_its_condition() {
    let recorder = Recorder::new();
    recorder.fake::<Charge>();
    scope(recorder.runner(), async { Charge::defer(1_u32).when(|_| false) }).await;
    recorder.run_all_after(ResponseInfo::new(Delivery::Sent)).await;
    recorder.assert_none::<Charge>();
    assert_eq!(recorder.runner().stats().skipped, 1);
}
