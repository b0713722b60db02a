//! Jobs and responses that the test has not read.

use http::StatusCode;
use http_body_util::BodyExt;

use super::*;

/// Logs what it sees of its response.
#[derive(Deferrable)]
struct Told;

impl Job for Told {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let response = cx.response().map(|response| (response.status(), response.delivery()));
        cx.state::<Log>()?.add(format!("{response:?}"));
        Ok(())
    }
}

#[derive(Deferrable)]
#[defer(on = "success")]
struct Receipt;

impl Job for Receipt {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.add("receipt");
        Ok(())
    }
}

fn app(recorder: &Recorder, status: StatusCode) -> Router {
    let handler = async move || {
        Receipt::defer();
        Told::defer();
        (status, "an answer")
    };
    Router::new().route("/", get(handler)).layer(recorder.layer())
}

#[tokio::test]
async fn jobs_run_as_after_the_answer_whether_it_is_held_dropped_or_read() {
    for how in ["held", "dropped", "read"] {
        let log = Log::new();
        let recorder = Recorder::with(Runner::builder().state(log.clone()));
        let app = app(&recorder, StatusCode::UNPROCESSABLE_ENTITY);
        let mut response = Some(app.oneshot(Request::new(Body::empty())).await.unwrap());
        match how {
            "dropped" => drop(response.take()),
            "read" => drop(response.take().unwrap().into_body().collect().await.unwrap()),
            _ => {}
        }
        recorder.run_all_ok().await;
        let delivery = if how == "dropped" { "Disconnected" } else { "Finished" };
        assert_eq!(log.lines(), [format!("Some((Some(422), {delivery}))")], "{how}");
        assert_eq!(recorder.runner().stats().skipped, 1, "{how}");
        drop(response);
    }
}

#[tokio::test]
async fn one_attempt_asks_the_condition_once_the_handler_has_answered() {
    for (status, ended) in [(StatusCode::UNPROCESSABLE_ENTITY, "skipped"), (StatusCode::OK, "succeeded")] {
        for is_held in [true, false] {
            let recorder = Recorder::with(Runner::builder().state(Log::new()));
            let response = app(&recorder, status).oneshot(Request::new(Body::empty())).await.unwrap();
            let held = is_held.then_some(response);
            let seen = recorder.run_attempt(recorder.recorded()[0].id(), 1).await;
            assert_eq!(in_short(&seen), ended, "{status}, held: {is_held}");
            drop(held);
        }
    }
}

#[tokio::test]
async fn the_response_that_a_test_makes_up_comes_before_the_one_that_was_dropped() {
    let log = Log::new();
    let recorder = Recorder::with(Runner::builder().state(log.clone()));
    let app = app(&recorder, StatusCode::BAD_REQUEST);
    drop(app.oneshot(Request::new(Body::empty())).await.unwrap());
    recorder.run_all_after(ResponseInfo::new(Delivery::Sent).with_status(Some(StatusCode::CREATED))).await;
    assert_eq!(log.lines(), ["receipt", "Some((Some(201), Sent))"]);
}
