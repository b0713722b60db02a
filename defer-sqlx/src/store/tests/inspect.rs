//! Tests of the operations that a person asks for.

use defer_core::JobStatus;

use super::{super::interface::Cancelling, *};

pub(crate) async fn the_status_tells_how_far_a_job_has_got(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let job = job("Mail");
    let status = || async { b.status(job.id).await.unwrap() };
    assert_eq!(status().await, None);
    a.push(std::slice::from_ref(&job)).await.unwrap();
    assert_eq!(status().await, Some(JobStatus::Pending));
    let taken = take_one(&a, &holder, "Mail").await;
    assert_eq!(status().await, Some(JobStatus::Running));
    write_one(&a, &holder, change(&job, taken.claim, retry(0))).await;
    assert_eq!(status().await, Some(JobStatus::Pending));
    let taken = take_one(&a, &holder, "Mail").await;
    write_one(&a, &holder, change(&job, taken.claim, failed(&"ä".repeat(5_000)))).await;
    assert_eq!(status().await, Some(JobStatus::failed(&"ä".repeat(5_000))));
}

pub(crate) async fn progress_is_that_of_the_attempt_that_has_the_job(Place { a, b, other }: Place) {
    let (holder, stranger) = (register(&a).await, register(&b).await);
    let (held, pushed) = (job("Held"), job("Mail"));
    a.write(&holder, std::slice::from_ref(&held), &[]).await.unwrap();
    a.push(std::slice::from_ref(&pushed)).await.unwrap();
    let status = async |job: &NewJob| b.status(job.id).await.unwrap().unwrap();
    let says = |json: &str| ChangeKind::Progress { json: json.to_owned() };
    let is = |json| JobStatus::in_progress(defer_core::Progress::from_json(json).unwrap());

    let taken = take_one(&a, &holder, "Mail").await;
    let json = r#"{"done":1,"name":"a b"}"#;
    let both = [change(&held, 1, says("1")), change(&pushed, taken.claim, says(json))];
    assert_eq!(a.write(&holder, &[], &both).await.unwrap(), [Changed::Made; 2]);
    assert_eq!((status(&held).await, status(&pushed).await), (is("1"), is(json)));
    assert_eq!(other.status(held.id).await.unwrap(), None, "of another queue");

    // By another holder, under another claim, and for no row.
    assert_eq!(write_one(&b, &stranger, change(&pushed, taken.claim, says("2"))).await, Changed::Refused);
    let late = change(&pushed, taken.claim + 1, says("2"));
    assert_eq!(write_one(&a, &holder, late).await, Changed::Refused);
    assert_eq!(write_one(&a, &holder, change(&job("Mail"), 1, says("2"))).await, Changed::Refused);
    assert_eq!(status(&pushed).await, is(json));

    // There is no progress between two attempts, nor at the start of the next one.
    write_one(&a, &holder, change(&pushed, taken.claim, retry(0))).await;
    assert_eq!(status(&pushed).await, JobStatus::Pending);
    let again = take_one(&a, &holder, "Mail").await;
    assert_eq!(status(&pushed).await, JobStatus::Running);
    assert_eq!(write_one(&a, &holder, change(&pushed, taken.claim, says("3"))).await, Changed::Refused);
    // In one commit with its end.
    let last = [change(&held, 1, says("4")), change(&pushed, again.claim, done())];
    a.write(&holder, &[], &last).await.unwrap();
    assert_eq!((status(&held).await, status(&pushed).await), (is("4"), JobStatus::Succeeded));
    assert_eq!(write_one(&a, &holder, change(&pushed, again.claim, says("5"))).await, Changed::Refused);
}

pub(crate) async fn counts_tell_of_each_state(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    assert_eq!(b.counts().await.unwrap(), defer_core::queue::QueueCounts::default());
    let held: Vec<NewJob> = (0..6).map(|_| job("Mail")).collect();
    a.write(&holder, &held, &[]).await.unwrap();
    let changes = [
        change(&held[0], 1, done()),
        change(&held[1], 1, failed("x")),
        change(&held[2], 1, ready(HOUR)),
        change(&held[3], 1, ready_serial("k")),
        change(&held[4], 1, ChangeKind::End(StoredEnd::Skipped)),
    ];
    a.write(&holder, &[], &changes).await.unwrap();
    a.push(&[job("Sync"), NewJob { priority: 9, ..job("Sync") }]).await.unwrap();
    take_one(&a, &holder, "Sync").await;
    // Afterwards, waiting jobs have been due for a while.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let counts = b.counts().await.unwrap();
    assert_eq!((counts.pending, counts.running, counts.done, counts.failed), (3, 2, 1, 1));
    let oldest = counts.oldest_due.unwrap();
    assert!(oldest >= Duration::from_millis(10) && oldest < Duration::from_secs(60), "{oldest:?}");
    take(&a, &holder, &["Sync", "Mail"], 9).await;
    assert_eq!(b.counts().await.unwrap().oldest_due, None);
}

pub(crate) async fn the_latest_failures_come_first(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let jobs: Vec<NewJob> = (0..5).map(|_| job("Mail")).collect();
    a.write(&holder, &jobs, &[]).await.unwrap();
    for job in &jobs {
        let kind = ChangeKind::End(StoredEnd::Failed { attempts: 3, error: job.id.to_string() });
        write_one(&a, &holder, change(job, 1, kind)).await;
        tick().await;
    }
    let failed = b.failed(3).await.unwrap();
    let found: Vec<JobId> = failed.iter().map(|failed| failed.id).collect();
    assert_eq!(found, ids_of(jobs.iter().rev().take(3)));
    assert!(failed.iter().all(|failed| failed.name == "Mail" && failed.attempts == 3));
    assert!(failed.iter().all(|failed| failed.error == failed.id.to_string()));
    assert_eq!(b.failed(99).await.unwrap().len(), 5);
}

pub(crate) async fn a_failed_job_can_be_run_again_with_all_its_attempts(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let job = NewJob { unique: Some("k".to_owned()), serial: Some("s".to_owned()), ..job("Mail") };
    a.push(std::slice::from_ref(&job)).await.unwrap();
    assert!(!b.retry(job.id).await.unwrap(), "it has not failed");
    let taken = take_one(&a, &holder, "Mail").await;
    let end = ChangeKind::End(StoredEnd::Failed { attempts: 5, error: "x".to_owned() });
    let end = change(&job, taken.claim, end);
    write_one(&a, &holder, end.clone()).await;
    // Other jobs use both keys by now.
    let twin = NewJob { id: JobId::unique(), ..job.clone() };
    assert_eq!(a.push(std::slice::from_ref(&twin)).await.unwrap(), [None]);
    assert!(b.retry(job.id).await.unwrap());
    assert!(!b.retry(job.id).await.unwrap());
    assert!(b.failed(9).await.unwrap().is_empty());
    // The change of its last holder arrives too late.
    assert_eq!(write_one(&a, &holder, again(&end)).await, Changed::Refused);
    let first = take_one(&b, &holder, "Mail").await;
    assert_eq!(first.id, twin.id.to_string(), "a job that is run again goes behind those that wait");
    write_one(&b, &holder, change(&twin, first.claim, done())).await;
    let again = take_one(&b, &holder, "Mail").await;
    assert_eq!((again.id, again.attempts), (job.id.to_string(), 0));
    assert!(again.claim > taken.claim);
}

pub(crate) async fn only_failed_jobs_are_discarded(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let jobs = [job("Mail"), job("Mail"), job("Mail")];
    a.write(&holder, &jobs, &[]).await.unwrap();
    a.write(&holder, &[], &[change(&jobs[0], 1, failed("x")), change(&jobs[1], 1, done())]).await.unwrap();
    let discarded =
        [b.discard(jobs[0].id), b.discard(jobs[1].id), b.discard(jobs[2].id), b.discard(JobId::unique())];
    for (discarded, expected) in discarded.into_iter().zip([true, false, false, false]) {
        assert_eq!(discarded.await.unwrap(), expected);
    }
    assert_eq!(b.status(jobs[0].id).await.unwrap(), None);
}

pub(crate) async fn a_job_that_waits_is_cancelled_at_once(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let (due, delayed) = (job("Mail"), NewJob { delay: HOUR, ..serial("Mail", "k") });
    a.push(&[due.clone(), delayed.clone()]).await.unwrap();
    for job in [&due, &delayed] {
        assert_eq!(b.cancel(job.id, &holder, false).await.unwrap(), Cancelling::Cancelled);
        assert_eq!(b.cancel(job.id, &holder, false).await.unwrap(), Cancelling::Ended);
        assert_eq!(a.status(job.id).await.unwrap(), Some(JobStatus::Cancelled));
    }
    take_none(&a, &holder, "Mail").await;
    assert_eq!(b.cancel(JobId::unique(), &holder, false).await.unwrap(), Cancelling::Unknown);
}

pub(crate) async fn a_job_that_its_process_holds_is_cancelled_before_it_starts(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let jobs = [job("Mail"), job("Mail")];
    a.write(&holder, &jobs, &[]).await.unwrap();
    assert_eq!(a.cancel(jobs[0].id, &holder, false).await.unwrap(), Cancelling::Cancelled);
    assert_eq!(a.cancel(jobs[1].id, &holder, true).await.unwrap(), Cancelling::Asked);
    assert_eq!(write_one(&a, &holder, change(&jobs[0], 1, done())).await, Changed::Refused);
    assert_eq!(write_one(&a, &holder, change(&jobs[1], 1, done())).await, Changed::Made);
    assert_eq!(b.status(jobs[0].id).await.unwrap(), Some(JobStatus::Cancelled));
}

pub(crate) async fn the_process_that_runs_a_job_is_asked_to_cancel_it(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let (held, pushed) = (job("Mail"), job("Mail"));
    a.write(&holder, std::slice::from_ref(&held), &[]).await.unwrap();
    a.push(std::slice::from_ref(&pushed)).await.unwrap();
    take_one(&a, &holder, "Mail").await;
    for job in [&held, &pushed] {
        assert_eq!(b.cancel(job.id, &other, false).await.unwrap(), Cancelling::Asked);
    }
    let own = a.beat(holder.clone()).await.unwrap().own;
    assert_eq!(own.iter().filter(|own| own.cancel && own.claim == 1).count(), 2);
    let ends = [change(&held, 1, ChangeKind::End(StoredEnd::Cancelled)), change(&pushed, 1, done())];
    assert_eq!(a.write(&holder, &[], &ends).await.unwrap(), [Changed::Made; 2]);
    assert_eq!(b.cancel(pushed.id, &other, false).await.unwrap(), Cancelling::Ended);
    assert_eq!(b.status(pushed.id).await.unwrap(), Some(JobStatus::Succeeded));
}

pub(crate) async fn a_cancelled_job_is_cancelled_for_its_holder_too(Place { a, .. }: Place) {
    let holder = register(&a).await;
    let job = job("Mail");
    a.write(&holder, std::slice::from_ref(&job), &[]).await.unwrap();
    assert_eq!(a.cancel(job.id, &holder, false).await.unwrap(), Cancelling::Cancelled);
    // The lease reports the cancellation as well. That is not a late result.
    let end = change(&job, 1, ChangeKind::End(StoredEnd::Cancelled));
    assert_eq!(write_one(&a, &holder, end).await, Changed::Made);
}

pub(crate) async fn what_ended_long_ago_is_forgotten(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let jobs: Vec<NewJob> = (0..6).map(|_| job("Mail")).collect();
    a.write(&holder, &jobs, &[]).await.unwrap();
    let changes = [
        change(&jobs[0], 1, done()),
        change(&jobs[1], 1, failed("x")),
        change(&jobs[2], 1, ChangeKind::End(StoredEnd::Skipped)),
        change(&jobs[3], 1, ready(0)),
    ];
    a.write(&holder, &[], &changes).await.unwrap();
    assert!(!b.prune(HOUR, HOUR).await.unwrap());
    tick().await;
    assert!(!b.prune(1, HOUR).await.unwrap());
    let known = |at: usize| {
        let (b, id) = (b.clone(), jobs[at].id);
        async move { b.status(id).await.unwrap().is_some() }
    };
    for (at, expected) in [(0, false), (1, true), (2, false), (3, true), (4, true), (5, true)] {
        assert_eq!(known(at).await, expected, "{at}");
    }
    assert!(!b.prune(1, 1).await.unwrap());
    assert!(!known(1).await && known(3).await && known(4).await);
    // In batches.
    let many: Vec<NewJob> = (0..2_500).map(|_| job("Mail")).collect();
    for jobs in many.chunks(1_000) {
        a.write(&holder, jobs, &[]).await.unwrap();
        let ends: Vec<_> = jobs.iter().map(|job| change(job, 1, done())).collect();
        a.write(&holder, &[], &ends).await.unwrap();
    }
    tick().await;
    assert!(b.prune(1, 1).await.unwrap());
    while b.prune(1, 1).await.unwrap() {}
    assert_eq!(b.counts().await.unwrap().done, 0);
}

pub(crate) async fn types_that_nobody_takes_are_named(Place { a, b, other }: Place) {
    let _mail = register_for(&a, &["Mail", "Other"]).await;
    let jobs = [
        job("Mail"),
        job("Sync"),
        serial("Serial", "k"),
        NewJob { delay: HOUR, ..job("Later") },
        NewJob { priority: 3, delay: HOUR, ..job("Sync") },
        job("Paused"),
    ];
    a.push(&jobs).await.unwrap();
    a.pause("Paused".to_owned(), true).await.unwrap();
    other.push(&[job("Mail"), job("Foreign")]).await.unwrap();
    assert_eq!(b.unclaimed(HOUR).await.unwrap(), Vec::<String>::new());
    let mut names = b.unclaimed(-1).await.unwrap();
    names.sort();
    assert_eq!(names, ["Serial", "Sync", "queue other"]);
    let _other = register_for(&other, &["Mail"]).await;
    let mut names = b.unclaimed(-1).await.unwrap();
    names.sort();
    assert_eq!(names, ["Serial", "Sync"]);
    assert_eq!(other.unclaimed(-1).await.unwrap(), ["Foreign"]);
}
