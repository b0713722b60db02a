//! The status that a client gets when it asks about a job.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use defer_core::{
    JobError, JobId, JobStatus, Runner, Scope, defer, defer_fn,
    queue::{Metadata, Resume},
    scope,
};
use support::{Kind, OnSuccess, Plain, Queued, Rows, SECOND, Thrice, Twice};
use tokio::sync::oneshot;

#[tokio::test(start_paused = true)]
async fn a_jobs_status_is_known_from_its_deferral_to_its_end() {
    let runner = Runner::builder().keep_outcomes(10).build();
    let (go, gone) = oneshot::channel::<()>();
    let mut request = Scope::new(runner.clone());
    let ids = request.enter(|| {
        [
            defer_fn(|_| async { drop(gone.await) }).id(),
            defer(Plain::job(|_| async { Ok(()) })).id(),
            defer(Twice::job(|_| async { Err(JobError::msg("the disk is full")) })).id(),
            defer(OnSuccess::job(|_| async { Ok(()) })).id(),
        ]
    });
    let statuses = async || {
        let mut statuses = Vec::new();
        for id in ids {
            statuses.push(runner.status(id).await.unwrap().to_string());
        }
        statuses
    };
    assert_eq!(statuses().await, ["pending"; 4]);
    let response = defer_core::ResponseInfo::new(defer_core::Delivery::Disconnected);
    request.release(Some(response));
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(statuses().await, ["running", "pending", "pending", "pending"]);
    go.send(()).unwrap();
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(statuses().await, ["succeeded", "succeeded", "pending", "skipped"], "between two attempts");
    runner.idle().await;
    assert_eq!(runner.status(ids[2]).await, Some(JobStatus::failed("the disk is full")));
    for id in ids {
        assert!(runner.status(id).await.unwrap().is_final());
    }
    assert_eq!(runner.status(JobId::unique()).await, None);
}

#[tokio::test(start_paused = true)]
async fn only_the_last_that_have_ended_are_kept_and_nothing_without_being_asked() {
    let runner = Runner::builder().keep_outcomes(2).build();
    let mut ids = Vec::new();
    let list = scope(&runner, async {
        ids.push(
            defer(Thrice::job(|cx| async move {
                if cx.attempt() == 1 { Err(JobError::msg("on purpose")) } else { Ok(()) }
            }))
            .id(),
        );
        ids.extend((0..3).map(|_| defer_fn(|_| async {}).id()));
    });
    list.await;
    tokio::time::sleep(SECOND / 2).await;
    let known = async || {
        let mut known = Vec::new();
        for id in &ids {
            known.push(runner.status(*id).await.map(|status| status.to_string()));
        }
        known
    };
    let succeeded = Some("succeeded".to_owned());
    assert_eq!(known().await, [Some("pending".into()), None, succeeded.clone(), succeeded.clone()]);
    runner.idle().await;
    assert_eq!(known().await, [succeeded.clone(), None, None, succeeded]);

    let forgetful = Runner::default();
    let mut id = None;
    scope(&forgetful, async { id = Some(defer_fn(|_| async {}).id()) }).await;
    assert_eq!(forgetful.status(id.unwrap()).await, None);
}

#[tokio::test]
async fn a_job_that_comes_back_from_the_queue_is_known_as_what_it_does_now() {
    let runner = Runner::builder().keep_outcomes(1).build();
    let id = JobId::unique();
    for attempts in 0..2 {
        let resume = Resume::new(id, attempts, Metadata::new());
        let job = Twice::job(|cx| async move {
            if cx.attempt() == 1 { Err(JobError::msg("on purpose")) } else { Ok(()) }
        });
        let mut resumed = runner.resume(job, resume).unwrap();
        assert_eq!(runner.status(id).await, Some(JobStatus::Pending));
        resumed.ran().await;
        let expected = if attempts == 0 { JobStatus::Queued } else { JobStatus::Succeeded };
        assert_eq!(runner.status(id).await, Some(expected));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_late_does_not_undo_an_end() {
    let (held, hold) = std::sync::mpsc::channel::<()>();
    let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
    let hold = std::sync::Mutex::new(hold);
    let runner = Runner::builder()
        .keep_outcomes(1)
        .on_event(move |event| {
            if matches!(event.kind(), defer_core::event::JobEventKind::Started) {
                told.send(()).unwrap();
                let _ = hold.lock().unwrap().recv();
                told.send(()).unwrap();
            }
        })
        .build();
    let mut id = None;
    scope(&runner, async { id = Some(defer_fn(|_| std::future::pending::<()>()).id()) }).await;
    tells.recv().await.unwrap();
    runner.shutdown(std::time::Duration::ZERO).await;
    assert_eq!(runner.status(id.unwrap()).await, Some(JobStatus::Abandoned));
    drop(held);
    tells.recv().await.unwrap();
    // The outcomes' own hook is called after the one above, by the same thread.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
        assert_eq!(runner.status(id.unwrap()).await, Some(JobStatus::Abandoned));
    }
}

#[tokio::test]
async fn of_a_job_that_is_the_queues_the_queue_is_asked() {
    let rows = Rows::default();
    let runner = Runner::builder().keep_outcomes(10).queue(rows.clone()).build();
    let mut id = None;
    scope(&runner, async { id = Some(defer(Queued::job(|_| async { Ok(()) })).id()) }).await;
    runner.idle().await;
    let (id, pushed_elsewhere) = (id.unwrap(), JobId::unique());
    assert_eq!(runner.status(id).await, Some(JobStatus::Queued), "the queue does not tell");
    assert!(!JobStatus::Queued.is_final(), "it goes on there");
    rows.set(id, JobStatus::Running);
    assert_eq!(runner.status(id).await, Some(JobStatus::Running));
    assert_eq!(runner.status(pushed_elsewhere).await, None);
    rows.set(pushed_elsewhere, JobStatus::Succeeded);
    assert_eq!(runner.status(pushed_elsewhere).await, Some(JobStatus::Succeeded));

    let forgetful = Runner::builder().queue(rows.clone()).build();
    assert_eq!(forgetful.status(id).await, Some(JobStatus::Running), "without `keep_outcomes`, too");

    rows.cut_off(true);
    assert_eq!(runner.status(id).await, Some(JobStatus::Queued), "as far as it is known here");
    assert_eq!(runner.status(pushed_elsewhere).await, None);
}

#[tokio::test]
async fn what_runs_here_is_known_here_whatever_the_queue_says() {
    let rows = Rows::default();
    let runner = Runner::builder().keep_outcomes(10).queue(rows.clone()).build();
    let mut id = None;
    scope(&runner, async { id = Some(defer_fn(|_| async {}).id()) }).await;
    runner.idle().await;
    rows.set(id.unwrap(), JobStatus::Pending);
    assert_eq!(runner.status(id.unwrap()).await, Some(JobStatus::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_says_which_job_runs_in_its_place() {
    let runner = Runner::builder().keep_outcomes(10).build();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let list = scope(&runner, async {
            ids.push(defer_fn(|_| async {}).unique("sync").delay(SECOND).id());
        });
        list.await;
    }
    assert_eq!(runner.status(ids[0]).await, Some(JobStatus::Pending));
    assert_eq!(runner.status(ids[1]).await, Some(JobStatus::duplicate(ids[0])));
    runner.idle().await;
    assert_eq!(runner.status(ids[0]).await, Some(JobStatus::Succeeded));
    assert_eq!(runner.status(ids[1]).await, Some(JobStatus::duplicate(ids[0])));
    assert_eq!(runner.stats().cancelled, 1, "it counts as before");
}
