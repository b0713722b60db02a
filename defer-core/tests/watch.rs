//! The statuses that a client sees while it waits for a job.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use defer_core::{
    JobError, JobId, JobStatus, Runner, defer, defer_fn,
    queue::{Metadata, Resume},
    scope,
};
use futures_core::Stream;
use support::{Kind, Queued, Rows, SECOND, Twice};
use tokio::sync::mpsc;

type Statuses = Pin<Box<dyn Stream<Item = JobStatus> + Send>>;

fn watch(runner: &Runner, id: JobId) -> Statuses {
    Box::pin(runner.watch(id))
}

async fn next(statuses: &mut Statuses) -> Option<JobStatus> {
    poll_fn(|cx| statuses.as_mut().poll_next(cx)).await
}

/// Returns the status that is known now.
fn now(statuses: &mut Statuses) -> Poll<Option<JobStatus>> {
    statuses.as_mut().poll_next(&mut Context::from_waker(Waker::noop()))
}

/// All that is heard.
async fn all(mut statuses: Statuses) -> Vec<String> {
    let mut heard = Vec::new();
    while let Some(status) = next(&mut statuses).await {
        heard.push(match status {
            JobStatus::InProgress { progress, .. } => progress.json().to_owned(),
            status => status.to_string(),
        });
    }
    heard
}

/// A job that says a number each time it is told to go on, and the ways to tell it.
async fn counting(runner: &Runner) -> (JobId, mpsc::Sender<()>) {
    let (step, mut steps) = mpsc::channel::<()>(1);
    let mut id = None;
    let list = scope(runner, async {
        let job = defer_fn(move |cx| async move {
            let mut at = 0;
            while steps.recv().await.is_some() {
                at += 1;
                cx.set_progress(at)?;
            }
            Ok(())
        });
        id = Some(job.id());
    });
    list.await;
    (id.unwrap(), step)
}

#[tokio::test(start_paused = true)]
async fn a_watcher_hears_how_the_job_stands_and_each_change_up_to_its_end() {
    let runner = Runner::builder().keep_outcomes(10).build();
    let mut id = None;
    let list = scope(&runner, async {
        let job = defer(Twice::job(|cx| async move {
            tokio::time::sleep(SECOND).await;
            cx.set_progress(cx.attempt())?;
            tokio::time::sleep(SECOND).await;
            if cx.attempt() == 1 { Err(JobError::msg("on purpose")) } else { Ok(()) }
        }));
        id = Some(job.delay(SECOND).id());
    });
    list.await;
    let (id, heard) = (id.unwrap(), ["pending", "running", "1", "pending", "running", "2", "succeeded"]);
    assert_eq!(all(watch(&runner, id)).await, heard);
    assert_eq!(all(watch(&runner, id)).await, ["succeeded"], "one that comes later");
    assert!(all(watch(&runner, JobId::unique())).await.is_empty(), "of an unknown id");
}

#[tokio::test]
async fn a_slow_reader_gets_the_latest_and_the_end_though_it_is_forgotten() {
    let runner = Runner::builder().keep_outcomes(1).build();
    let (id, step) = counting(&runner).await;
    let mut statuses = watch(&runner, id);
    assert!(matches!(next(&mut statuses).await, Some(JobStatus::Pending | JobStatus::Running)));
    for _ in 0..100 {
        step.send(()).await.unwrap();
    }
    while step.capacity() == 0 {
        tokio::task::yield_now().await;
    }
    // The last one was taken, so at least the one before was told.
    let Some(JobStatus::InProgress { progress, .. }) = next(&mut statuses).await else { panic!("it runs") };
    assert!(progress.get::<u32>().unwrap() >= 99, "{progress:?}");
    drop(step);
    runner.idle().await;
    scope(&runner, async { defer_fn(|_| async {}) }).await;
    runner.idle().await;
    assert_eq!(runner.status(id).await, None, "another has ended since");
    let heard = all(statuses).await;
    assert!(heard == ["succeeded"] || heard == ["100", "succeeded"], "{heard:?}");
}

#[tokio::test]
async fn progress_set_right_before_the_end_is_seen_before_it() {
    let runner = Runner::builder().keep_outcomes(10).build();
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let mut id = None;
    let list = scope(&runner, async {
        let job = defer_fn(|cx| async move {
            wait.await?;
            cx.set_progress("9 of 10")?;
            cx.set_progress("10 of 10")?;
            Err::<(), _>(JobError::msg("one was refused"))
        });
        id = Some(job.id());
    });
    list.await;
    let mut statuses = [watch(&runner, id.unwrap()), watch(&runner, id.unwrap())];
    for statuses in &mut statuses {
        assert!(matches!(next(statuses).await, Some(JobStatus::Pending | JobStatus::Running)));
    }
    go.send(()).unwrap();
    runner.idle().await;
    for statuses in statuses {
        assert_eq!(all(statuses).await, ["\"10 of 10\"", "failed"]);
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_job_that_others_run_the_queue_is_asked_once_a_second() {
    let rows = Rows::default();
    for runner in [
        Runner::builder().keep_outcomes(10).queue(rows.clone()).build(),
        Runner::builder().queue(rows.clone()).build(),
    ] {
        let id = JobId::unique();
        rows.set(id, JobStatus::Pending);
        let asked = rows.asked();
        let mut statuses = watch(&runner, id);
        assert_eq!(next(&mut statuses).await, Some(JobStatus::Pending));
        let of_rows = rows.clone();
        let elsewhere = tokio::spawn(async move {
            tokio::time::sleep(SECOND * 5 / 2).await;
            of_rows.set(id, JobStatus::Running);
            tokio::time::sleep(SECOND / 4).await;
            of_rows.cut_off(true);
            tokio::time::sleep(SECOND * 3).await;
            of_rows.set(id, JobStatus::Succeeded);
            of_rows.cut_off(false);
        });
        assert_eq!(all(statuses).await, ["succeeded"], "not what it was while it could not be asked");
        elsewhere.await.unwrap();
        assert_eq!(rows.asked() - asked, 7, "at 0 s, and once a second until 6 s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_comes_back_from_the_queue_wakes_its_watcher() {
    let rows = Rows::default();
    let runner = Runner::builder().keep_outcomes(10).queue(rows.clone()).build();
    let id = JobId::unique();
    rows.set(id, JobStatus::Pending);
    let mut statuses = watch(&runner, id);
    assert_eq!(next(&mut statuses).await, Some(JobStatus::Pending));
    let job = Queued::job(|_| async {
        tokio::time::sleep(SECOND / 4).await;
        Ok(())
    });
    let mut resumed = runner.resume(job, Resume::new(id, 0, Metadata::new())).unwrap();
    let before = tokio::time::Instant::now();
    let heard = all(statuses);
    let (heard, _) = tokio::join!(heard, resumed.ran());
    assert_eq!(heard, ["running", "succeeded"]);
    assert!(before.elapsed() < SECOND, "without a question to the queue");
}

#[tokio::test(start_paused = true)]
async fn where_the_queue_tells_nothing_queued_is_the_last_that_is_heard() {
    let rows = Rows::default();
    let runner = Runner::builder().keep_outcomes(10).queue(rows.clone()).build();
    let mut ids = Vec::new();
    for _ in 0..2 {
        scope(&runner, async { ids.push(defer(Queued::job(|_| async { Ok(()) })).id()) }).await;
    }
    runner.idle().await;
    assert_eq!(all(watch(&runner, ids[0])).await, ["queued"]);
    // It knew the job, and forgets it.
    rows.set(ids[1], JobStatus::Pending);
    let mut statuses = watch(&runner, ids[1]);
    assert_eq!(next(&mut statuses).await, Some(JobStatus::Pending));
    rows.remove(ids[1]);
    assert_eq!(all(statuses).await, ["queued"]);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_leads_to_the_job_that_runs_in_its_place() {
    let rows = Rows::default();
    let runner = Runner::builder().keep_outcomes(10).queue(rows.clone()).build();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let list = scope(&runner, async {
            let job = defer_fn(|_| tokio::time::sleep(SECOND));
            ids.push(job.unique("sync").delay(SECOND).id());
        });
        list.await;
    }
    assert_eq!(all(watch(&runner, ids[1])).await, ["pending", "running", "succeeded"]);

    let (elsewhere, forgotten) = (JobId::unique(), JobId::unique());
    rows.set(elsewhere, JobStatus::duplicate(ids[0]));
    assert_eq!(all(watch(&runner, elsewhere)).await, ["succeeded"], "by what the queue says, too");
    rows.set(elsewhere, JobStatus::duplicate(forgotten));
    assert_eq!(all(watch(&runner, elsewhere)).await, ["duplicate"], "of one that nobody knows");
    rows.set(forgotten, JobStatus::duplicate(elsewhere));
    assert_eq!(all(watch(&runner, elsewhere)).await, ["duplicate"], "in circles");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_hears_that_its_job_is_left_out_while_it_watches() {
    let runner = Runner::builder().keep_outcomes(10).build();
    let mut requests = Vec::new();
    for _ in 0..2 {
        let mut request = defer_core::Scope::new(runner.clone());
        let id = request.enter(|| {
            let job = defer_fn(|_| tokio::time::sleep(SECOND));
            job.unique("sync").delay(SECOND).id()
        });
        requests.push((id, request));
    }
    let mut statuses = watch(&runner, requests[1].0);
    assert_eq!(next(&mut statuses).await, Some(JobStatus::Pending));
    requests.into_iter().for_each(|(_, request)| request.release(None));
    assert_eq!(all(statuses).await, ["running", "succeeded"], "of the first");
}

/// Asks the runner while it is woken, and then panics.
struct Reenters(Runner, JobId, std::sync::mpsc::Sender<()>);

impl Wake for Reenters {
    fn wake(self: std::sync::Arc<Self>) {
        let status = now(&mut watch(&self.0, self.1));
        assert!(matches!(status, Poll::Ready(Some(_))));
        let _ = self.2.send(());
        panic!("on purpose");
    }
}

#[tokio::test]
async fn a_waker_may_ask_the_runner_and_panic() {
    support::quiet_panics();
    let runner = Runner::builder().keep_outcomes(10).build();
    let (id, step) = counting(&runner).await;
    let mut statuses = watch(&runner, id);
    let (woken, wakes) = std::sync::mpsc::channel();
    let waker = Waker::from(std::sync::Arc::new(Reenters(runner.clone(), id, woken)));
    while statuses.as_mut().poll_next(&mut Context::from_waker(&waker)).is_ready() {}
    drop(step);
    runner.idle().await;
    wakes.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(all(statuses).await, ["succeeded"]);
    assert_eq!(runner.stats().succeeded, 1);
}

#[tokio::test(start_paused = true)]
async fn watchers_that_are_gone_leave_nothing_behind() {
    let runner = Runner::builder().keep_outcomes(10).build();
    let (id, step) = counting(&runner).await;
    for _ in 0..100 {
        let (mut one, other) = (watch(&runner, id), watch(&runner, id));
        assert!(now(&mut one).is_ready());
        drop(one);
        // Half-way, while it waits.
        let mut other = other;
        while now(&mut other).is_ready() {}
        drop(other);
    }
    let mut statuses = watch(&runner, id);
    while now(&mut statuses).is_ready() {}
    drop(step);
    assert_eq!(all(statuses).await, ["succeeded"]);
}
