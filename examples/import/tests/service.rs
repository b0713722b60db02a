//! The service over a socket.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use reqwest::StatusCode;
use serde_json::json;
use support::Service;

const AN_HOUR: u64 = 3_600_000;

#[tokio::test]
async fn a_client_hears_how_far_its_import_is_up_to_the_end() {
    let service = Service::start(0).await;
    let id = service.import("Ada, ada@example.com\n\nnobody\n").await;
    let heard = service.events(&id).await.all().await;
    assert_eq!(heard.last(), Some(&json!({"status": "succeeded", "final": true})));
    // A client that connects later sees the end.
    assert_eq!(service.events(&id).await.all().await, [json!({"status": "succeeded", "final": true})]);
    assert_eq!(service.cancel(&id).await, StatusCode::CONFLICT);

    let id = service.import("nobody").await;
    let heard = service.events(&id).await.all().await;
    assert_eq!(heard.last(), Some(&json!({"status": "failed", "final": true})), "why is not for the client");
}

#[tokio::test]
async fn a_client_hears_of_the_last_step_before_the_end() {
    let service = Service::start(5).await;
    let lines = "Ada, ada@example.com\nnobody\n";
    // A short import may be over before the client listens. If so, a longer one follows.
    for times in [10, 100, 1_000] {
        let id = service.import(lines.repeat(times)).await;
        let heard = service.events(&id).await.all().await;
        let [.., last, _end] = &heard[..] else { continue };
        let progress = json!({"done": 2 * times, "of": 2 * times, "refused": times});
        assert_eq!(last, &json!({"status": "running", "progress": progress, "final": false}));
        return;
    }
    panic!("no import was long enough");
}

#[tokio::test]
async fn an_import_that_runs_is_cancelled() {
    let service = Service::start(AN_HOUR).await;
    let id = service.import("Ada, ada@example.com").await;
    let mut events = service.events(&id).await;
    let runs = json!({"status": "running", "progress": {"done": 0, "of": 1, "refused": 0}, "final": false});
    while events.next().await.unwrap() != runs {}
    assert_eq!(service.cancel(&id).await, StatusCode::ACCEPTED);
    assert_eq!(events.all().await, [json!({"status": "cancelled", "final": true})]);
}

#[tokio::test]
async fn a_client_that_waits_keeps_no_service_from_its_end() {
    let service = Service::start(0).await;
    let id = service.import("Ada, ada@example.com").await;
    let _open = service.events(&id).await;
    service.stop().await;
}

#[tokio::test]
async fn an_unknown_import_is_not_found_and_what_is_no_id_is_refused() {
    let service = Service::start(0).await;
    let id = "00000000000000000000000000";
    assert_eq!(service.events(id).await.response.status(), StatusCode::NOT_FOUND);
    assert_eq!(service.cancel(id).await, StatusCode::NOT_FOUND);
    assert_eq!(service.cancel("nothing").await, StatusCode::BAD_REQUEST);
}
