//! The service as a customer and a partner see it: the real program, over HTTP.

#![allow(clippy::unwrap_used, reason = "clippy takes the helpers of a test for no test")]

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::post,
};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::{TcpListener, TcpSocket},
    process::{Child, ChildStdout, Command},
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_partner_that_comes_along_accepts_at_the_third_attempt() {
    let service = Service::start(&[]).await;
    for item in ["tea", "milk"] {
        let order = service.order(item, 2).await;
        assert_eq!(order["delivery"], json!({ "state": "waiting", "attempts": 0, "error": null }));
        let order = service.order_in_state(&order["id"], "delivered").await;
        assert_eq!(order["delivery"]["attempts"], 3);
    }
    let (status, log) = service.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(log.matches("telling the partner").count(), 6, "{log}");
    assert_eq!(log.matches("the partner answered 503 Service Unavailable").count(), 4, "{log}");
    assert_eq!(log.matches("the partner knows").count(), 2, "{log}");
}

#[tokio::test]
async fn the_customer_does_not_wait_for_the_partner() {
    let mut partner = Partner::start().await;
    let service = Service::start(&[("PARTNER_URL", &partner.url)]).await;
    let order = service.order("tea", 2).await; // answered, while nobody has answered the service
    let call = partner.call().await;
    assert_eq!(service.get_orders().await[0]["delivery"]["state"], "trying");
    assert_eq!(call.body, json!({ "order": order["id"], "item": "tea", "quantity": 2 }));
    call.answer(StatusCode::OK);
    service.order_in_state(&order["id"], "delivered").await;
}

#[tokio::test]
async fn every_attempt_has_the_same_key_and_every_order_one_of_its_own() {
    let mut partner = Partner::start().await;
    let service = Service::start(&[("PARTNER_URL", &partner.url)]).await;
    let mut keys = Vec::new();
    for _ in 0..2 {
        let order = service.order("tea", 2).await;
        for status in [StatusCode::BAD_GATEWAY, StatusCode::TOO_MANY_REQUESTS, StatusCode::OK] {
            let call = partner.call().await;
            assert_eq!(call.headers["order-id"], order["id"].as_str().unwrap());
            keys.push(call.headers["idempotency-key"].clone());
            call.answer(status);
        }
        service.order_in_state(&order["id"], "delivered").await;
    }
    let (first, second) = keys.split_at(3);
    assert!(first.iter().all(|key| key == first[0]), "{keys:?}");
    assert!(second.iter().all(|key| key == second[0]), "{keys:?}");
    assert_ne!(first[0], second[0]);
}

#[tokio::test]
async fn an_order_that_the_partner_refuses_is_told_once() {
    let mut partner = Partner::start().await;
    let service = Service::start(&[("PARTNER_URL", &partner.url)]).await;
    let order = service.order("tea", 2).await;
    partner.call().await.answer(StatusCode::NOT_FOUND);
    let order = service.order_in_state(&order["id"], "failed").await;
    let failed = json!({ "state": "failed", "attempts": 1, "error": "the partner answered 404 Not Found" });
    assert_eq!(order["delivery"], failed);
    service.stop().await;
    assert!(partner.has_no_call());
}

#[tokio::test]
async fn a_partner_that_says_when_to_come_back_is_obeyed() {
    let mut partner = Partner::start().await;
    let service = Service::start(&[("PARTNER_URL", &partner.url)]).await;
    let order = service.order("tea", 2).await;
    // The policy's own delay would be 200 to 400 ms.
    partner.call().await.answer((StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]));
    let date = httpdate::fmt_http_date(UNIX_EPOCH);
    partner.call().await.answer((StatusCode::SERVICE_UNAVAILABLE, [("retry-after", date)]));
    partner.call().await.answer(StatusCode::OK);
    service.order_in_state(&order["id"], "delivered").await;
    let (_, log) = service.stop().await;
    for (attempt, delay) in [(1, "1s"), (2, "0ns")] {
        let of_attempt = format!("attempt={attempt} ");
        let line = log.lines().find(|line| line.contains("trying again") && line.contains(&of_attempt));
        assert!(line.is_some_and(|line| line.contains(&format!("delay={delay}"))), "{log}");
    }
}

#[tokio::test]
async fn a_partner_that_cannot_be_reached_is_given_up_at_last() {
    // This socket does not listen, and keeps others from using the port.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/?token=secret", nobody.local_addr().unwrap());
    let service = Service::start(&[("PARTNER_URL", &url)]).await;
    let order = service.order("tea", 2).await;
    let order = service.order_in_state(&order["id"], "failed").await;
    assert_eq!(order["delivery"]["attempts"], 5);
    let (_, log) = service.stop().await;
    assert!(!order.to_string().contains("secret") && !log.contains("secret"), "{log}");
}

#[tokio::test]
async fn an_order_that_changes_in_its_request_is_told_once_as_it_is_in_the_end() {
    let mut partner = Partner::start().await;
    let service = Service::start(&[("PARTNER_URL", &partner.url)]).await;
    let order = service.order("tea", 20).await;
    assert_eq!(order["quantity"], 22);
    let call = partner.call().await;
    assert_eq!(call.body["quantity"], 22);
    call.answer(StatusCode::OK);
    service.order_in_state(&order["id"], "delivered").await;
    service.stop().await;
    assert!(partner.has_no_call());
}

#[tokio::test]
async fn bad_input_is_told_and_nothing_is_deferred() {
    let mut partner = Partner::start().await;
    let service = Service::start(&[("PARTNER_URL", &partner.url)]).await;
    let long = format!(r#"{{"item": "{}", "quantity": 1}}"#, "x".repeat(101));
    for (body, part) in [
        (r#"{"item": "", "quantity": 1}"#, "`item` must have 1 to 100 characters"),
        (r#"{"item": "   ", "quantity": 1}"#, "`item` must have"),
        (&*long, "`item` must have"),
        (r#"{"item": "tea", "quantity": 0}"#, "`quantity` must be a whole number from 1 to 1000"),
        (r#"{"item": "tea", "quantity": 1001}"#, "`quantity` must be"),
        (r#"{"item": "tea", "quantity": -1}"#, "quantity: invalid value"),
        (r#"{"item": "tea", "quantity": "two"}"#, "quantity: invalid type"),
        (r#"{"item": "tea"}"#, "missing field `quantity`"),
        (r#"{"quantity": 1}"#, "missing field `item`"),
        (r#"{"item": "tea", "quantity": 1, "price": 0}"#, "unknown field `price`"),
        ("{", "EOF"),
        ("", "EOF"),
    ] {
        let response = service.post(body, "application/json").await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        let answer: Value = response.json().await.unwrap();
        assert!(answer["error"].as_str().unwrap().contains(part), "{answer}");
    }
    let response = service.post("item=tea", "application/x-www-form-urlencoded").await;
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);

    assert_eq!(service.get_orders().await, json!([]));
    let (status, log) = service.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("telling the partner"), "{log}");
    assert!(partner.has_no_call());
}

#[tokio::test]
async fn a_stop_signal_waits_until_the_partner_knows() {
    let service = Service::start(&[]).await;
    for _ in 0..5 {
        service.order("tea", 1).await;
    }
    let (status, log) = service.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(log.matches("the partner knows").count(), 5, "{log}");
}

#[tokio::test]
async fn a_bad_environment_is_named_and_starts_nothing() {
    for (variable, value) in [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("PORT", ""),
        ("PARTNER_URL", ""),
        ("PARTNER_URL", "partner.example"),
        ("PARTNER_URL", "ftp://partner.example/orders"),
        ("PARTNER_URL", "http://"),
    ] {
        let folder = TempDir::new().unwrap();
        let output = program(folder.path(), &[(variable, value)]).output().await.unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{log}");
        assert!(log.starts_with(&format!("webhook: {variable}={value:?} is not usable: ")), "{log}");
        assert!(output.stdout.is_empty());
    }
}

/// A running service. Dropping it kills it.
struct Service {
    orders: String,
    client: Client,
    process: Child,
    folder: TempDir,
    // Kept open: the program may still write to it.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Service {
    async fn start(vars: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut process = program(folder.path(), vars).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.expect("it says where it listens").unwrap();
        let line = line.unwrap_or_else(|| panic!("it ended: {}", log(folder.path())));
        let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}"));
        let orders = format!("{address}/orders");
        let client = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { orders, client, folder, process, _stdout: lines }
    }

    async fn post(&self, body: &str, content_type: &str) -> Response {
        let request = self.client.post(&self.orders).header("content-type", content_type);
        request.body(body.to_owned()).send().await.unwrap()
    }

    async fn order(&self, item: &str, quantity: u32) -> Value {
        let body = json!({ "item": item, "quantity": quantity }).to_string();
        let response = self.post(&body, "application/json").await;
        assert_eq!(response.status(), StatusCode::CREATED);
        response.json().await.unwrap()
    }

    async fn get_orders(&self) -> Value {
        let response = self.client.get(&self.orders).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    }

    /// Polls the order until its delivery has this state.
    async fn order_in_state(&self, id: &Value, state: &str) -> Value {
        let reached = async {
            loop {
                let orders = self.get_orders().await;
                let order = orders.as_array().unwrap().iter().find(|order| &order["id"] == id).unwrap();
                if order["delivery"]["state"] == state {
                    return order.clone();
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("waited in vain for {state}"))
    }

    /// Asks the program to stop, as a service manager does. Returns its exit status and its log.
    async fn stop(mut self) -> (ExitStatus, String) {
        let kill = format!("kill -TERM {}", self.process.id().unwrap());
        assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
        let status = timeout(PATIENCE, self.process.wait()).await.expect("it stops").unwrap();
        (status, log(self.folder.path()))
    }
}

fn program(folder: &Path, vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_webhook"));
    command
        .current_dir(folder)
        .env_remove("PARTNER_URL")
        .env_remove("RUST_LOG")
        .env("PORT", "0")
        .envs(vars.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(folder.join("log")).unwrap())
        .kill_on_drop(true);
    command
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap()
}

/// A partner that a test controls.
struct Partner {
    url: String,
    calls: mpsc::UnboundedReceiver<Call>,
}

/// A call that is waiting for its answer.
struct Call {
    headers: HeaderMap,
    body: Value,
    answer: oneshot::Sender<axum::response::Response>,
}

impl Partner {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, calls) = mpsc::unbounded_channel();
        let app = Router::new().route("/hook", post(receive)).with_state(sender);
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { url, calls }
    }

    async fn call(&mut self) -> Call {
        timeout(PATIENCE, self.calls.recv()).await.expect("a call").unwrap()
    }

    fn has_no_call(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }
}

async fn receive(
    State(calls): State<mpsc::UnboundedSender<Call>>,
    headers: HeaderMap,
    axum::Json(body): axum::Json<Value>,
) -> axum::response::Response {
    let (answer, answered) = oneshot::channel();
    calls.send(Call { headers, body, answer }).ok().unwrap();
    answered.await.unwrap()
}

impl Call {
    fn answer(self, response: impl IntoResponse) {
        self.answer.send(response.into_response()).unwrap();
    }
}
