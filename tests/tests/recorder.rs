//! What the recorder promises to tests: to see what was deferred, and to run it when told to.

use std::panic::{AssertUnwindSafe, catch_unwind};

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::Request,
    routing::{get, post},
};
use defer_axum::{
    Defer, Deferrable, Job, JobContext, JobResult, Overflow, Runner, defer_fn, testing::Recorder,
};
use defer_tests::{By, Feed, Log, Note, NoteEnding, Tcp};
use http_body_util::BodyExt;
use tower::ServiceExt;

#[derive(Clone, Debug, PartialEq, Eq, Deferrable)]
struct SendWelcome {
    to: String,
}

impl Job for SendWelcome {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.add(format!("welcome, {}", self.to));
        Ok(())
    }
}

/// A job that nobody defers.
#[derive(Clone, Debug, PartialEq, Eq, Deferrable)]
struct Refund;

impl Job for Refund {
    async fn run(&self, _: &JobContext) -> JobResult {
        Ok(())
    }
}

async fn sign_up(Path(name): Path<String>) -> &'static str {
    SendWelcome::defer(format!("{name}@example.com"));
    Note::defer("audit");
    SendWelcome::defer(format!("{name}@example.org"));
    "check your mail"
}

fn app(recorder: &Recorder) -> Router {
    Router::new()
        .route("/nothing", get(async || "nothing"))
        .route("/closure", get(async || drop(defer_fn(|_| async {}))))
        .route("/sign-up/{name}", post(sign_up))
        .layer(recorder.layer())
}

fn post_to(path: &str) -> Request<Body> {
    Request::post(path).body(Body::empty()).expect("a valid path")
}

/// The message with which this panics.
fn panic_of(panics: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(panics)).expect_err("it panics");
    panic.downcast_ref::<String>().expect("a message").clone()
}

fn welcome(to: &str) -> SendWelcome {
    SendWelcome { to: to.to_owned() }
}

#[tokio::test]
async fn it_sees_what_a_oneshot_request_deferred_before_its_body_is_read() {
    let recorder = Recorder::new();
    recorder.assert_nothing_deferred();
    let response = app(&recorder).oneshot(post_to("/sign-up/ada")).await.unwrap();
    recorder.assert_deferred::<SendWelcome>(|job| job.to == "ada@example.com");
    recorder.assert_deferred::<SendWelcome>(|job| job.to == "ada@example.org");
    recorder.assert_deferred::<Note>(|_| true);
    recorder.assert_deferred_times::<SendWelcome>(2);
    recorder.assert_deferred_times::<Note>(1);
    recorder.assert_deferred_times::<Refund>(0);
    let deferred: Vec<SendWelcome> = recorder.deferred();
    assert_eq!(deferred, [welcome("ada@example.com"), welcome("ada@example.org")]);
    assert_eq!(recorder.deferred::<Refund>(), []);

    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "check your mail");
    recorder.assert_deferred_times::<SendWelcome>(2);
    assert_eq!(recorder.runner().stats().pending, 3, "the end of the response does not start them");
}

#[tokio::test]
async fn it_sees_what_requests_over_a_socket_deferred() {
    for by in By::BOTH {
        let recorder = Recorder::new();
        let server = by.serve_app(app(&recorder), recorder.runner()).await;
        let mut client = Tcp::connect(server.addr).await;
        assert_eq!(client.get("/nothing").await.text(), "nothing");
        recorder.assert_nothing_deferred();
        for name in ["ada", "grace"] {
            client
                .send(format!("POST /sign-up/{name} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n"))
                .await;
            assert_eq!(client.reply("POST").await.text(), "check your mail");
        }
        recorder.assert_deferred::<SendWelcome>(|job| job.to == "ada@example.com");
        recorder.assert_deferred_times::<SendWelcome>(4);
        recorder.assert_deferred_times::<Note>(2);
        let expected = ["ada@example.com", "ada@example.org", "grace@example.com", "grace@example.org"];
        assert_eq!(recorder.deferred::<SendWelcome>(), expected.map(welcome), "{by:?}");
        assert_eq!(recorder.runner().stats().pending, 6, "{by:?}");
    }
}

#[tokio::test]
async fn it_runs_what_it_recorded_when_it_is_told_to() {
    for by in By::BOTH {
        let log = Log::new();
        let recorder = Recorder::with(Runner::builder().state(log.clone()));
        let server = by.serve_app(app(&recorder), recorder.runner()).await;
        let mut client = Tcp::connect(server.addr).await;
        client.send("POST /sign-up/ada HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n").await;
        client.reply("POST").await;
        // Enough for a job that does not wait to be told.
        client.get("/nothing").await;
        assert_eq!(log.lines().len(), 0, "{by:?}");
        recorder.run_all().await;
        let expected = ["welcome, ada@example.com", "audit", "welcome, ada@example.org"];
        assert_eq!(log.lines(), expected, "{by:?}");
        recorder.assert_nothing_deferred();
        assert_eq!(recorder.runner().stats().succeeded, 3, "{by:?}");

        client.send("POST /sign-up/grace HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n").await;
        client.reply("POST").await;
        recorder.assert_deferred_times::<SendWelcome>(2);
        assert_eq!(log.lines().len(), 3, "{by:?}: it goes on recording");
        recorder.run_all().await;
        assert_eq!(log.lines().len(), 6, "{by:?}");
    }
}

#[tokio::test]
async fn run_all_needs_no_response_to_be_read() {
    let log = Log::new();
    let recorder = Recorder::with(Runner::builder().state(log.clone()));
    let response = app(&recorder).oneshot(post_to("/sign-up/ada")).await.unwrap();
    recorder.run_all().await;
    assert_eq!(log.lines().len(), 3);
    drop(response);
    recorder.run_all().await;
    assert_eq!(log.lines().len(), 3, "a job runs once");
}

#[tokio::test]
async fn jobs_are_told_of_a_response_that_was_read() {
    async fn handler() -> &'static str {
        NoteEnding::defer();
        "hello"
    }
    for by in By::BOTH {
        let log = Log::new();
        let recorder = Recorder::with(Runner::builder().state(log.clone()));
        let app = Router::new().route("/", get(handler)).layer(recorder.layer());
        let server = by.serve_app(app, recorder.runner()).await;
        Tcp::connect(server.addr).await.get("/").await;
        recorder.run_all().await;
        assert_eq!(log.lines(), [format!("{:?} 200 5", by.whole())], "{by:?}");
    }
}

#[tokio::test]
async fn jobs_of_jobs_run_too() {
    async fn handler() {
        defer_fn(|_| async {
            Note::defer("deferred by a job");
        });
        Note::defer("second");
    }
    let log = Log::new();
    let recorder = Recorder::with(Runner::builder().state(log.clone()));
    let app = Router::new().route("/", get(handler)).layer(recorder.layer());
    app.oneshot(Request::new(Body::empty())).await.unwrap();
    recorder.assert_deferred_times::<Note>(1);
    recorder.run_all().await;
    assert_eq!(log.lines(), ["second", "deferred by a job"]);
    recorder.assert_nothing_deferred();
}

#[tokio::test]
async fn jobs_deferred_while_the_body_streams_are_seen() {
    for by in By::BOTH {
        let recorder = Recorder::new();
        let (feed, body) = Feed::new();
        let handler = async move || {
            Body::new(body.take().map_frame(|frame| {
                Note::defer("streamed");
                frame
            }))
        };
        let app = Router::new().route("/", get(handler)).layer(recorder.layer());
        let server = by.serve_app(app, recorder.runner()).await;
        let mut client = Tcp::connect(server.addr).await;
        client.send_get("/").await;
        feed.send("hello");
        client.read_until("hello").await;
        recorder.assert_deferred_times::<Note>(1);
        drop(feed);
        assert_eq!(client.reply("GET").await.text(), "hello");
        recorder.assert_deferred_times::<Note>(1);
    }
}

#[tokio::test]
async fn a_failed_assertion_says_what_was_deferred_instead() {
    let recorder = Recorder::new();
    app(&recorder).oneshot(post_to("/sign-up/ada")).await.unwrap();
    let all = r#"["SendWelcome", "Note", "SendWelcome"]"#;

    let message = panic_of(|| recorder.assert_deferred::<SendWelcome>(|job| job.to == "bob@example.com"));
    for part in ["SendWelcome", "2 of that type did not match", all] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert!(!message.contains('@'), "addresses stay out of it: {message}");

    let message = panic_of(|| recorder.assert_deferred::<Refund>(|_| true));
    for part in ["Refund", "0 of that type", all] {
        assert!(message.contains(part), "{part} in {message}");
    }

    let message = panic_of(|| recorder.assert_deferred_times::<SendWelcome>(3));
    for part in ["2 ", "SendWelcome", "not 3", all] {
        assert!(message.contains(part), "{part} in {message}");
    }

    let message = panic_of(|| recorder.assert_nothing_deferred());
    assert!(message.contains(all), "{message}");
}

#[tokio::test]
async fn a_failed_assertion_names_closures_by_their_function() {
    let recorder = Recorder::new();
    app(&recorder).oneshot(Request::get("/closure").body(Body::empty()).unwrap()).await.unwrap();
    let message = panic_of(|| recorder.assert_nothing_deferred());
    assert!(message.contains("recorder::app"), "{message}");
}

#[tokio::test]
async fn recorders_in_parallel_do_not_see_each_others_jobs() {
    let recorders = [Recorder::new(), Recorder::new()];
    let [first, second] = recorders.clone().map(|recorder| app(&recorder));
    let (first, second) = tokio::join!(
        first.oneshot(post_to("/sign-up/ada")),
        second.oneshot(Request::get("/closure").body(Body::empty()).unwrap())
    );
    assert!(first.is_ok() && second.is_ok());
    recorders[0].assert_deferred_times::<SendWelcome>(2);
    recorders[1].assert_deferred_times::<SendWelcome>(0);
    assert_eq!(format!("{:?}", *recorders[0]), r#"["SendWelcome", "Note", "SendWelcome"]"#);
    assert_eq!(recorders[0].runner().stats().deferred, 3);
    assert_eq!(recorders[1].runner().stats().deferred, 1);
    recorders[1].run_all().await;
    recorders[1].assert_nothing_deferred();
    recorders[0].assert_deferred_times::<SendWelcome>(2);
}

#[tokio::test]
async fn jobs_that_will_not_run_are_not_seen() {
    async fn handler(defer: Defer) {
        SendWelcome::defer("cancelled").cancel();
        SendWelcome::defer("replaced").key("mail");
        SendWelcome::defer("stays").key("mail");
        SendWelcome::defer("forgotten").key("other mail");
        defer.forget("other mail");
        defer_fn(|_| async {}).cancel();
    }
    let recorder = Recorder::new();
    let app = Router::new().route("/", get(handler)).layer(recorder.layer());
    app.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(recorder.deferred::<SendWelcome>(), [welcome("stays")]);
    assert_eq!(format!("{:?}", *recorder), r#"["SendWelcome"]"#);
    assert_eq!(recorder.runner().stats().cancelled, 4);
}

#[tokio::test]
async fn a_job_with_a_condition_is_seen_and_asked_when_it_runs() {
    async fn handler() -> http::StatusCode {
        SendWelcome::defer("on success").on_success();
        SendWelcome::defer("always");
        http::StatusCode::BAD_REQUEST
    }
    let log = Log::new();
    let recorder = Recorder::with(Runner::builder().state(log.clone()));
    let app = Router::new().route("/", get(handler)).layer(recorder.layer());
    let response = app.oneshot(Request::new(Body::empty())).await.unwrap();
    recorder.assert_deferred_times::<SendWelcome>(2);
    drop(response);
    recorder.run_all().await;
    assert_eq!(log.lines(), ["welcome, always"]);
    assert_eq!(recorder.runner().stats().skipped, 1);
}

#[tokio::test]
async fn a_predicate_may_ask_the_recorder() {
    let recorder = Recorder::new();
    let app = Router::new().route("/{name}", post(sign_up)).layer(recorder.layer());
    for name in ["ada", "grace"] {
        app.clone().oneshot(post_to(&format!("/{name}"))).await.unwrap();
    }
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        recorder.assert_deferred::<SendWelcome>(|job| {
            recorder.assert_deferred_times::<SendWelcome>(4);
            recorder.deferred::<SendWelcome>().iter().any(|other| other.to != job.to)
        });
        done.send(()).unwrap();
    });
    ended.recv_timeout(std::time::Duration::from_secs(30)).expect("it does not wait for itself");
}

#[tokio::test]
async fn a_recorder_frees_its_runner_and_the_state_with_it() {
    let state = std::sync::Arc::new(());
    let recorder = Recorder::with(Runner::builder().state(state.clone()));
    let app = Router::new().route("/{name}", post(sign_up)).layer(recorder.layer());
    app.clone().oneshot(post_to("/ada")).await.unwrap();
    assert_eq!(std::sync::Arc::strong_count(&state), 2);
    drop((app, recorder));
    assert_eq!(std::sync::Arc::strong_count(&state), 1);
}

#[tokio::test]
async fn more_may_be_recorded_than_there_is_room_for() {
    for overflow in [Overflow::Wait, Overflow::Shed] {
        let recorder = Recorder::with(Runner::builder().max_pending(2).max_running(1).overflow(overflow));
        let app = Router::new().route("/{name}", post(sign_up)).layer(recorder.layer());
        for _ in 0..5 {
            let response = app.clone().oneshot(post_to("/ada"));
            tokio::time::timeout(std::time::Duration::from_secs(30), response).await.unwrap().unwrap();
        }
        recorder.assert_deferred_times::<SendWelcome>(10);
        recorder.run_all().await;
        assert_eq!(recorder.runner().stats().shed, 0);
    }
}

/// For a queue, and `kept` does not survive it.
#[derive(Clone, Debug, PartialEq, Deferrable, serde::Serialize, serde::Deserialize)]
#[defer(queue, on = "success")]
struct Charge {
    cents: f64,
    #[serde(skip)]
    #[defer(default)]
    cached: Option<u32>,
}

impl Job for Charge {
    async fn run(&self, _: &JobContext) -> JobResult {
        Ok(())
    }
}

async fn charge(recorder: &Recorder, cents: f64) -> Result<(), tokio::task::JoinError> {
    let scoped = defer_axum::scope(recorder.runner().clone(), async move {
        defer_axum::defer(Charge { cents, cached: Some(7) });
    });
    tokio::spawn(scoped).await
}

#[tokio::test]
async fn it_sees_a_job_for_the_queue_as_a_worker_would() {
    let recorder = Recorder::new();
    charge(&recorder, 12.5).await.expect("it survives");
    recorder.assert_deferred::<Charge>(|job| *job == Charge { cents: 12.5, cached: None });
    // JSON has no infinity, so a worker could not read it.
    let panic = charge(&recorder, f64::INFINITY).await.expect_err("it does not survive").into_panic();
    let message = panic.downcast_ref::<String>().expect("a message");
    assert!(message.contains("a `Charge` does not survive the queue"), "{message}");
}

#[tokio::test]
async fn it_asserts_what_was_not_deferred() {
    let recorder = Recorder::new();
    charge(&recorder, 12.5).await.expect("it survives");
    recorder.assert_not_deferred::<Charge>(|job| job.cents > 100.0);
    recorder.assert_not_deferred::<Refund>(|_| true);
    let message = panic_of(|| recorder.assert_not_deferred::<Charge>(|job| job.cents > 1.0));
    assert!(message.contains("1 `") && message.contains("Charge` deferred that match"), "{message}");
}

#[tokio::test]
async fn it_runs_what_it_recorded_as_after_a_given_response() {
    use defer_axum::{Delivery, ResponseInfo};
    for (status, succeeded, skipped) in [(200, 2, 0), (500, 0, 2)] {
        let recorder = Recorder::new();
        charge(&recorder, 12.5).await.expect("it survives");
        defer_axum::scope(recorder.runner().clone(), async {
            defer_fn(|_| async {}).when(|response| response.is_success());
        })
        .await;
        let status = http::StatusCode::from_u16(status).ok();
        recorder.run_all_after(ResponseInfo::new(Delivery::Sent).with_status(status)).await;
        let stats = recorder.runner().stats();
        assert_eq!((stats.succeeded, stats.skipped), (succeeded, skipped));
    }
}
