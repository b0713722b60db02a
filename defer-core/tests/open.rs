//! Jobs that have not ended, as somebody sees them who asks.
//!
//! Time is paused in each test that sleeps: a sleep lets virtual time pass.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{future::pending, time::Duration};

use defer_core::{JobContext, JobError, OpenJob, OpenState, RequestInfo, Runner, Scope, defer, scope};
use http::{HeaderMap, Method, Version};
use support::{Events, Kind, Plain, SECOND, Thrice};
use tokio::sync::mpsc;

fn note<K: Kind>() -> support::Does<K> {
    K::job(async |_| Ok(()))
}

fn state(runner: &Runner, id: defer_core::JobId) -> Option<OpenState> {
    runner.open_job(id).map(|job| job.state)
}

#[tokio::test(start_paused = true)]
async fn an_open_job_says_what_it_waits_for() {
    let runner = Events::default().runner().build();
    let mut request = Scope::new(runner.clone());
    let of_an_open_request = request.enter(|| defer(note::<Plain>()).id());
    assert_eq!(state(&runner, of_an_open_request), Some(OpenState::Response));

    let delayed = scope(&runner, async { defer(note::<Plain>()).delay(40 * SECOND).id() }).await;
    let (told, mut contexts) = mpsc::unbounded_channel();
    let waits = move |cx| {
        told.send(cx).unwrap();
        pending()
    };
    let jobs = async { (defer(Plain::job(waits)).id(), defer(note::<Plain>()).id()) };
    let (running, behind) = scope(&runner, jobs).await;
    contexts.recv().await.unwrap();
    tokio::time::advance(10 * SECOND).await;
    let due_in = |id| state(&runner, id).and_then(OpenState::due_in);
    assert_eq!(due_in(delayed), Some(30 * SECOND));
    assert!(
        matches!(state(&runner, running), Some(OpenState::Running { elapsed: Some(elapsed), .. }) if elapsed == 10 * SECOND)
    );
    assert!(
        matches!(state(&runner, behind), Some(OpenState::Ready { waited: Some(waited), .. }) if waited == 10 * SECOND)
    );
    assert_eq!(ids(runner.delayed(10)), [delayed]);

    tokio::time::sleep(31 * SECOND).await;
    assert_eq!(state(&runner, delayed), None, "it has ended");
    assert_eq!(runner.delayed(10), []);
}

#[tokio::test(start_paused = true)]
async fn a_job_between_two_attempts_says_which_comes_next_and_when() {
    let runner = Events::default().runner().build();
    let (told, mut failed) = mpsc::unbounded_channel();
    let fails = move |_| {
        told.send(()).unwrap();
        async { Err(JobError::msg("on purpose").retry_after(40 * SECOND)) }
    };
    let retried = scope(&runner, async { defer(Thrice::job(fails)).id() }).await;
    let later = scope(&runner, async { defer(note::<Plain>()).delay(50 * SECOND).id() }).await;
    failed.recv().await.unwrap();
    // Virtual time passes once every task waits: that it failed has been noted by then.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let job = runner.open_job(retried).unwrap();
    assert_eq!((job.attempts, job.tries), (1, 3));
    assert!(
        matches!(job.state, OpenState::Retrying { due_in, .. } if due_in <= 40 * SECOND && due_in > 39 * SECOND)
    );
    assert_eq!(ids(runner.delayed(10)), [retried, later], "the next comes first");
    assert_eq!(ids(runner.delayed(1)), [retried]);
}

#[tokio::test]
async fn the_open_jobs_of_a_request_are_found_by_its_id() {
    let runner = Events::default().runner().build();
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", "r-1".parse().unwrap());
    let request = RequestInfo::new(Method::POST, "/items/7".parse().unwrap(), Version::HTTP_11)
        .with_matched_path(Some("/items/{id}".into()))
        .with_headers(Some(Box::new(headers)));
    let mut open = Scope::new(runner.clone());
    let mut others = Scope::new(runner.clone());
    let (one, two) = open.enter(|| (defer(note::<Plain>()).id(), defer(note::<Plain>()).id()));
    open.list().unwrap().set_request(request);
    others.enter(|| drop(defer(note::<Plain>())));
    let found = runner.open_jobs_of_request("r-1");
    assert_eq!(found[0].route.as_deref(), Some("POST /items/{id}"));
    assert_eq!(ids(found), [one, two]);
    assert_eq!(runner.open_jobs_of_request("r-2"), []);
}

fn ids(jobs: Vec<OpenJob>) -> Vec<defer_core::JobId> {
    jobs.into_iter().map(|job| job.id).collect()
}

#[tokio::test]
async fn a_job_that_runs_says_how_far_it_is_where_outcomes_are_kept() {
    for keeps in [true, false] {
        let builder = Events::default().runner();
        let runner = if keeps { builder.keep_outcomes(10) } else { builder }.build();
        let (told, mut contexts) = mpsc::unbounded_channel();
        let runs = move |cx: JobContext| {
            cx.set_progress(3).unwrap();
            told.send(cx).unwrap();
            pending()
        };
        let id = scope(&runner, async { defer(Plain::job(runs)).id() }).await;
        contexts.recv().await.unwrap();
        let progress = runner.open_job(id).and_then(|job| job.progress);
        assert_eq!(progress.map(|progress| progress.json().to_owned()), keeps.then(|| "3".to_owned()));
    }
}
