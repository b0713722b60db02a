//! Visits to the site, and the statistics after them: the real program, over HTTP.

#![allow(clippy::unwrap_used, reason = "clippy takes the helpers of a test for no test")]

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use reqwest::{Client, Response, StatusCode, header};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{sleep, timeout},
};

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn every_response_is_noted_as_it_was_sent() {
    let site = Site::start().await;
    site.get("/hello/ada").await;
    site.get("/hello/grace").await;
    site.get("/download").await.bytes().await.unwrap();
    site.get("/teapot").await;
    site.get("/nowhere/at/all").await;
    let basket = site.client.post(site.url("/basket")).send().await.unwrap();
    assert_eq!(basket.status(), StatusCode::CREATED);

    let visits = site.visits(6).await;
    for (method, route, statuses, bytes) in [
        ("GET", Some("/hello/{name}"), vec![200, 200], Some(12 + 14)),
        ("GET", Some("/download"), vec![200], Some(2_000_000)),
        ("GET", Some("/teapot"), vec![418], None),
        ("GET", None, vec![404], None),
        ("POST", Some("/basket"), vec![201], None),
    ] {
        let noted: Vec<_> = visits
            .iter()
            .filter(|visit| visit["method"] == method && visit["route"].as_str() == route)
            .collect();
        let noted_statuses: Vec<_> = noted.iter().map(|visit| visit["status"].as_i64().unwrap()).collect();
        assert_eq!(noted_statuses, statuses, "{method} {route:?}");
        if let Some(bytes) = bytes {
            let sum: i64 = noted.iter().map(|visit| visit["bytes"].as_i64().unwrap()).sum();
            assert_eq!(sum, bytes, "{method} {route:?}");
        }
        for visit in noted {
            assert_eq!(visit["delivery"], "sent");
            assert_eq!(visit["user_agent"], "a test");
        }
    }
}

#[tokio::test]
async fn a_stream_is_noted_when_its_last_line_was_sent() {
    let site = Site::start().await;
    let mut stream = site.get("/countdown").await;
    let mut lines = stream.chunk().await.unwrap().unwrap().to_vec();
    // The stream is still open, so it has not been recorded.
    site.get("/hello/ada").await;
    assert_eq!(site.visits(1).await[0]["route"], "/hello/{name}");
    while let Some(chunk) = stream.chunk().await.unwrap() {
        lines.extend(chunk);
    }
    assert_eq!(String::from_utf8(lines).unwrap(), "10\n9\n8\n7\n6\n5\n4\n3\n2\n1\n");
    let visits = site.visits(2).await;
    let stream = visits.iter().find(|visit| visit["route"] == "/countdown").unwrap();
    assert_eq!((stream["bytes"].as_i64(), stream["delivery"].as_str()), (Some(21), Some("sent")));
}

#[tokio::test]
async fn a_visitor_who_leaves_is_noted() {
    let site = Site::start().await;
    let mut stream = site.get("/countdown").await;
    stream.chunk().await.unwrap();
    drop(stream);
    let visits = site.visits(1).await;
    assert_eq!(visits[0]["delivery"], "disconnected");
    assert!(visits[0]["bytes"].as_i64().unwrap() < 21, "{visits:?}");
}

#[tokio::test]
async fn a_handler_that_panics_is_noted() {
    let site = Site::start().await;
    site.client.get(site.url("/broken")).send().await.unwrap_err();
    let visits = site.visits(1).await;
    assert_eq!(visits[0]["delivery"], "panicked");
    assert_eq!(visits[0]["status"], Value::Null);
    // Skips the first route: requests for the statistics are visits too, and there may have been one more.
    let counts = site.counts("").await;
    let routes = counts["routes"].as_array().unwrap();
    let broken = routes.iter().find(|route| route["route"] == "/broken").expect("it was visited");
    assert_eq!(broken["failed"], 1);
}

#[tokio::test]
async fn the_page_draws_what_was_noted() {
    let site = Site::start().await;
    let empty = site.get("/stats").await.text().await.unwrap();
    assert!(empty.contains("Nothing recorded yet.") && !empty.contains("<svg"), "{empty}");

    site.get("/hello/ada").await;
    site.get("/teapot").await;
    let page = eventually("both visits", async || {
        let page = site.get("/stats").await.text().await.unwrap();
        (page.contains("GET /hello/{name}") && page.contains("GET /teapot")).then_some(page)
    })
    .await;
    assert_eq!(page.matches("<svg").count(), 2);
    assert_eq!(page.matches("<desc").count(), 2);
    assert!(page.contains(r#"<rect class="refused" x="0%" y="24" width="#), "{page}");
    assert!(!page.contains("NaN") && !page.contains("inf%"), "{page}");

    for asset in ["/style.css", "/page.js", "/"] {
        assert_eq!(site.get(asset).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn what_visitors_send_is_text_on_the_page() {
    let site = Site::start().await;
    let markup = "<script>alert(1)</script>";
    site.client.get(site.url("/hello/ada")).header(header::USER_AGENT, markup).send().await.unwrap();
    assert_eq!(site.visits(1).await[0]["user_agent"], markup);
    for query in ["", "?route=/%22%3E%3Cscript%3Ealert(1)"] {
        let page = site.get(&format!("/stats{query}")).await.text().await.unwrap();
        assert!(!page.contains("<script>alert"), "{page}");
    }
}

#[tokio::test]
async fn the_counts_can_be_narrowed() {
    let site = Site::start().await;
    site.get("/hello/ada").await;
    site.get("/teapot").await;
    site.visits(2).await;
    let counts = site.counts("?route=/hello/%7Bname%7D&minutes=5").await;
    assert_eq!(counts["requests"], 1);
    assert_eq!(counts["routes"][0]["route"], "/hello/{name}");
    let latency = counts["latency"].as_array().unwrap();
    assert_eq!(latency.iter().map(|step| step["requests"].as_i64().unwrap()).sum::<i64>(), 1);
    assert_eq!(site.counts("?route=/unheard-of").await["requests"], 0);
    assert!(site.counts("?route=&minutes=").await["requests"].as_i64().unwrap() >= 2);
}

#[tokio::test]
async fn a_bad_query_is_told() {
    let site = Site::start().await;
    for (query, part) in [
        ("minutes=soon", "minutes=\"soon\" is not usable: expected a whole number from 1 to 10080"),
        ("minutes=0", "from 1 to 10080"),
        ("minutes=-5", "from 1 to 10080"),
        ("minutes=10081", "from 1 to 10080"),
        ("minutes=99999999999999999999", "from 1 to 10080"),
        ("recent=1001", "recent=\"1001\" is not usable: expected a whole number from 1 to 1000"),
        ("route=hello", "route=\"hello\" is not usable"),
        ("hours=1", "unknown field `hours`"),
        ("minutes=1&minutes=2", "duplicate field `minutes`"),
    ] {
        let response = site.get(&format!("/stats.json?{query}")).await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        let body: Value = response.json().await.unwrap();
        assert!(body["error"].as_str().unwrap().contains(part), "{body}");

        let response = site.get(&format!("/stats?{query}")).await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        assert!(response.text().await.unwrap().contains(part));
    }
}

#[tokio::test]
async fn a_stop_signal_waits_until_every_visit_is_noted() {
    let site = Site::start().await;
    for _ in 0..50 {
        site.get("/hello/ada").await;
    }
    let (status, folder) = site.stop().await;
    assert_eq!(status.code(), Some(0));

    let site = Site::start_in(folder).await;
    assert_eq!(site.counts("?route=/hello/%7Bname%7D").await["requests"], 50);
}

#[tokio::test]
async fn a_bad_environment_is_named_and_starts_nothing() {
    for (variable, value) in [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("PORT", ""),
        ("DATABASE_URL", "postgres://localhost/app"),
        ("DATABASE_URL", "sqlite:"),
        ("DATABASE_URL", "sqlite:a.db?mode=sometimes"),
        ("DATABASE_URL", "sqlite:no/such/folder/a.db"),
    ] {
        let folder = TempDir::new().unwrap();
        let output =
            program(folder.path()).env(variable, value).stderr(Stdio::piped()).output().await.unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{log}");
        assert!(log.starts_with(&format!("analytics: {variable}={value:?} is not usable: ")), "{log}");
        assert!(output.stdout.is_empty());
    }
}

/// A running site. Dropping it kills it.
struct Site {
    address: String,
    client: Client,
    process: Child,
    folder: TempDir, // dropped after the process that writes to it
    // Kept open: the program may still write to it.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Site {
    async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap()).await
    }

    async fn start_in(folder: TempDir) -> Self {
        let mut process = program(folder.path()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.expect("it says where it listens").unwrap();
        let line = line.expect("it says where it listens");
        let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        let client = Client::builder().user_agent("a test").no_proxy().timeout(PATIENCE).build().unwrap();
        Self { address, client, folder, process, _stdout: lines }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    async fn counts(&self, query: &str) -> Value {
        let response = self.get(&format!("/stats.json{query}")).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    }

    /// Returns the latest visits, without those to the statistics, once there are this many.
    async fn visits(&self, so_many: usize) -> Vec<Value> {
        eventually("the visits", async || {
            let counts = self.counts("?recent=1000").await;
            let of_site = |entry: &&Value| entry["route"] != "/stats.json";
            let routes = counts["routes"].as_array().unwrap().iter().filter(of_site);
            let noted: i64 = routes.map(|route| route["requests"].as_i64().unwrap()).sum();
            let recent = counts["recent"].as_array().unwrap().iter().filter(of_site);
            (noted == so_many as i64).then(|| recent.cloned().collect())
        })
        .await
    }

    /// Asks the program to stop, as a service manager does, and waits until it has.
    async fn stop(mut self) -> (ExitStatus, TempDir) {
        let kill = format!("kill -TERM {}", self.process.id().unwrap());
        assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
        let status = timeout(PATIENCE, self.process.wait()).await.expect("it stops").unwrap();
        (status, self.folder)
    }
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_analytics"));
    command
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .env("PORT", "0")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Polls until there is an answer.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answer = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
