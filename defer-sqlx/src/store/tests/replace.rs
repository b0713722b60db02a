//! Tests of jobs that replace others, and of jobs whose starts are limited.

use defer_core::JobStatus;

use super::*;
use crate::store::interface::{Replace, Throttle};

/// A job that replaces the one with its unique key.
fn replaces(key: &str, replace: Replace, delay: i64) -> NewJob {
    NewJob { replace: Some(replace), delay, ..unique("Mail", key) }
}

async fn status(store: &Arc<dyn Store>, job: &NewJob) -> JobStatus {
    store.status(job.id).await.unwrap().expect("it is stored")
}

async fn push(store: &Arc<dyn Store>, job: &NewJob) {
    assert_eq!(store.push(std::slice::from_ref(job)).await.unwrap(), [None]);
}

/// Returns the time until the only waiting job is due, in seconds.
async fn due_in(store: &Arc<dyn Store>) -> i64 {
    let due = store.next_due(vec!["Mail".to_owned()]).await.unwrap().expect("one waits");
    // To the next hundred: each statement before this may take long.
    (due + 50_000) / 100_000 * 100
}

pub(crate) async fn a_job_that_replaces_has_the_place_of_the_other(Place { a, b, other }: Place) {
    let first = NewJob { delay: 100_000, ..unique("Mail", "k") };
    push(&a, &first).await;
    let second = replaces("k", Replace::AtItsTime, 500_000);
    push(&b, &second).await;
    assert_eq!(status(&a, &first).await, JobStatus::duplicate(second.id));
    assert_eq!(due_in(&a).await, 100);
    let third = replaces("k", Replace::AtItsTime, 0);
    push(&b, &third).await;
    assert_eq!(due_in(&a).await, 100);
    let left_out = unique("Mail", "k");
    assert_eq!(a.push(std::slice::from_ref(&left_out)).await.unwrap(), [Some(third.id)]);
    push(&other, &replaces("k", Replace::AtItsTime, 0)).await;
    assert_eq!(status(&a, &third).await, JobStatus::Pending, "queues are different");
    let holder = register(&a).await;
    take_none(&a, &holder, "Mail").await;
}

pub(crate) async fn a_place_lasts_no_longer_than_its_maximum(Place { a, b, .. }: Place) {
    push(&a, &replaces("k", Replace::Within(300_000), 500_000)).await;
    assert_eq!(due_in(&b).await, 300, "of the first alone, too");
    push(&b, &replaces("k", Replace::Within(300_000), 100_000)).await;
    assert_eq!(due_in(&a).await, 100, "each starts its own delay");
    push(&b, &replaces("k", Replace::Within(300_000), 200_000)).await;
    assert_eq!(due_in(&a).await, 200);
    push(&b, &replaces("k", Replace::Within(300_000), 900_000)).await;
    assert_eq!(due_in(&a).await, 300);
    push(&b, &replaces("k", Replace::Within(0), 900_000)).await;
    assert_eq!(due_in(&a).await, 0);
    let holder = register(&a).await;
    assert_eq!(take(&a, &holder, &["Mail"], 9).await.len(), 1);
}

fn ready_replacing(key: &str, delay: i64, replace: Replace) -> ChangeKind {
    ChangeKind::Ready {
        delay,
        serial: None,
        unique: Some(key.to_owned()),
        replace: Some(replace),
        throttle: None,
        outcome: None,
    }
}

pub(crate) async fn a_held_job_replaces_when_it_is_made_ready(Place { a, b, .. }: Place) {
    let (one, other) = (register(&a).await, register(&b).await);
    let jobs: Vec<NewJob> = (0..3).map(|_| unique("Mail", "k")).collect();
    a.write(&one, &jobs[..2], &[]).await.unwrap();
    b.write(&other, &jobs[2..], &[]).await.unwrap();
    let kind = || ready_replacing("k", 100_000, Replace::AtItsTime);
    assert_eq!(write_one(&a, &one, change(&jobs[0], 1, kind())).await, Changed::Made);
    let second = change(&jobs[1], 1, kind());
    assert_eq!(write_one(&a, &one, second.clone()).await, Changed::Made);
    let late = ready_replacing("k", 0, Replace::AtItsTime);
    assert_eq!(write_one(&b, &other, change(&jobs[2], 1, late)).await, Changed::Made);
    assert_eq!(write_one(&a, &one, again(&second)).await, Changed::Made, "it was, and was replaced since");
    assert_eq!(status(&b, &jobs[0]).await, JobStatus::duplicate(jobs[2].id));
    assert_eq!(status(&b, &jobs[1]).await, JobStatus::duplicate(jobs[2].id));
    assert_eq!(status(&b, &jobs[2]).await, JobStatus::Pending);
    assert_eq!(due_in(&a).await, 100);
    // A change that is refused replaces nothing.
    let stranger = change(&jobs[0], 1, kind());
    assert_eq!(write_one(&b, &other, stranger).await, Changed::Refused);
    assert_eq!(status(&b, &jobs[2]).await, JobStatus::Pending);
}

pub(crate) async fn a_taken_job_is_not_replaced(Place { a, b, .. }: Place) {
    let (first, second) = (unique("Mail", "k"), replaces("k", Replace::AtItsTime, 0));
    push(&a, &first).await;
    let holder = register(&a).await;
    let taken = take_one(&a, &holder, "Mail").await;
    push(&b, &second).await;
    assert_eq!(status(&b, &first).await, JobStatus::Running);
    assert_eq!(write_one(&a, &holder, change(&first, taken.claim, retry(0))).await, Changed::Made);
    push(&b, &replaces("k", Replace::AtItsTime, 0)).await;
    let mut left = ids(&take(&a, &holder, &["Mail"], 9).await);
    left.retain(|id| *id != first.id);
    assert_eq!(left.len(), 1, "one that waits for its next attempt is not replaced either");
    assert!(left[0] != second.id);
}

pub(crate) async fn two_jobs_of_one_commit_replace_each_other(Place { a, b, .. }: Place) {
    let jobs = [
        NewJob { delay: 100_000, ..unique("Mail", "k") },
        replaces("k", Replace::AtItsTime, 0),
        replaces("k", Replace::Within(900_000), 200_000),
        unique("Mail", "k"),
        replaces("l", Replace::AtItsTime, 300_000),
    ];
    assert_eq!(a.push(&jobs).await.unwrap(), [None, None, None, Some(jobs[2].id), None]);
    let last = JobStatus::duplicate(jobs[2].id);
    assert_eq!((status(&b, &jobs[0]).await, status(&b, &jobs[1]).await), (last.clone(), last));
    assert_eq!(due_in(&a).await, 200);
}

pub(crate) async fn a_push_that_is_repeated_replaces_once(Place { a, b, .. }: Place) {
    let jobs: Vec<NewJob> = (0..3).map(|_| replaces("k", Replace::AtItsTime, 0)).collect();
    push(&a, &jobs[0]).await;
    push(&a, &jobs[0]).await;
    assert_eq!(status(&a, &jobs[0]).await, JobStatus::Pending);
    push(&b, &jobs[1]).await;
    push(&a, &jobs[0]).await;
    assert_eq!(status(&a, &jobs[1]).await, JobStatus::Pending, "the other came later");
    let holder = register(&a).await;
    assert_eq!(ids(&take(&a, &holder, &["Mail"], 9).await), [jobs[1].id]);
    push(&b, &jobs[2]).await;
    push(&b, &jobs[1]).await;
    assert_eq!(ids(&take(&a, &holder, &["Mail"], 9).await), [jobs[2].id]);
}

pub(crate) async fn each_of_a_thousand_leads_to_the_last(Place { a, .. }: Place) {
    let jobs: Vec<NewJob> = (0..1_000).map(|_| replaces("k", Replace::AtItsTime, 100_000)).collect();
    for some in jobs.chunks(100) {
        a.push(some).await.unwrap();
    }
    for job in [&jobs[0], &jobs[500], &jobs[998]] {
        assert_eq!(status(&a, job).await, JobStatus::duplicate(jobs[999].id));
    }
    assert_eq!(status(&a, &jobs[999]).await, JobStatus::Pending);
}

pub(crate) async fn processes_that_replace_at_once_leave_one(Place { a, b, .. }: Place) {
    let mut tasks = Vec::new();
    for store in [&a, &b, &a, &b] {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            for key in ["k", "l", "k", "l"] {
                push(&store, &replaces(key, Replace::AtItsTime, 0)).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    // A process that did not get the key in time leaves its job without one: both jobs run.
    let holder = register(&a).await;
    let left = take(&a, &holder, &["Mail"], 99).await.len();
    assert!((2..=16).contains(&left), "{left}");
    let counts = a.counts().await.unwrap();
    assert_eq!(counts.pending, 0);
}

fn throttled(key: &str, every: i64) -> NewJob {
    NewJob { throttle: Some(Throttle { key: key.to_owned(), every }), ..job("Mail") }
}

pub(crate) async fn a_job_that_starts_too_soon_is_left_out(Place { a, b, .. }: Place) {
    let (one, other) = (register(&a).await, register(&b).await);
    let jobs: Vec<NewJob> = (0..4).map(|_| throttled("k", HOUR)).collect();
    let others =
        [throttled("l", HOUR), job("Mail"), NewJob { serial: Some("s".to_owned()), ..throttled("k", 0) }];
    a.push(&jobs[..2]).await.unwrap();
    assert_eq!(ids(&take(&a, &one, &["Mail"], 1).await), [jobs[0].id]);
    a.push(&jobs[2..]).await.unwrap();
    a.push(&others).await.unwrap();
    // Others are taken instead.
    let mut taken = ids(&take(&b, &other, &["Mail"], 3).await);
    taken.sort();
    assert_eq!(taken, ids_of(&others));
    for job in &jobs[1..] {
        assert_eq!(status(&a, job).await, JobStatus::duplicate(jobs[0].id));
    }
    assert_eq!(status(&a, &jobs[0]).await, JobStatus::Running);
    let soon = throttled("k", 1);
    tick().await;
    push(&a, &soon).await;
    assert_eq!(
        ids(&take(&b, &other, &["Mail"], 3).await),
        [soon.id],
        "each says for how long a start counts"
    );
}

pub(crate) async fn jobs_behind_many_that_are_left_out_are_taken(Place { a, b, .. }: Place) {
    let (one, other) = (register(&a).await, register(&b).await);
    push(&a, &throttled("k", HOUR)).await;
    let first = take_one(&a, &one, "Mail").await;
    let crowd: Vec<NewJob> = (0..20).map(|_| NewJob { priority: 9, ..throttled("k", HOUR) }).collect();
    let behind = job("Mail");
    a.push(&crowd).await.unwrap();
    push(&a, &behind).await;
    assert_eq!(ids(&take(&b, &other, &["Mail"], 2).await), [behind.id]);
    for job in &crowd {
        assert_eq!(status(&a, job).await, JobStatus::duplicate(first.id.parse().unwrap()));
    }
    a.push(&[NewJob { priority: 9, ..throttled("k", HOUR) }]).await.unwrap();
    take_none(&b, &other, "Mail").await;
}

pub(crate) async fn an_attempt_that_follows_is_not_asked_again(place: Place) {
    let Place { a, b, .. } = &place;
    let (one, other) = (register(a).await, register(b).await);
    let first = throttled("k", HOUR);
    push(a, &first).await;
    let taken = take_one(a, &one, "Mail").await;
    // It snoozes, which does not use up an attempt, and another job starts meanwhile.
    let snooze = ChangeKind::Retry { delay: 0, attempts: 0, error: None };
    assert_eq!(write_one(a, &one, change(&first, taken.claim, snooze)).await, Changed::Made);
    tick().await;
    let second = NewJob { priority: 9, ..throttled("k", 1) };
    push(a, &second).await;
    assert_eq!(ids(&take(b, &other, &["Mail"], 9).await), [second.id, first.id]);
    die(&place, &other).await;
    let mut again = ids(&take(a, &one, &["Mail"], 9).await);
    again.sort();
    assert_eq!(again, ids_of([&first, &second]), "nor one whose process died");
}

pub(crate) async fn a_job_that_is_made_ready_may_be_told_how_often_it_starts(Place { a, b, .. }: Place) {
    let (one, other) = (register(&a).await, register(&b).await);
    let jobs = [job("Mail"), job("Mail")];
    a.write(&one, &jobs, &[]).await.unwrap();
    for job in &jobs {
        let kind = ChangeKind::Ready {
            delay: 0,
            serial: None,
            unique: None,
            replace: None,
            throttle: Some(Throttle { key: "k".to_owned(), every: HOUR }),
            outcome: None,
        };
        assert_eq!(write_one(&a, &one, change(job, 1, kind)).await, Changed::Made);
    }
    assert_eq!(take(&b, &other, &["Mail"], 9).await.len(), 1);
}

pub(crate) async fn a_long_key_and_a_clock_that_was_put_back_keep_nothing_from_starting(
    Place { a, b, .. }: Place,
) {
    let (one, other) = (register(&a).await, register(&b).await);
    let long: String = "ü".repeat(500_000);
    let jobs = [throttled(&long, HOUR), throttled(&long, i64::MAX), job("Mail")];
    a.push(&jobs).await.unwrap();
    let taken = ids(&take(&b, &other, &["Mail"], 9).await);
    assert_eq!(taken.len(), 2);
    assert_eq!(status(&a, &jobs[1]).await, JobStatus::duplicate(jobs[0].id));
    a.push(&[throttled(&long, HOUR)]).await.unwrap();
    assert_eq!(take(&a, &one, &["Mail"], 9).await.len(), 0);
}

pub(crate) async fn starts_are_forgotten(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    for round in 0..3 {
        let jobs: Vec<NewJob> = (0..500).map(|key| throttled(&format!("{round} {key}"), 1)).collect();
        a.push(&jobs).await.unwrap();
        assert_eq!(take(&a, &holder, &["Mail"], 500).await.len(), 500);
    }
    tick().await;
    assert!(b.prune(HOUR, HOUR).await.unwrap(), "there may be more than a thousand");
    assert!(!b.prune(HOUR, HOUR).await.unwrap());
}
