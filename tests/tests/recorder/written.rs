//! Durable jobs, without a database.

use std::sync::atomic::{AtomicU32, Ordering};

use defer_axum::{
    DeferLayer, JobStatus,
    queue::{Cancel, InspectQueue as _, OnQueueFailure},
    testing::TestQueue,
};
use defer_tests::in_time;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Clone, Debug, PartialEq, Eq, Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 3, backoff = "1h..1h")]
struct Ship {
    order: u32,
    fails: u32,
}

impl Job for Ship {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let delivery = cx.response().map(|response| response.delivery());
        cx.state::<Log>()?.add(format!("{} {} {delivery:?}", self.order, cx.attempt()));
        if cx.attempt() <= self.fails { Err(JobError::msg("no driver")) } else { Ok(()) }
    }
}

struct Service {
    queue: TestQueue,
    runner: Runner,
    log: Log,
    failures: Arc<AtomicU32>,
}

impl Service {
    fn new(then: OnQueueFailure) -> Self {
        let (queue, log, failures) = (TestQueue::new(), Log::new(), Arc::new(AtomicU32::new(0)));
        let counted = failures.clone();
        let runner = Runner::builder()
            .state(log.clone())
            .queue(queue.clone())
            .on_queue_failure(then)
            .on_event(move |event| {
                let has_failed = matches!(event.kind(), JobEventKind::QueueFailed { .. });
                counted.fetch_add(u32::from(has_failed), Ordering::Relaxed);
            })
            .build();
        Self { queue, runner, log, failures }
    }

    /// Makes a request, and returns its unread response.
    async fn ask(&self, handler: fn()) -> axum::response::Response {
        let handler = async move || {
            handler();
            "shipped"
        };
        let app = Router::new().route("/", get(handler)).layer(DeferLayer::new(self.runner.clone()));
        app.oneshot(Request::new(Body::empty())).await.unwrap()
    }
}

#[tokio::test]
async fn a_durable_job_is_written_before_the_response_and_runs_here_after_it() {
    let service = Service::new(OnQueueFailure::RunHere);
    let worker = service.queue.worker(service.runner.clone()).job::<Ship>();
    let response = service.ask(|| drop(Ship::defer(7_u32, 0_u32))).await;
    let [written] = &service.queue.written::<Ship>()[..] else { panic!("{:?}", service.queue) };
    assert_eq!(written.job, Ship { order: 7, fails: 0 });
    assert_eq!(written.envelope.payload, br#"{"order":7,"fails":0}"#);
    assert_eq!((&written.status, service.log.lines().len()), (&JobStatus::Pending, 0));
    drop(response.into_body().collect().await);
    service.runner.idle().await;
    assert_eq!(service.log.lines(), ["7 1 Some(Finished)"]);
    assert_eq!(service.queue.written::<Ship>()[0].status, JobStatus::Succeeded);
    worker.run_until_empty().await;
    assert_eq!(service.log.lines().len(), 1);
}

#[tokio::test]
async fn what_does_not_run_here_runs_on_a_worker_and_waits_can_be_skipped() {
    let service = Service::new(OnQueueFailure::RunHere);
    service.queue.skip_waits();
    let response = service.ask(|| {
        Ship::defer(1_u32, 0_u32);
        Ship::defer(2_u32, 2_u32).delay(Duration::from_secs(3600)).serial("truck").unique("2");
        Ship::defer(2_u32, 2_u32).unique("2");
    });
    drop(response.await);
    service.runner.idle().await;
    assert_eq!(service.log.lines(), [""; 0], "no worker takes the type");
    let written = service.queue.written::<Ship>();
    let (serial, unique) = (&written[1].envelope.serial, &written[1].envelope.unique);
    assert_eq!((serial.as_deref(), unique.as_deref()), (Some("truck"), Some("2")));
    assert_eq!(written[2].status, JobStatus::duplicate(written[1].envelope.id));

    let worker = service.queue.worker(service.runner.clone()).job::<Ship>();
    in_time(worker.run_until_empty()).await;
    let mut lines = service.log.lines();
    lines.sort_unstable();
    let told = "Some(Disconnected)";
    assert_eq!(
        lines,
        [format!("1 1 {told}"), format!("2 1 {told}"), format!("2 2 {told}"), format!("2 3 {told}")]
    );
}

#[tokio::test]
async fn a_queue_that_is_away_leaves_its_jobs_to_the_process_or_refuses_the_request() {
    for (then, status, lines) in [
        (OnQueueFailure::RunHere, StatusCode::OK, &["1 1 Some(Disconnected)"][..]),
        (OnQueueFailure::Refuse, StatusCode::SERVICE_UNAVAILABLE, &[]),
    ] {
        let service = Service::new(then);
        service.queue.set_away(true);
        let response = service.ask(|| drop(Ship::defer(1_u32, 0_u32))).await;
        assert_eq!(response.status(), status, "{then:?}");
        drop(response);
        service.runner.idle().await;
        assert_eq!(service.log.lines(), lines, "{then:?}");
        assert_eq!(service.failures.load(Ordering::Relaxed), 1, "{then:?}");
        assert_eq!(service.queue.written::<Ship>().len(), 0, "{then:?}");
        service.queue.set_away(false);
        drop(service.ask(|| drop(Ship::defer(2_u32, 0_u32))).await);
        assert_eq!(service.queue.written::<Ship>().len(), 1, "{then:?}");
    }
}

/// Runs until it is stopped.
#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue)]
struct Endless;

impl Job for Endless {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.add("runs");
        pending().await
    }
}

#[tokio::test]
async fn a_job_that_is_cancelled_stops_here_and_on_a_worker() {
    for runs_here in [true, false] {
        let service = Service::new(OnQueueFailure::RunHere);
        let worker = service.queue.worker(service.runner.clone()).job::<Endless>();
        let handler =
            if runs_here { || drop(Endless::defer()) } else { || drop(Endless::defer().serial("one")) };
        drop(service.ask(handler).await);
        let id = service.queue.written::<Endless>()[0].envelope.id;
        let cancel = async {
            service.log.wait_for(1).await;
            service.queue.cancel(id).await.unwrap()
        };
        let (cancelled, ()) = in_time(async { tokio::join!(cancel, worker.run_until_empty()) }).await;
        assert_eq!(cancelled, Cancel::Cancelled, "here: {runs_here}");
        in_time(service.runner.idle()).await;
        assert_eq!(service.queue.written::<Endless>()[0].status, JobStatus::Cancelled, "here: {runs_here}");
        assert_eq!(service.runner.stats().cancelled, 1, "here: {runs_here}");
    }
}
