//! Checks the promises of a queue that can be inspected.

use std::time::Duration;

use super::{
    bench::{Bench, does, note, retried},
    jobs::{Does, Note},
    place::{Place, inspects, joined},
};
use crate::{
    job::job::Deferrable,
    model::{error::BoxError, id::JobId, status::JobStatus},
    store::{Cancel, JobFilter, QueuedJob, QueuedState},
};

/// Returns `None` if the method has its default, which returns an error.
fn known<T>(answer: Result<T, BoxError>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(error) if error.to_string().starts_with("this queue cannot ") => None,
        Err(error) => panic!("a queue that is well must answer: {error}"),
    }
}

async fn status<P: Place>(bench: &Bench<P>, id: JobId) -> Option<JobStatus> {
    known(inspects(&bench.queue).status(id).await).flatten()
}

pub(super) async fn counts_and_status_follow_a_job<P: Place>(bench: Bench<P>) {
    let (good, bad) = (note("good"), does("bad", Does::Fails));
    let counts = async || known(inspects(&bench.queue).counts().await);
    if let Some(counts) = counts().await {
        let counts = (counts.pending, counts.running, counts.done, counts.failed);
        assert_eq!(counts, (0, 0, 0, 0), "an empty place must have no jobs");
    }
    assert_eq!(status(&bench, good.id).await, None, "a job that was never pushed has no status");
    bench.push(&[good.clone(), bad.clone()]).await;
    assert_eq!(status(&bench, good.id).await, Some(JobStatus::Pending), "a job that was pushed waits");
    if let Some(counts) = counts().await {
        assert_eq!((counts.pending, counts.failed), (2, 0), "two jobs wait: {counts:?}");
    }
    bench.work().await;
    let ended = status(&bench, good.id).await;
    let is_right = matches!(ended, Some(JobStatus::Succeeded) | None);
    assert!(is_right, "a job that has succeeded must be known as such, or no longer, and not as {ended:?}");
    let ended = status(&bench, bad.id).await;
    let is_right = matches!(&ended, Some(JobStatus::Failed { error }) if error.contains("on purpose"));
    assert!(is_right, "a job that has failed must be known as such, with its error, and not as {ended:?}");
    if let Some(counts) = counts().await {
        let now = (counts.pending, counts.running, counts.failed);
        assert_eq!(now, (0, 0, 1), "one job has failed, and none waits or runs: {counts:?}");
    }
}

pub(super) async fn a_failed_job_is_listed_and_can_be_retried_and_discarded<P: Place>(bench: Bench<P>) {
    let inspect = inspects(&bench.queue);
    let job = retried("fails", Does::Fails);
    bench.push(&[note("succeeds"), job.clone()]).await;
    bench.work().await;
    let failed = known(inspect.failed(10).await).unwrap_or_default();
    let seen: Vec<_> = failed.iter().map(|job| (job.id, &*job.name, job.attempts)).collect();
    assert_eq!(seen, [(job.id, &*job.name, 3)], "a job that has failed must be listed with its attempts");
    assert!(failed[0].error.contains("on purpose"), "it must be listed with its error: {failed:?}");
    let none = known(inspect.failed(0).await).unwrap_or_default();
    assert!(none.is_empty(), "no more than so many failed jobs must be listed: {none:?}");
    assert_ne!(known(inspect.retry(JobId::unique()).await), Some(true), "no unknown job can be retried");
    if let Some(retried) = known(inspect.retry(job.id).await) {
        assert!(retried, "a job that has failed can be retried");
        bench.work().await;
        let attempts = bench.journal.lines().into_iter().filter(|line| line.id == job.id);
        let attempts: Vec<_> = attempts.map(|line| line.attempt).collect();
        assert_eq!(attempts, [1, 2, 3, 1, 2, 3], "a job that is retried must have all of its attempts again");
    }
    if let Some(discarded) = known(inspect.discard(job.id).await) {
        assert!(discarded, "a job that has failed can be discarded");
        assert_eq!(status(&bench, job.id).await, None, "a job that was discarded must be gone");
        let again = known(inspect.discard(job.id).await);
        assert_ne!(again, Some(true), "a job that was discarded must be gone");
    }
}

pub(super) async fn a_job_that_waits_can_be_cancelled<P: Place>(bench: Bench<P>) {
    let inspect = inspects(&bench.queue);
    let job = note("cancelled");
    bench.push(&[job.clone(), note("stays")]).await;
    let Some(cancelled) = known(inspect.cancel(job.id).await) else { return };
    assert_eq!(cancelled, Cancel::Cancelled, "a job that waits can be cancelled");
    let again = known(inspect.cancel(job.id).await);
    let is_right = matches!(again, Some(Cancel::Ended | Cancel::Unknown));
    assert!(is_right, "a job that was cancelled must be known as ended, or no longer, and not as {again:?}");
    let unknown = known(inspect.cancel(JobId::unique()).await);
    assert_eq!(unknown, Some(Cancel::Unknown), "a job that was never pushed must be unknown");
    bench.work().await;
    bench.assert_ran_once(&["stays".to_owned()]);
}

pub(super) async fn a_paused_type_waits_until_it_is_resumed<P: Place>(bench: Bench<P>) {
    let inspect = inspects(&bench.queue);
    if known(inspect.pause(Note::NAME).await).is_none() {
        return;
    }
    known(inspect.pause(Note::NAME).await);
    let others: Vec<String> = (0..20).map(|number| format!("goes on {number}")).collect();
    let mut jobs = vec![note("paused")];
    jobs.extend(others.iter().map(|text| retried(text, Does::Succeeds)));
    bench.push(&jobs).await;
    // Runs until no job is waiting, so the type may have to be resumed first.
    let working = tokio::spawn(P::work(bench.queue.clone(), bench.runner.clone()));
    for text in &others {
        bench.journal.has(text).await;
    }
    let ran = bench.journal.texts();
    assert!(!ran.contains(&"paused".to_owned()), "a job whose type is paused must wait: {ran:?}");
    known(inspect.resume(Note::NAME).await);
    joined(working).await;
    bench.work().await;
    bench.assert_ran_once(&[others, vec!["paused".to_owned()]].concat());
}

pub(super) async fn a_job_is_shown_as_far_as_it_has_got<P: Place>(bench: Bench<P>) {
    let inspect = inspects(&bench.queue);
    let (good, bad) = (note("good"), does("bad", Does::Fails));
    let mut later = note("later");
    later.delay = Duration::from_millis(300);
    assert_eq!(known(inspect.job(good.id).await).flatten(), None, "a job that was never pushed is not there");
    bench.push(&[good.clone(), bad.clone(), later.clone()]).await;
    let Some(shown) = known(inspect.job(good.id).await).flatten() else { return };
    let seen = (shown.id, &*shown.name, shown.state, shown.attempts);
    assert_eq!(seen, (good.id, Note::NAME, QueuedState::Ready, 0), "a job that was pushed is ready");
    assert!(shown.due_in.is_none() && shown.ready_for.is_some(), "a job that was pushed is due: {shown:?}");
    let list = async |filter| {
        let jobs = known(inspect.jobs(filter, 10).await).unwrap_or_default();
        jobs.iter().map(|job: &QueuedJob| job.id).collect::<Vec<_>>()
    };
    let ready = list(JobFilter::Ready).await;
    let is_right = ready.is_empty() || ready.contains(&good.id) && ready.contains(&bad.id);
    assert!(is_right, "the jobs that are due must be listed: {ready:?}");
    let is_delayed = |job: &QueuedJob| job.state == QueuedState::Delayed && job.due_in.is_some();
    let shown = known(inspect.job(later.id).await).flatten();
    let is_due = shown.as_ref().is_some_and(|job| job.state == QueuedState::Ready);
    assert!(is_due || shown.as_ref().is_some_and(is_delayed), "a delayed job is delayed: {shown:?}");
    bench.work().await;
    for (job, state) in [(&good, QueuedState::Done), (&bad, QueuedState::Failed)] {
        let shown = known(inspect.job(job.id).await).flatten();
        let is_right = shown.as_ref().is_none_or(|job| job.state == state && job.process.is_none());
        assert!(is_right, "a job that has ended must be shown so, or no longer, and not as {shown:?}");
    }
    let none = [list(JobFilter::Ready).await, list(JobFilter::Delayed).await, list(JobFilter::Running).await];
    assert_eq!(none, [[], [], []], "what has ended must not be listed among those that wait or run");
}

pub(super) async fn failures_are_grouped_and_a_group_can_be_retried_and_discarded<P: Place>(bench: Bench<P>) {
    let inspect = inspects(&bench.queue);
    let (first, second, other) =
        (does("first", Does::Fails), does("second", Does::Fails), does("third", Does::FailsOtherwise));
    bench.push(&[first.clone(), second.clone(), other.clone()]).await;
    bench.work().await;
    let groups = known(inspect.failures(10).await).unwrap_or_default();
    if groups.is_empty() {
        return;
    }
    assert_eq!(
        groups.iter().map(|group| group.count).sum::<u64>(),
        3,
        "each failure is in one group: {groups:?}"
    );
    let group = groups.iter().find(|group| group.count == 2);
    let group = group.unwrap_or_else(|| panic!("two jobs that failed alike are one group: {groups:?}"));
    let is_example = [first.id, second.id].contains(&group.example);
    assert!(
        is_example && group.name == Note::NAME,
        "a group must have one of its jobs as example: {group:?}"
    );
    let unknown = known(inspect.retry_all(&group.name, "no such error").await);
    assert!(matches!(unknown, None | Some(0)), "no job failed with that: {unknown:?}");
    if let Some(retried) = known(inspect.retry_all(&group.name, &group.error).await) {
        assert_eq!(retried, 2, "all jobs of a group, and no others, are retried");
        bench.work().await;
        let times = |id: JobId| bench.journal.lines().iter().filter(|line| line.id == id).count();
        assert_eq!((times(first.id), times(second.id)), (2, 2), "a job that is retried must run again");
        assert_eq!(times(other.id), 1, "a job of another group must not run again");
    }
    if let Some(discarded) = known(inspect.discard_all(&group.name, &group.error).await) {
        assert_eq!(discarded, 2, "all jobs of a group, and no others, are discarded");
        let left = known(inspect.failures(10).await).unwrap_or_default();
        let left: Vec<_> = left.iter().map(|group| (group.count, group.example)).collect();
        assert_eq!(left, [(1, other.id)], "the jobs of another group must be left");
    }
}
