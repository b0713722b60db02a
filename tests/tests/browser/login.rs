//! Where the page is mounted, and what it shows once the user is logged out.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use defer_axum::{Dashboard, Runner};
use http::StatusCode;

use crate::{
    open_app,
    queue::{Answers, Fake},
};

#[tokio::test]
async fn with_and_without_a_slash_at_its_end_the_page_is_whole_and_live() {
    for path in ["/jobs", "/jobs/"] {
        let runner = Runner::default();
        let dashboard = Dashboard::new(&runner).into_router::<()>();
        let routes = Router::new().nest_service("/jobs", dashboard);
        let (_server, browser) = open_app(&runner, routes, path).await;
        browser.text("#types", "No job was deferred yet.").await;
        let display: String = browser.run("getComputedStyle(document.querySelector('main')).display").await;
        assert_eq!(display, "grid", "{path} has its style");
    }
}

/// The ways in which an app rejects clients that are not logged in.
#[derive(Clone, Copy, Debug)]
enum Refuses {
    WithAStatus,
    WithARedirect,
}

#[tokio::test]
async fn a_page_whose_login_expired_says_so_and_stops_asking() {
    for refuses in [Refuses::WithAStatus, Refuses::WithARedirect] {
        let queue = Fake::new(Answers::Well);
        let runner = Runner::builder().queue(queue.clone()).build();
        let has_expired = Arc::new(AtomicBool::new(false));
        let refused = Arc::new(AtomicUsize::new(0));
        let state = (has_expired.clone(), refused.clone());
        let auth = from_fn(move |request: Request, next: Next| {
            let (has_expired, refused) = state.clone();
            async move {
                if !has_expired.load(Ordering::SeqCst) {
                    return next.run(request).await;
                }
                refused.fetch_add(1, Ordering::SeqCst);
                refuse(refuses)
            }
        });
        let dashboard = Dashboard::new(&runner).enable_actions().into_router().layer(auth);
        let routes = Router::new().nest("/jobs", dashboard).route("/login", get(async || "Log in"));
        let (_server, browser) = open_app(&runner, routes, "/jobs").await;
        has_expired.store(true, Ordering::SeqCst);

        browser.click("#failures li button[value=retry_group]").await;
        browser.click("#ask[open] button[value=yes]").await;
        browser.text("#said[data-state=failed]", "your login may have expired").await;
        assert_eq!(queue.done(), [""; 0], "{refuses:?}");

        // The page asks for changes again, as it does every half minute.
        browser.click("#pause").await;
        browser.click("#pause").await;
        browser.text("#live[data-state=ended]", "your login may have expired").await;
        let asked = refused.load(Ordering::SeqCst);
        // Nothing signals that a page will not ask again. This is longer than it waits after any other failure.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        assert_eq!(refused.load(Ordering::SeqCst), asked, "{refuses:?}");
    }
}

fn refuse(refuses: Refuses) -> Response {
    match refuses {
        Refuses::WithAStatus => (StatusCode::UNAUTHORIZED, "who are you?").into_response(),
        Refuses::WithARedirect => Redirect::to("/login").into_response(),
    }
}
