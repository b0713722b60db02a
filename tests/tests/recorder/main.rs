//! The promises of the recorder: it sees what was deferred, and runs it on request.

mod answers;
mod fakes;
mod messages;
mod unique;
mod waits;
mod written;

use std::{
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::Request,
    routing::{get, post},
};
use defer_axum::{
    BoxError, BoxFuture, Condition, Defer, Deferrable, Delivery, Job, JobContext, JobError, JobId, JobResult,
    Overflow, ResponseInfo, Runner, defer_fn,
    event::JobEventKind,
    queue::{Envelope, Queue},
    scope,
    testing::Recorder,
};
use defer_core::Scope;
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

/// A job that is never deferred.
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

/// Returns the message of the panic.
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
        // A whole request: long enough for a job that does not wait to be run.
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
        defer.cancel_key("other mail");
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

/// A job for a queue, in which `kept` does not survive.
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

#[tokio::test]
async fn it_shows_the_jobs_of_all_types_and_requests_in_the_order_deferred() {
    let recorder = Recorder::new();
    let (mut first, mut second) =
        (Scope::new(recorder.runner().clone()), Scope::new(recorder.runner().clone()));
    first.enter(|| Refund::defer());
    second.enter(|| SendWelcome::defer("ada@example.com"));
    second.enter(|| Note::defer("cancelled").cancel());
    first.enter(|| Note::defer("audit"));
    second.enter(|| Refund::defer());
    let recorded = recorder.recorded();
    let names: Vec<_> = recorded.iter().map(|recorded| recorded.name()).collect();
    assert_eq!(names, ["Refund", "SendWelcome", "Note", "Refund"]);
    assert!(recorded.is_sorted_by_key(|recorded| recorded.id()));
    assert!(recorded[0].is::<Refund>() && !recorded[0].is::<Note>());
    assert_eq!(recorded[1].job(), Some(&welcome("ada@example.com")));
    assert_eq!(recorded[1].job::<Refund>(), None);
    assert_eq!(format!("{:?}", *recorder), r#"["Refund", "SendWelcome", "Note", "Refund"]"#);
}

#[tokio::test]
async fn it_shows_what_is_known_about_a_job() {
    async fn handler() -> String {
        let later = SendWelcome::defer("ada@example.com");
        later
            .key("mail")
            .serial("account:7")
            .unique("welcome:7")
            .delay(Duration::from_secs(3600))
            .on_success();
        defer_fn(|_| async {}).when(|_| true);
        Note::defer("plain");
        later.id().to_string()
    }
    let recorder = Recorder::new();
    let app = Router::new().route("/users/{id}", post(handler)).layer(recorder.layer());
    let response = app.oneshot(post_to("/users/7?token=secret")).await.unwrap();

    let recorded = recorder.recorded();
    let [later, closure, plain] = &recorded[..] else { panic!("three jobs: {recorded:?}") };
    assert_eq!(later.key(), Some("mail"));
    assert_eq!(later.serial_key(), Some("account:7"));
    assert_eq!(later.unique_key(), Some("welcome:7"));
    assert_eq!(later.delay(), Some(Duration::from_secs(3600)));
    assert_eq!(later.condition(), Condition::Success);
    let request = later.request().expect("the handler has answered");
    assert_eq!((request.method().as_str(), request.matched_path()), ("POST", Some("/users/{id}")));
    assert_eq!(closure.condition(), Condition::When);
    assert!(!closure.is::<SendWelcome>() && closure.name().contains("handler"), "{closure:?}");
    assert_eq!((plain.key(), plain.serial_key(), plain.unique_key()), (None, None, None));
    assert_eq!((plain.delay(), plain.condition()), (None, Condition::Always));
    assert_eq!((later.policy().tries(), later.is_durable()), (1, false));

    let debug = format!("{later:?}");
    for part in ["SendWelcome", "mail", "account:7", "welcome:7", "3600s", "Success", "POST /users/{id}"] {
        assert!(debug.contains(part), "{part} in {debug}");
    }
    for part in ["ada@", "secret"] {
        assert!(!debug.contains(part), "{part} stays out of it: {debug}");
    }
    assert_eq!(later.id().to_string(), response.into_body().collect().await.unwrap().to_bytes());
}

#[tokio::test]
async fn it_asserts_what_was_deferred_in_which_order() {
    let recorder = Recorder::new();
    recorder.assert_order(&[]);
    app(&recorder).oneshot(post_to("/sign-up/ada")).await.unwrap();
    recorder.assert_order(&["SendWelcome", "Note", "SendWelcome"]);
    for wrong in [&["SendWelcome", "SendWelcome", "Note"][..], &["SendWelcome", "Note"], &[]] {
        let message = panic_of(|| recorder.assert_order(wrong));
        assert!(message.contains(&format!("{wrong:?}")), "{message}");
        assert_eq!(message.lines().count(), 4, "a headline and three jobs: {message}");
    }
}

/// Ends as told, and logs what it sees.
#[derive(Deferrable)]
#[defer(tries = 3, backoff = "1h..1h", timeout = "1s")]
struct Call {
    how: &'static str,
}

impl Job for Call {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.add(format!("{} {}", self.how, cx.attempt()));
        match self.how {
            "fails" => Err(JobError::msg("no answer")),
            "fails once" if cx.attempt() == 1 => Err(JobError::msg("no answer")),
            "is fatal" => Err(JobError::msg("no such number").fatal()),
            "panics" => panic!("on purpose"),
            "hangs" => pending().await,
            "snoozes" => Err(JobError::snooze(Duration::from_secs(60))),
            "defers" => {
                Note::defer("deferred by the call");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn failed(&self, cx: &JobContext, error: &JobError) {
        if let Ok(log) = cx.state::<Log>() {
            log.add(format!("given up after {}: {error}", cx.attempt()));
        }
    }
}

/// Defers a call, and returns its id.
async fn call(recorder: &Recorder, how: &'static str) -> JobId {
    scope(recorder.runner(), async { Call::defer(how).id() }).await
}

/// Returns the message of the panic.
async fn panic_in<T: Send + 'static>(panics: impl Future<Output = T> + Send + 'static) -> String {
    let Err(error) = tokio::spawn(panics).await else { panic!("it does not panic") };
    let panic = error.into_panic();
    let message = panic.downcast_ref::<&str>().map(ToString::to_string);
    message.or_else(|| panic.downcast_ref().cloned()).expect("a message")
}

/// Summarizes an attempt.
fn in_short(ended: &JobEventKind) -> String {
    match ended {
        JobEventKind::Succeeded { .. } => "succeeded".into(),
        JobEventKind::Retrying { error, .. } if error.is_panic() => format!("again, panic: {error}"),
        JobEventKind::Retrying { error, .. } if error.is_timeout() => format!("again, timeout: {error}"),
        JobEventKind::Retrying { error, .. } => format!("again: {error}"),
        JobEventKind::Snoozed { delay, .. } => format!("snoozed for {delay:?}"),
        JobEventKind::Failed { error, .. } => format!("failed: {error}"),
        JobEventKind::Panicked { error, .. } => format!("panicked: {error}"),
        JobEventKind::TimedOut { error, .. } => format!("timed out: {error}"),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Removes the location of a panic, which moves with the lines of this file.
fn without_place(ended: &str) -> String {
    let Some((before, rest)) = ended.split_once("panicked at ") else { return ended.to_owned() };
    assert!(rest.starts_with(file!()), "{rest}");
    format!("{before}panicked: {}", rest.split_once(": ").expect("it names the place").1)
}

#[tokio::test(start_paused = true)]
async fn one_attempt_of_a_job_runs_and_says_how_it_ended() {
    let late = "took longer than its limit of 1s";
    for (how, attempt, expected) in [
        ("succeeds", 1, "succeeded".to_owned()),
        ("succeeds", 3, "succeeded".to_owned()),
        ("fails once", 1, "again: no answer".to_owned()),
        ("fails once", 2, "succeeded".to_owned()),
        ("fails", 2, "again: no answer".to_owned()),
        ("fails", 3, "failed: no answer".to_owned()),
        ("fails", 9, "failed: no answer".to_owned()),
        ("is fatal", 1, "failed: no such number".to_owned()),
        ("panics", 1, "again, panic: panicked: on purpose".to_owned()),
        ("panics", 3, "panicked: panicked: on purpose".to_owned()),
        ("hangs", 1, format!("again, timeout: {late}")),
        ("hangs", 3, format!("timed out: {late}")),
        ("snoozes", 3, "snoozed for 60s".to_owned()),
    ] {
        let log = Log::new();
        let recorder = Recorder::with(Runner::builder().state(log.clone()));
        let id = call(&recorder, how).await;
        let ended = recorder.run_attempt(id, attempt).await;
        assert_eq!(without_place(&in_short(&ended)), expected, "{how} {attempt}");
        let ran = format!("{how} {attempt}");
        assert_eq!(log.lines()[0], ran);

        recorder.assert_nothing_deferred();
        recorder.run_all().await;
        // The clock is paused. This is long enough for another attempt, if there were one.
        tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
        assert_eq!(log.lines().iter().filter(|line| line.starts_with(how)).count(), 1, "no other follows");
        let stats = recorder.runner().stats();
        assert_eq!((stats.pending, stats.running), (0, 0), "{ran}: {stats:?}");
    }
}

#[tokio::test]
async fn a_job_is_told_that_it_is_given_up_if_the_attempt_is_its_last() {
    for (how, attempt, told) in [
        ("fails", 2, None),
        ("fails", 3, Some("given up after 3: no answer")),
        ("is fatal", 1, Some("given up after 1: no such number")),
        ("succeeds", 3, None),
        ("snoozes", 3, None),
    ] {
        let log = Log::new();
        let recorder = Recorder::with(Runner::builder().state(log.clone()));
        let id = call(&recorder, how).await;
        recorder.run_attempt(id, attempt).await;
        assert_eq!(log.lines().get(1).map(String::as_str), told, "{how} {attempt}");
    }
}

#[tokio::test]
async fn one_attempt_leaves_the_other_jobs_of_its_request_recorded() {
    let log = Log::new();
    let recorder = Recorder::with(Runner::builder().state(log.clone()));
    let id = scope(recorder.runner(), async {
        Note::defer("before");
        Call::defer("succeeds");
        let id = Call::defer("defers").id();
        Call::defer("fails once");
        Note::defer("after");
        id
    })
    .await;
    let ended = recorder.run_attempt(id, 2).await;
    assert_eq!(in_short(&ended), "succeeded");
    assert_eq!(log.lines(), ["defers 2"]);
    recorder.assert_order(&["Note", "Call", "Call", "Note", "Note"]);
    assert_eq!(recorder.runner().stats().pending, 5);

    let next = recorder.recorded()[2].id();
    assert_eq!(in_short(&recorder.run_attempt(next, 1).await), "again: no answer");
    recorder.run_all_ok().await;
    let rest = ["before", "succeeds 1", "after", "deferred by the call"];
    assert_eq!(log.lines(), [&["defers 2", "fails once 1"][..], &rest].concat());
}

#[tokio::test]
async fn one_attempt_runs_within_what_is_around_jobs() {
    let log = Log::new();
    let around = log.clone();
    let runner = Runner::builder().state(log.clone()).around(move |cx, next| {
        around.add(format!("around {}", cx.attempt()));
        Box::pin(next)
    });
    let recorder = Recorder::with(runner);
    let id = call(&recorder, "succeeds").await;
    recorder.run_attempt(id, 2).await;
    assert_eq!(log.lines(), ["around 2", "succeeds 2"]);
}

#[tokio::test(start_paused = true)]
async fn one_attempt_waits_for_no_delay() {
    let recorder = Recorder::with(Runner::builder().state(Log::new()));
    let hour = Duration::from_secs(3600);
    let id = scope(recorder.runner(), async { Call::defer("succeeds").delay(hour).id() }).await;
    let before = tokio::time::Instant::now();
    assert_eq!(in_short(&recorder.run_attempt(id, 1).await), "succeeded");
    assert!(before.elapsed() < hour);
}

#[tokio::test(start_paused = true)]
async fn one_attempt_that_a_shutdown_stops_is_abandoned() {
    let recorder = Recorder::with(Runner::builder().state(Log::new()));
    let id = call(&recorder, "hangs").await;
    let shutdown = recorder.runner().shutdown(Duration::from_millis(10));
    let (ended, _) = tokio::join!(recorder.run_attempt(id, 1), shutdown);
    assert_eq!(in_short(&ended), "abandoned");
}

/// Stores the names of its jobs.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<String>>>);

impl Queue for Names {
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        self.0.lock().expect("no push panics").extend(jobs.into_iter().map(|job| job.name));
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn one_attempt_of_a_job_for_the_queue_runs_here_and_the_others_stay_recorded() {
    let queue = Names::default();
    let recorder = Recorder::with(Runner::builder().queue(queue.clone()));
    let id = scope(recorder.runner(), async {
        defer_axum::defer(Charge { cents: 1.0, cached: None });
        defer_axum::defer(Charge { cents: 2.0, cached: None }).id()
    })
    .await;
    assert_eq!(in_short(&recorder.run_attempt(id, 1).await), "succeeded");
    assert_eq!(queue.0.lock().unwrap().len(), 0, "the queue has none");
    recorder.assert_order(&["Charge"]);
    recorder.run_all_ok().await;
    assert_eq!(*queue.0.lock().unwrap(), ["Charge"], "in the end it has the other");
}

#[tokio::test]
async fn an_attempt_that_cannot_be_says_why() {
    let recorder = Recorder::with(Runner::builder().state(Log::new()));
    let id = call(&recorder, "succeeds").await;
    let run = |id, attempt| {
        let recorder = recorder.clone();
        async move { recorder.run_attempt(id, attempt).await }
    };
    let message = panic_in(run(id, 0)).await;
    assert!(message.contains("counted from 1"), "{message}");
    recorder.assert_order(&["Call"]);
    let message = panic_in(run(JobId::unique(), 1)).await;
    assert!(message.contains("is recorded") && message.contains(r#"["Call"]"#), "{message}");
    run(id, 1).await;
    let message = panic_in(run(id, 2)).await;
    assert!(message.contains(&id.to_string()) && message.contains("has started"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn run_all_ok_is_content_with_jobs_that_succeed_in_the_end() {
    let log = Log::new();
    let recorder = Recorder::with(Runner::builder().state(log.clone()));
    call(&recorder, "fails once").await;
    scope(recorder.runner(), async {
        Call::defer("succeeds").cancel();
        Call::defer("defers").delay(Duration::from_secs(60));
    })
    .await;
    recorder.run_all_ok().await;
    let mut lines = log.lines();
    lines.sort_unstable();
    assert_eq!(lines, ["deferred by the call", "defers 1", "fails once 1", "fails once 2"]);
}

#[tokio::test(start_paused = true)]
async fn run_all_ok_names_the_jobs_that_failed() {
    let recorder = Recorder::with(Runner::builder().state(Log::new()));
    for how in ["fails", "succeeds", "is fatal", "panics", "hangs"] {
        call(&recorder, how).await;
    }
    scope(recorder.runner(), async { defer_fn(|_| async { Err(JobError::msg("no such user")) }) }).await;
    let run = |recorder: Recorder| async move { recorder.run_all_ok().await };
    let message = panic_in(run(recorder.clone())).await;
    for line in [
        "`Call` failed, attempts: 3: no answer",
        "`Call` failed, attempts: 1: no such number",
        "`Call` failed, attempts: 3: panicked at ",
        "`Call` failed, attempts: 3: took longer than its limit of 1s",
        "{{closure}}` failed, attempts: 1: no such user",
    ] {
        assert!(message.contains(line), "{line} in {message}");
    }
    assert!(message.contains(": on purpose"), "what it panicked with: {message}");
    assert_eq!(message.lines().count(), 6, "a headline and five jobs: {message}");

    call(&recorder, "succeeds").await;
    recorder.run_all_ok().await;
}

#[tokio::test]
async fn run_all_ok_names_the_jobs_that_were_abandoned() {
    let recorder = Recorder::with(Runner::builder().state(Log::new()));
    let gone = std::thread::spawn({
        let recorder = recorder.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(call(&recorder, "succeeds"));
        }
    });
    gone.join().expect("it defers");
    let message = panic_in(async move { recorder.run_all_ok().await }).await;
    assert!(message.contains("`Call` was abandoned, attempts: 0"), "{message}");
}
