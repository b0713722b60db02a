//! The log lines of jobs. In a file of its own, because callsites are enabled for a whole process.

use axum::{Router, body::Body, extract::Path, http::Request, routing::post};
use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobError, JobResult, Runner, testing::TestQueue};
use defer_tests::Traced;
use tower::ServiceExt;

/// Fails once, and for good if it is told to.
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

/// The lines, without ids and times.
fn lines(traced: &Traced) -> Vec<String> {
    // With the feature `opentelemetry` a span has these, too.
    let text = traced.text().replace(r#" otel.kind="consumer" otel.name=process SendWelcome"#, "");
    assert!(!text.contains('@'), "a job's field: {text}");
    text.lines().map(|line| without(&without(&without(line, " id="), " elapsed="), " delay=")).collect()
}

/// The line without this field, which is there once at most.
fn without(line: &str, field: &str) -> String {
    let Some((before, after)) = line.split_once(field) else { return line.trim().to_owned() };
    assert!(!after.contains(field), "{field} is repeated: {line}");
    let end = after.find([' ', '}']).unwrap_or(after.len());
    format!("{before}{}", &after[end..]).trim().to_owned()
}

/// Signs up somebody, and returns what is logged from this level on.
async fn logged(level: tracing::Level, path: &str) -> Vec<String> {
    logged_by(Router::new().route("/sign-up/{name}/{fails}", post(sign_up)), level, path).await
}

/// Sends a request to these routes, and returns what is logged from this level on.
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
    r#"job{name="SendWelcome" attempt=N request="POST /sign-up/{name}/{fails}" request_id="r-17"}: "#;

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
    assert_eq!(lines, [r#"ERROR defer: job failed name="SendWelcome" attempt=2 error=no such host"#]);
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

/// It is written once the queue has stored the end, by then outside of the attempt's span.
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
    for part in [r#"name="Ship""#, "attempt=1", "no driver", &written[0].envelope.id.to_string()] {
        assert_eq!(text.matches(part).count(), 1, "{part} in {text}");
    }
}
