//! The log lines of jobs. This has its own test binary, because callsites are enabled per process.

use axum::{Router, body::Body, extract::Path, http::Request, routing::post};
use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobError, JobResult, Runner, testing::TestQueue};
use defer_tests::Traced;
use tower::ServiceExt;

/// Fails once, or permanently if told to.
#[derive(Deferrable)]
#[defer(tries = 2, backoff = "1ms")]
struct SendWelcome {
    to: String,
    fails: bool,
}

impl Job for SendWelcome {
    async fn run(&self, cx: &JobContext) -> JobResult {
        assert!(self.to.contains('@'));
        tracing::info!("the job's own line");
        match (cx.attempt(), self.fails) {
            (1, _) | (_, true) => Err(JobError::msg("no such host")),
            (..) => Ok(()),
        }
    }
}

async fn sign_up(Path((name, fails)): Path<(String, bool)>) {
    SendWelcome::defer(format!("{name}@example.com"), fails);
}

/// Returns the lines, without ids and times.
fn lines(traced: &Traced) -> Vec<String> {
    let text = traced.text();
    assert!(!text.contains('@'), "a job's field: {text}");
    text.lines().map(|line| without(&without(&without(line, " id="), " elapsed="), " delay=")).collect()
}

/// Returns the line without this field, which may occur once.
fn without(line: &str, field: &str) -> String {
    let Some((before, after)) = line.split_once(field) else { return line.trim().to_owned() };
    assert!(!after.contains(field), "{field} is repeated: {line}");
    let end = after.find([' ', '}']).unwrap_or(after.len());
    format!("{before}{}", &after[end..]).trim().to_owned()
}

/// Signs up a user, and returns what is logged at this level or above.
async fn logged(level: tracing::Level, path: &str) -> Vec<String> {
    logged_by(Router::new().route("/sign-up/{name}/{fails}", post(sign_up)), level, path).await
}

/// Sends a request to these routes, and returns what is logged at this level or above.
async fn logged_by(routes: Router, level: tracing::Level, path: &str) -> Vec<String> {
    let (traced, _logging) = Traced::start(level);
    let runner = Runner::default();
    let app = routes.layer(DeferLayer::new(runner.clone()).capture_request_headers(["x-request-id"]));
    let request = Request::post(path).header("x-request-id", "r-17").body(Body::empty()).expect("a request");
    drop(app.oneshot(request).await);
    runner.idle().await;
    lines(&traced)
}

const SPAN: &str =
    r#"run{job="SendWelcome" attempt=N request="POST /sign-up/{name}/{fails}" request_id="r-17"}: "#;

fn expected(lines: &[(&str, u32, &str)]) -> Vec<String> {
    let line = |(level, attempt, text): &(&str, u32, &str)| {
        format!("{level} {}{text}", SPAN.replace('N', &attempt.to_string()))
    };
    lines.iter().map(line).collect()
}

#[tokio::test]
async fn a_job_s_lines_are_found_by_its_request_and_repeat_nothing() {
    assert_eq!(
        logged(tracing::Level::DEBUG, "/sign-up/ada/false").await,
        expected(&[
            ("INFO", 1, "logs: the job's own line"),
            ("WARN", 1, "defer: job failed, trying again error=no such host"),
            ("INFO", 2, "logs: the job's own line"),
            ("DEBUG", 2, "defer: job done"),
        ])
    );
    let failed = logged(tracing::Level::DEBUG, "/sign-up/ada/true").await;
    assert_eq!(failed[3..], expected(&[("ERROR", 2, "defer: job failed error=no such host")]));
}

#[tokio::test]
async fn a_success_is_no_line_of_its_own_by_default() {
    let lines = logged(tracing::Level::INFO, "/sign-up/ada/false").await;
    assert!(!lines.iter().any(|line| line.contains("job done")), "{lines:?}");
}

#[tokio::test]
async fn where_spans_are_not_logged_the_line_itself_says_which_job() {
    let lines = logged(tracing::Level::ERROR, "/sign-up/ada/true").await;
    let line = r#"ERROR defer: job failed job="SendWelcome" attempt=2 request="POST /sign-up/{name}/{fails}" request_id="r-17" error=no such host"#;
    assert_eq!(lines, [line]);
}

/// A path may hold a token, such as that of a link in a mail.
#[tokio::test]
async fn a_path_that_matches_no_route_is_not_logged() {
    let routes = Router::new().fallback(async || drop(SendWelcome::defer("ada@example.com", false)));
    let lines = logged_by(routes, tracing::Level::DEBUG, "/reset/token-4711?key=4712").await;
    assert_eq!(lines.len(), 4);
    for line in lines {
        assert!(line.contains(r#" request="POST" request_id="r-17""#), "{line}");
        assert!(!line.contains("471"), "{line}");
    }
}

#[derive(Deferrable, serde::Serialize, serde::Deserialize)]
#[defer(queue)]
struct Ship;

impl Job for Ship {
    async fn run(&self, _: &JobContext) -> JobResult {
        Err(JobError::msg("no driver"))
    }
}

/// This is logged once the queue has stored the end. By then the attempt's span is closed.
#[tokio::test]
async fn the_end_of_a_durable_job_names_it_too() {
    let (traced, _logging) = Traced::start(tracing::Level::ERROR);
    let queue = TestQueue::new();
    let runner = Runner::builder().queue(queue.clone()).build();
    let _worker = queue.worker(runner.clone()).job::<Ship>();
    let routes = Router::new().route("/", post(async || drop(Ship::defer())));
    drop(
        routes
            .layer(DeferLayer::new(runner.clone()))
            .oneshot(Request::post("/").body(Body::empty()).unwrap())
            .await,
    );
    runner.idle().await;
    let written = queue.written::<Ship>();
    let text = traced.text();
    for part in [r#"job="Ship""#, "attempt=1", "no driver", &written[0].envelope.id.to_string()] {
        assert_eq!(text.matches(part).count(), 1, "{part} in {text}");
    }
}

/// Fails in every possible way, one after another.
mod failing {
    use super::*;

    pub(super) fn routes() -> Router {
        Router::new().route(
            "/fail",
            post(async || {
                Returns::defer();
                Panics::defer();
                Lasts::defer();
                Sheds::defer();
            }),
        )
    }

    #[derive(Deferrable)]
    pub(super) struct Returns;

    impl Job for Returns {
        async fn run(&self, _: &JobContext) -> JobResult {
            Err(JobError::msg("no such host"))
        }
    }

    #[derive(Deferrable)]
    pub(super) struct Panics;

    /// The line of the panic.
    pub(super) const PLACE: u32 = line!() + 4;

    impl Job for Panics {
        async fn run(&self, _: &JobContext) -> JobResult {
            panic!("on purpose")
        }
    }

    #[derive(Deferrable)]
    #[defer(timeout = "1ms")]
    pub(super) struct Lasts;

    impl Job for Lasts {
        async fn run(&self, _: &JobContext) -> JobResult {
            std::future::pending().await
        }
    }

    /// Goes to a queue that accepts nothing, so it runs here.
    #[derive(Deferrable, serde::Serialize, serde::Deserialize)]
    #[defer(queue)]
    pub(super) struct Sheds;

    impl Job for Sheds {
        async fn run(&self, _: &JobContext) -> JobResult {
            Ok(())
        }
    }
}

/// A service that logs only `warn` and above has no spans.
#[tokio::test]
async fn each_failure_is_found_by_job_and_request_where_spans_are_not_logged() {
    let (traced, _logging) = Traced::start(tracing::Level::WARN);
    let queue = TestQueue::new();
    queue.set_away(true);
    let runner = Runner::builder().queue(queue).build();
    let app =
        failing::routes().layer(DeferLayer::new(runner.clone()).capture_request_headers(["x-request-id"]));
    let request = || Request::post("/fail").header("x-request-id", "r-17").body(Body::empty()).unwrap();
    drop(app.clone().oneshot(request()).await);
    runner.idle().await;
    let text = traced.text();
    for (level, what, job, attempt) in [
        ("ERROR", "job failed", "Returns", 1),
        ("ERROR", "job panicked", "Panics", 1),
        ("ERROR", "job timed out", "Lasts", 1),
        ("WARN", "the queue did not take a job", "Sheds", 0),
    ] {
        let has = |line: &&str| line.trim_start().starts_with(level) && line.contains(what);
        let lines: Vec<&str> = text.lines().filter(has).collect();
        assert_eq!(lines.len(), 1, "{what}: {text}");
        for part in [
            &*format!("job=\"{job}\""),
            " id=0",
            &format!("attempt={attempt}"),
            r#"request="POST /fail""#,
            r#"request_id="r-17""#,
        ] {
            assert!(lines[0].contains(part), "{part} in {}", lines[0]);
        }
    }
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[tokio::test]
async fn a_job_that_is_stopped_at_the_deadline_of_the_drain_is_named_with_its_request_and_why() {
    let (traced, _logging) = Traced::start(tracing::Level::WARN);
    let runner = Runner::default();
    let routes = Router::new().route(
        "/",
        post(async || {
            defer_axum::defer_fn(|_| std::future::pending::<JobResult>());
        }),
    );
    let app = routes.layer(DeferLayer::new(runner.clone()).capture_request_headers(["x-request-id"]));
    let request = Request::post("/").header("x-request-id", "r-17").body(Body::empty()).unwrap();
    drop(app.oneshot(request).await);
    runner.shutdown(std::time::Duration::ZERO).await;
    let text = traced.text();
    let line = text.lines().find(|line| line.contains("job abandoned")).unwrap_or_else(|| panic!("{text}"));
    for part in [
        "ERROR",
        "the deadline of the shutdown",
        "job=",
        " id=0",
        r#"request="POST /""#,
        r#"request_id="r-17""#,
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[tokio::test]
async fn a_panic_s_place_in_the_source_is_in_its_event_and_its_line() {
    let (traced, _logging) = Traced::start(tracing::Level::ERROR);
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let tell = told.clone();
    let runner = Runner::builder()
        .on_event(move |event| {
            if let defer_axum::event::JobEventKind::Panicked { error, .. } = event.kind() {
                tell.lock().unwrap().push(error.to_string());
            }
        })
        .build();
    defer_axum::scope(&runner, async { failing::Panics::defer() }).await;
    runner.idle().await;
    let place = format!("panicked at tests/tests/logs.rs:{}:13: on purpose", failing::PLACE);
    assert_eq!(*told.lock().unwrap(), [&*place]);
    assert!(traced.text().contains(&format!("error={place}")), "{}", traced.text());
}

#[tokio::test]
async fn an_error_s_control_characters_are_escaped_in_the_log() {
    let (traced, _logging) = Traced::start(tracing::Level::DEBUG);
    let runner = Runner::default();
    defer_axum::scope(&runner, async {
        defer_axum::defer_fn(|_| async {
            Err::<(), _>(JobError::msg("no\nERROR forged \u{1b}[31mred\r\u{85}é"))
        });
    })
    .await;
    runner.idle().await;
    let text = traced.text();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(r"error=no\nERROR forged \u{1b}[31mred\r\u{85}é"), "{text}");
}

#[derive(Deferrable)]
struct Report;

impl Job for Report {
    async fn run(&self, _: &JobContext) -> JobResult {
        Ok(())
    }
}

#[tokio::test]
async fn a_job_whose_condition_is_false_makes_no_noise_above_debug() {
    let routes = || Router::new().route("/", post(async || drop(Report::defer().when(|_| false))));
    assert_eq!(logged_by(routes(), tracing::Level::INFO, "/").await, [""; 0]);
    let lines = logged_by(routes(), tracing::Level::DEBUG, "/").await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["DEBUG", "job skipped", r#"job="Report""#, r#"request="POST /""#, r#"request_id="r-17""#] {
        assert!(lines[0].contains(part), "{part} in {lines:?}");
    }
}
