//! The job that tells the partner, after the response.

use std::time::{Duration, SystemTime};

use defer_axum::{
    Deferrable, Job, JobContext, JobError, JobResult,
    event::{JobEvent, JobEventKind},
};
use reqwest::{
    Client, StatusCode, Url,
    header::{self, HeaderMap},
    redirect,
};
use serde::Serialize;
use uuid::Uuid;

use crate::orders::{Delivery, Orders, State};

/// Tells the partner about one order. The partner reads what is serialized.
#[derive(Deferrable, Serialize)]
#[defer(tries = 5, backoff = "200ms..5s", timeout = "5s", on = "success")]
pub(crate) struct NotifyPartner {
    order: Uuid,
    item: String,
    quantity: u32,
}

impl Job for NotifyPartner {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let Partner { client, url } = cx.state()?;
        let response = client
            .post(url.clone())
            // The same in each attempt, so that a partner whose answer was lost does not count the order twice.
            .header("idempotency-key", format!("{}-{}", self.order, cx.id()))
            .header("order-id", self.order.to_string())
            .json(self)
            .send()
            .await
            .map_err(reqwest::Error::without_url)?; // it may hold a token
        match response.status() {
            status if status.is_success() => Ok(()),
            // The partner has read it, and would reject it again.
            status if is_refusal(status) => Err(answered(status).fatal()),
            status => {
                let error = answered(status);
                Err(match retry_after(response.headers()) {
                    Some(delay) => error.retry_after(delay),
                    None => error,
                })
            }
        }
    }
}

/// Returns how long the partner asks to be left alone (RFC 9110, section 10.2.3), at most for an hour.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(3600);
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let delay = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(delay.min(LONGEST))
}

/// Returns whether the status is a 4xx other than those that mean "later".
fn is_refusal(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

fn answered(status: StatusCode) -> JobError {
    JobError::msg(format!("the partner answered {status}"))
}

/// The partner's address and the client to call it with.
pub(crate) struct Partner {
    client: Client,
    url: Url,
}

impl Partner {
    pub(crate) fn at(url: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected, for example, https://partner.example/orders";
        let url = Url::parse(url).map_err(|error| format!("{error}; {EXPECTED}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("it begins with {}:; {EXPECTED}", url.scheme()));
        }
        // A redirect could turn a POST into a GET.
        let mut client = Client::builder().redirect(redirect::Policy::none());
        if url.host_str() == Some("127.0.0.1") {
            client = client.no_proxy();
        }
        let client = client.build().map_err(|error| error.to_string())?;
        Ok(Self { client, url })
    }
}

/// Logs every attempt and updates the orders' delivery. A hook for `on_event`.
pub(crate) fn follow(orders: Orders) -> impl Fn(&JobEvent) + Send + Sync + 'static {
    move |event| {
        let (job, attempt) = (event.id(), event.attempt());
        let (state, error) = match event.kind() {
            JobEventKind::Started => {
                tracing::info!(%job, attempt, "telling the partner");
                (State::Trying, None)
            }
            JobEventKind::Succeeded { .. } => {
                tracing::info!(%job, attempt, "the partner knows");
                (State::Delivered, None)
            }
            JobEventKind::Retrying { error, delay, .. } => {
                tracing::warn!(%job, attempt, %error, ?delay, "trying again");
                (State::Waiting, Some(error.to_string()))
            }
            JobEventKind::Failed { error, .. }
            | JobEventKind::TimedOut { error, .. }
            | JobEventKind::Panicked { error, .. } => {
                tracing::error!(%job, attempt, %error, "giving up");
                (State::Failed, Some(error.to_string()))
            }
            // Deferred, replaced by a later job with its key, or left over at a shutdown.
            kind => {
                tracing::info!(%job, "{kind:?}");
                return;
            }
        };
        orders.set_delivery(job, Delivery { state, attempts: attempt, error });
    }
}
