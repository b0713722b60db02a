//! Tests of the views that a person looks at.

use std::collections::BTreeMap;

use defer_core::queue::{FailureGroup, JobFilter, NameCounts, QueuedJob, QueuedState};

use super::*;
use crate::engine::queued_job;

async fn look(store: &Arc<dyn Store>, job: &NewJob) -> QueuedJob {
    store.job(job.id).await.unwrap().and_then(queued_job).unwrap()
}

async fn list(store: &Arc<dyn Store>, filter: JobFilter, limit: usize) -> Vec<JobId> {
    store.jobs(filter, limit).await.unwrap().iter().map(|row| row.id).collect()
}

pub(crate) async fn a_job_is_shown_with_all_that_is_stored(Place { a, b, other }: Place) {
    let holder = register(&a).await;
    let metadata = r#"{"route":"POST /signup","request_id":"r-1","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#;
    let job = NewJob { metadata: metadata.to_owned(), status: Some(201), ..job("Mail") };
    assert!(b.job(job.id).await.unwrap().is_none());
    a.write(&holder, std::slice::from_ref(&job), &[]).await.unwrap();
    let held = look(&b, &job).await;
    assert_eq!((&*held.name, held.state, held.attempts), ("Mail", QueuedState::Held, 0));
    assert_eq!((held.route.as_deref(), held.request_id.as_deref()), (Some("POST /signup"), Some("r-1")));
    assert_eq!(held.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    assert_eq!((held.status.map(|status| status.as_u16()), held.delivery), (Some(201), None));
    let process = held.process.unwrap();
    assert_eq!((&*process.host, process.pid), ("here", 1));
    assert_eq!((held.due_in, held.ready_for), (None, None), "it does not wait");
    assert!(held.age.unwrap() < Duration::from_secs(60));
    assert!(other.job(job.id).await.unwrap().is_none(), "of another queue");

    let outcome = Some(r#"{"status":200,"delivery":"sent"}"#.to_owned());
    let ready =
        ChangeKind::Ready { delay: 0, serial: None, unique: None, replace: None, throttle: None, outcome };
    write_one(&a, &holder, change(&job, 1, ready)).await;
    tick().await;
    let ready = look(&b, &job).await;
    assert_eq!((ready.state, ready.process, ready.due_in), (QueuedState::Ready, None, None));
    assert!(ready.ready_for.unwrap() >= Duration::from_millis(1));
    let response = (ready.status.map(|status| status.as_u16()), ready.delivery.map(|of| of.as_str()));
    assert_eq!(response, (Some(200), Some("sent")));
    a.pause("Mail".to_owned(), true).await.unwrap();
    assert_eq!(look(&b, &job).await.state, QueuedState::Paused);
    assert_eq!(b.paused().await.unwrap(), ["Mail"]);
    assert_eq!(other.paused().await.unwrap(), [""; 0]);
    a.pause("Mail".to_owned(), false).await.unwrap();

    let taken = take_one(&a, &holder, "Mail").await;
    let says = ChangeKind::Progress { json: "[1,2]".to_owned() };
    write_one(&a, &holder, change(&job, taken.claim, says)).await;
    let running = look(&b, &job).await;
    assert_eq!((running.state, running.process.map(|of| of.pid)), (QueuedState::Running, Some(1)));
    assert_eq!(running.progress.unwrap().json(), "[1,2]");
    write_one(&a, &holder, change(&job, taken.claim, retry(HOUR))).await;
    let retrying = look(&b, &job).await;
    assert_eq!((retrying.state, retrying.attempts), (QueuedState::Retrying, 1));
    assert_eq!((retrying.error.as_deref(), retrying.progress), (Some("refused"), None));
    let due_in = retrying.due_in.unwrap();
    assert!(due_in > Duration::from_secs(3_000) && due_in <= Duration::from_secs(3_600), "{due_in:?}");
}

pub(crate) async fn a_job_that_has_ended_is_shown_as_it_ended(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let jobs: Vec<NewJob> = (0..4).map(|_| job("Mail")).collect();
    a.write(&holder, &jobs, &[]).await.unwrap();
    let ends = [
        change(&jobs[0], 1, done()),
        change(&jobs[1], 1, failed("gone\nin src/mail.rs")),
        change(&jobs[2], 1, ChangeKind::End(StoredEnd::Skipped)),
        change(&jobs[3], 1, ChangeKind::End(StoredEnd::Cancelled)),
    ];
    a.write(&holder, &[], &ends).await.unwrap();
    let states = [QueuedState::Done, QueuedState::Failed, QueuedState::Skipped, QueuedState::Cancelled];
    for (job, state) in jobs.iter().zip(states) {
        let seen = look(&b, job).await;
        assert_eq!((seen.state, seen.process), (state, None));
        assert!(seen.ended.unwrap() < Duration::from_secs(60));
    }
    assert_eq!(look(&b, &jobs[1]).await.error.as_deref(), Some("gone\nin src/mail.rs"));
    let first = unique("Mail", "k");
    let twin = unique("Mail", "k");
    a.push(&[first, twin.clone()]).await.unwrap();
    assert_eq!(look(&b, &twin).await.state, QueuedState::Duplicate);
}

pub(crate) async fn jobs_are_listed_by_when_they_are_due(Place { a, b, other }: Place) {
    let holder = register(&a).await;
    let after = |job: NewJob, delay| NewJob { delay, ..job };
    let later = [
        after(job("Mail"), 3 * HOUR),
        after(serial("Sync", "k"), HOUR),
        after(NewJob { priority: 9, ..job("Mail") }, 2 * HOUR),
        after(job("Other"), 4 * HOUR),
    ];
    a.push(&later).await.unwrap();
    let due = [job("Mail"), serial("Sync", "k"), NewJob { priority: -3, ..job("Mail") }];
    for job in &due {
        a.push(std::slice::from_ref(job)).await.unwrap();
        tick().await;
    }
    other.push(&[job("Mail"), after(job("Mail"), HOUR)]).await.unwrap();
    assert_eq!(list(&b, JobFilter::Ready, 9).await, ids_of(&due));
    assert_eq!(list(&b, JobFilter::Ready, 2).await, ids_of(&due[..2]));
    let in_order = [later[1].id, later[2].id, later[0].id, later[3].id];
    assert_eq!(list(&b, JobFilter::Delayed, 9).await, in_order);
    assert_eq!(list(&b, JobFilter::Delayed, 3).await, in_order[..3]);
    assert_eq!(list(&b, JobFilter::Running, 9).await, []);

    // Includes those of every process.
    let second = register(&b).await;
    let held = job("Mail");
    b.write(&second, std::slice::from_ref(&held), &[]).await.unwrap();
    let first = take_one(&a, &holder, "Mail").await.id.parse().unwrap();
    let mut both = vec![held.id, first];
    both.sort();
    assert_eq!(list(&a, JobFilter::Running, 9).await, both);
    assert_eq!(list(&a, JobFilter::Running, 1).await, both[..1]);
    assert_eq!(list(&other, JobFilter::Running, 9).await, []);
}

/// Takes and fails jobs with a name, one for each error.
async fn fail(store: &Arc<dyn Store>, holder: &HolderId, name: &str, errors: &[&str]) -> Vec<NewJob> {
    let jobs: Vec<NewJob> = errors.iter().map(|_| job(name)).collect();
    store.write(holder, &jobs, &[]).await.unwrap();
    for (job, error) in jobs.iter().zip(errors) {
        write_one(store, holder, change(job, 1, failed(error))).await;
        tick().await;
    }
    jobs
}

pub(crate) async fn failures_are_grouped_by_name_and_first_line(Place { a, b, other }: Place) {
    let holder = register(&a).await;
    assert_eq!(b.failures(9).await.unwrap(), []);
    let long = "x".repeat(300);
    let mail = fail(&a, &holder, "Mail", &["refused\nby one", "late", "refused\nby another", &long]).await;
    let sync = fail(&a, &holder, "Sync", &["refused", ""]).await;
    let groups = b.failures(9).await.unwrap();
    let seen: Vec<_> =
        groups.iter().map(|group| (&*group.name, &*group.error, group.count, group.example)).collect();
    assert_eq!(
        seen,
        [
            ("Sync", "", 1, sync[1].id),
            ("Sync", "refused", 1, sync[0].id),
            ("Mail", &long[..200], 1, mail[3].id),
            ("Mail", "refused", 2, mail[0].id.max(mail[2].id)),
            ("Mail", "late", 1, mail[1].id),
        ]
    );
    let of_two: &FailureGroup = &groups[3];
    assert!(of_two.first > of_two.last && of_two.first < Duration::from_secs(60), "{of_two:?}");
    assert_eq!(b.failures(2).await.unwrap().len(), 2);
    assert_eq!(other.failures(9).await.unwrap(), []);
}

/// All jobs that have failed so far.
async fn failures(store: &Arc<dyn Store>, name: &str, error: &str) -> Failures {
    Failures { name: name.to_owned(), error: error.to_owned(), until: store.now().await.unwrap() }
}

pub(crate) async fn a_group_of_failures_is_run_again_and_no_other(Place { a, b, other }: Place) {
    let holder = register(&a).await;
    let jobs = fail(&a, &holder, "Mail", &["refused\nby one", "late", "refused", ""]).await;
    fail(&a, &holder, "Sync", &["refused"]).await;
    let refused = failures(&b, "Mail", "refused").await;
    tick().await;
    let late = fail(&a, &holder, "Mail", &["refused"]).await;
    assert_eq!(other.retry_some(refused.clone()).await.unwrap(), 0);
    assert_eq!(b.retry_some(refused.clone()).await.unwrap(), 2, "one failed later");
    assert_eq!(b.retry_some(refused).await.unwrap(), 0);
    let taken = take(&a, &holder, &["Mail", "Sync"], 9).await;
    let mut again = ids(&taken);
    again.sort();
    let mut expected = [jobs[0].id, jobs[2].id];
    expected.sort();
    assert_eq!(again, expected);
    assert!(taken.iter().all(|taken| taken.attempts == 0 && taken.claim > 1));
    assert_eq!(b.retry_some(failures(&b, "Mail", "").await).await.unwrap(), 1, "one without an error");
    assert_eq!(look(&b, &late[0]).await.state, QueuedState::Failed);

    // A key is claimed only if it is free.
    let keyed = NewJob { unique: Some("k".to_owned()), ..job("Key") };
    a.push(std::slice::from_ref(&keyed)).await.unwrap();
    let taken = take_one(&a, &holder, "Key").await;
    write_one(&a, &holder, change(&keyed, taken.claim, failed("x"))).await;
    assert_eq!(b.retry_some(failures(&b, "Key", "x").await).await.unwrap(), 1);
    assert_eq!(a.push(&[unique("Key", "k")]).await.unwrap(), [Some(keyed.id)]);
}

pub(crate) async fn a_group_of_failures_is_discarded_in_batches(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let kept = fail(&a, &holder, "Mail", &["late"]).await;
    let many: Vec<NewJob> = (0..1_500).map(|_| job("Mail")).collect();
    a.write(&holder, &many, &[]).await.unwrap();
    let ends: Vec<_> = many.iter().map(|job| change(job, 1, failed("refused"))).collect();
    a.write(&holder, &[], &ends).await.unwrap();
    let refused = failures(&b, "Mail", "refused").await;
    for expected in [1_000, 500, 0] {
        assert_eq!(b.discard_some(refused.clone()).await.unwrap(), expected);
    }
    assert!(b.job(many[0].id).await.unwrap().is_none());
    assert_eq!(b.failures(9).await.unwrap()[0].example, kept[0].id);
}

pub(crate) async fn jobs_are_counted_by_name(Place { a, b, other }: Place) {
    let holder = register(&a).await;
    assert_eq!(b.counts_by_name().await.unwrap(), []);
    let held = [job("Mail"), job("Mail")];
    a.write(&holder, &held, &[]).await.unwrap();
    write_one(&a, &holder, change(&held[0], 1, done())).await;
    let delayed = NewJob { delay: HOUR, ..job("Later") };
    let ready = [job("Sync"), serial("Sync", "k"), NewJob { priority: 9, ..job("Sync") }, delayed];
    a.push(&ready).await.unwrap();
    fail(&a, &holder, "Sync", &["x", "y"]).await;
    let counts: BTreeMap<String, NameCounts> =
        b.counts_by_name().await.unwrap().into_iter().map(|of| (of.name.clone(), of)).collect();
    let seen: Vec<_> = counts
        .values()
        .map(|of| (&*of.name, of.ready, of.delayed, of.running, of.failed, of.oldest_due.is_some()))
        .collect();
    assert_eq!(
        seen,
        [("Later", 0, 1, 0, 0, false), ("Mail", 0, 0, 1, 0, false), ("Sync", 3, 0, 0, 2, true)],
        "without what is done"
    );
    assert!(counts["Sync"].oldest_due.unwrap() >= Duration::from_millis(3));
    assert_eq!(other.counts_by_name().await.unwrap(), []);
}

pub(crate) async fn holders_are_listed_with_what_they_have(Place { a, b, other }: Place) {
    let first = register_for(&a, &["Mail", "Sync"]).await;
    tick().await;
    let second = register(&b).await;
    register(&other).await;
    a.write(&first, &[job("Mail"), job("Mail")], &[]).await.unwrap();
    a.push(&[job("Mail")]).await.unwrap();
    take_one(&a, &first, "Mail").await;
    b.beat(second.clone()).await.unwrap();
    let holders = a.holders().await.unwrap();
    let seen: Vec<_> = holders
        .iter()
        .map(|of| (&*of.id, &*of.host, of.pid, &*of.version, &*of.names, of.count, of.jobs))
        .collect();
    let expected = [
        (&*first, "here", 1, "0.1.0", r#"["Mail","Sync"]"#, 0, 3),
        (&*second, "here", 1, "0.1.0", "[]", 1, 0),
    ];
    assert_eq!(seen, expected);
    assert!(holders[0].age >= holders[1].age && holders[0].age < 60_000);
}
