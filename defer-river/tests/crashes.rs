//! Processes that are killed with SIGKILL, on SQLite and on the Postgres of `DEFER_TEST_POSTGRES`.

#![cfg(feature = "sqlite")]
// Clippy allows `unwrap` in functions that are tests, but not in the helpers and jobs beside them.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[macro_use]
mod service;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use defer_core::{JobStatus, Scope, defer};
use http::StatusCode;

use self::service::{CHILD, Journal, Mail, PATIENCE, Service, until};

/// What a child says when it is to be killed.
const READY: &str = "ready to be killed";

/// Starts this test program as another process, which does this until it is killed.
fn start(what: &str, url: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_other_process", "--nocapture"])
        .env(CHILD, what)
        .env("DEFER_TEST_URL", url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(READY)), "it ended by itself");
    child
}

/// Kills with SIGKILL.
fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Does nothing, unless it was started by another test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_process() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let service = Service::at(&std::env::var("DEFER_TEST_URL").unwrap(), Journal::default()).await;
    match &*what {
        "holds" => {
            let mut request = Scope::new(service.runner.clone());
            request.enter(|| {
                defer(Mail::new("held"));
                defer(Mail::new("on success")).on_success();
            });
            request.list().unwrap().admit(Some(StatusCode::OK)).await;
            let mut failed = Scope::new(service.runner.clone());
            failed.enter(|| defer(Mail::new("of a failed one")).on_success());
            failed.list().unwrap().admit(Some(StatusCode::BAD_GATEWAY)).await;
            println!("\n{READY}");
            std::future::pending::<()>().await;
        }
        _ => {
            let journal = service.journal.clone();
            let ready = async move {
                until(async move || !journal.lock().unwrap().is_empty()).await;
                println!("\n{READY}");
                std::future::pending::<()>().await;
            };
            // Its own limit must not stop the job before it is killed.
            service.worker().run_until(ready).await.unwrap();
        }
    }
}

async fn the_jobs_of_a_process_that_died_before_their_response_was_over_run_in_another(service: Service) {
    let url = service.url.clone();
    let child = tokio::task::spawn_blocking(move || start("holds", &url)).await.unwrap();
    service.worker().run_until_empty().await.unwrap();
    assert!(service.lines().is_empty(), "its response is not over");
    kill(child);
    let journal = service.journal.clone();
    let ran = until(async move || journal.lock().unwrap().len() >= 2);
    service.worker().run_until(ran).await.unwrap();
    assert_eq!(service.sorted(), ["held 1 unknown 200", "on success 1 unknown 200"]);
    let counts = service.queue.counts().await.unwrap();
    assert_eq!((counts.pending, counts.running, counts.done), (0, 0, 2), "the third was skipped");
}

async fn a_job_of_a_process_that_died_while_it_ran_runs_in_another_and_that_was_no_attempt(service: Service) {
    let id = service.queue.push(Mail::new("ends elsewhere")).await.unwrap();
    let url = service.url.clone();
    let child = tokio::task::spawn_blocking(move || start("works", &url)).await.unwrap();
    kill(child);
    assert_eq!(service.queue.status(id).await.unwrap(), Some(JobStatus::Running), "nobody knows yet");
    let worker = service.worker().job_timeout(Duration::from_secs(1));
    tokio::time::timeout(PATIENCE, worker.run_until_empty()).await.expect("River finds it").unwrap();
    assert_eq!(service.lines(), ["ends elsewhere 1 none"]);
    assert_eq!(service.queue.status(id).await.unwrap(), Some(JobStatus::Succeeded));
}

scenarios! {
    the_jobs_of_a_process_that_died_before_their_response_was_over_run_in_another,
    a_job_of_a_process_that_died_while_it_ran_runs_in_another_and_that_was_no_attempt,
}
