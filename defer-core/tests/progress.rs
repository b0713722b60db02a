//! How far a job says that it is.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use defer_core::{JobContext, JobError, JobId, JobStatus, Progress, Runner, defer, defer_fn, scope};
use serde::{Serialize, Serializer};
use support::{Kind, SECOND, Twice, quiet_panics};
use tokio::sync::mpsc;

/// Returns the progress of a running job, as a client sees it.
async fn progress(runner: &Runner, id: JobId) -> Option<Progress> {
    match runner.status(id).await.unwrap() {
        JobStatus::InProgress { progress, .. } => Some(progress),
        _ => None,
    }
}

#[tokio::test]
async fn a_job_says_how_far_it_is_and_its_last_word_stays() {
    let runner = Runner::builder().keep_outcomes(10).build();
    let (step, mut steps) = mpsc::channel::<()>(1);
    let (done, mut dones) = mpsc::channel::<()>(1);
    let mut id = None;
    let list = scope(&runner, async {
        let job = defer_fn(move |cx| async move {
            for at in 1..=3 {
                steps.recv().await.unwrap();
                cx.set_progress(BTreeMap::from([("done", at)]))?;
                done.send(()).await?;
            }
            steps.recv().await;
            Ok(())
        });
        id = Some(job.id());
    });
    list.await;
    let id = id.unwrap();
    for at in 1..=3 {
        step.send(()).await.unwrap();
        dones.recv().await.unwrap();
        let progress = progress(&runner, id).await.unwrap();
        assert_eq!(progress.json(), format!(r#"{{"done":{at}}}"#));
        assert_eq!(progress.get::<BTreeMap<String, i32>>().unwrap()["done"], at);
    }
    let status = runner.status(id).await.unwrap();
    assert_eq!((status.to_string().as_str(), status.is_final()), ("running", false));
    drop(step);
    runner.idle().await;
    assert_eq!(runner.status(id).await, Some(JobStatus::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_new_attempt_starts_without_progress_and_an_old_one_no_longer_counts() {
    let runner = Runner::builder().keep_outcomes(10).build();
    let (told, mut contexts) = mpsc::unbounded_channel::<JobContext>();
    let mut id = None;
    let list = scope(&runner, async {
        let job = defer(Twice::job(move |cx| {
            let told = told.clone();
            async move {
                told.send(cx.clone())?;
                if cx.attempt() == 1 {
                    cx.set_progress(90)?;
                    return Err(JobError::msg("on purpose"));
                }
                std::future::pending().await
            }
        }));
        id = Some(job.id());
    });
    list.await;
    let id = id.unwrap();
    let first = contexts.recv().await.unwrap();
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(runner.status(id).await, Some(JobStatus::Pending));
    first.set_progress(91).unwrap();
    assert_eq!(runner.status(id).await, Some(JobStatus::Pending), "the attempt has ended");
    let second = contexts.recv().await.unwrap();
    assert_eq!(runner.status(id).await, Some(JobStatus::Running));
    first.set_progress(92).unwrap();
    assert_eq!(runner.status(id).await, Some(JobStatus::Running));
    second.set_progress(1).unwrap();
    assert_eq!(progress(&runner, id).await.unwrap().json(), "1");
    runner.shutdown(SECOND).await;
    second.set_progress(2).unwrap();
    assert_eq!(runner.status(id).await, Some(JobStatus::Abandoned));
}

#[tokio::test]
async fn progress_that_is_too_large_or_no_json_is_refused_and_the_last_word_stays() {
    let runner = Runner::builder().keep_outcomes(10).build();
    let (told, mut errors) = mpsc::unbounded_channel();
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let mut id = None;
    let list = scope(&runner, async {
        let job = defer_fn(move |cx| async move {
            cx.set_progress("half")?;
            told.send(cx.set_progress("x".repeat(5000)).unwrap_err().to_string())?;
            told.send(cx.set_progress(BTreeMap::from([((1, 1), 1)])).unwrap_err().to_string())?;
            drop(gone.await);
            Ok(())
        });
        id = Some(job.id());
    });
    list.await;
    assert!(errors.recv().await.unwrap().contains("longer than 4096 bytes"));
    assert!(errors.recv().await.unwrap().contains("cannot be written as JSON"));
    assert_eq!(progress(&runner, id.unwrap()).await.unwrap().json(), "\"half\"");
    drop(go);
    runner.idle().await;
    assert_eq!(runner.stats().succeeded, 1);
}

/// Counts how often it is written.
struct Counted(Arc<AtomicUsize>);

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        serializer.serialize_unit()
    }
}

#[tokio::test]
async fn where_nobody_can_ask_progress_is_not_even_written() {
    let written = Arc::new(AtomicUsize::new(0));
    for (runner, times) in [(Runner::default(), 0), (Runner::builder().keep_outcomes(1).build(), 1)] {
        let counted = Counted(written.clone());
        scope(&runner, async {
            defer_fn(|cx| async move { Ok(cx.set_progress(counted)?) });
        })
        .await;
        runner.idle().await;
        assert_eq!((runner.stats().succeeded, written.load(Ordering::Relaxed)), (1, times));
    }
}

/// Asks the runner while it is written, and then panics.
struct Reenters(Runner, JobContext);

impl Serialize for Reenters {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        self.1.set_progress("from within").unwrap();
        assert_eq!(self.0.running().len(), 1);
        panic!("on purpose")
    }
}

#[tokio::test]
async fn a_value_may_ask_the_runner_and_panic_while_it_is_written() {
    quiet_panics();
    let runner = Runner::builder().keep_outcomes(1).build();
    let of_job = runner.clone();
    let mut id = None;
    let list = scope(&runner, async {
        id = Some(defer_fn(|cx| async move { Ok(cx.set_progress(Reenters(of_job, cx.clone()))?) }).id());
    });
    list.await;
    runner.idle().await;
    let status = runner.status(id.unwrap()).await;
    assert_eq!(status, Some(JobStatus::failed("panicked: on purpose")));
    scope(&runner, async {
        defer_fn(|cx| async move { Ok(cx.set_progress(1)?) });
    })
    .await;
    runner.idle().await;
    assert_eq!(runner.stats().succeeded, 1, "nothing is left locked");
}
