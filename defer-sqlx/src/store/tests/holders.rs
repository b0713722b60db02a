//! Tests of holders, their deaths, and the fate of their jobs.

use std::collections::HashSet;

use defer_core::JobStatus;

use super::*;

pub(crate) async fn a_beat_counts_and_shows_the_others(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    for count in 0..3 {
        let beat = a.beat(holder.clone()).await.unwrap();
        assert!(beat.is_alive && !beat.has_orphans);
        assert_eq!(beat.others, [(other.clone(), count)]);
        let beat = b.beat(other.clone()).await.unwrap();
        assert_eq!(beat.others, [(holder.clone(), count + 1)]);
    }
    assert!(!a.beat("nobody".to_owned()).await.unwrap().is_alive);
}

pub(crate) async fn a_beat_shows_all_that_a_holder_has(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let held: Vec<NewJob> = (0..1_500).map(|_| job("Mail")).collect();
    a.write(&holder, &held[..800], &[]).await.unwrap();
    a.write(&holder, &held[800..], &[]).await.unwrap();
    let pushed = job("Sync");
    b.push(&[pushed.clone(), job("Sync")]).await.unwrap();
    let taken = take_one(&a, &holder, "Sync").await;
    take_one(&b, &other, "Sync").await;
    b.cancel(held[7].id, &other, false).await.unwrap();
    let own = a.beat(holder.clone()).await.unwrap().own;
    assert_eq!(own.len(), 1_501);
    let expected: HashSet<String> = held.iter().map(|job| job.id.to_string()).chain([taken.id]).collect();
    assert_eq!(own.iter().map(|own| own.id.clone()).collect::<HashSet<_>>(), expected);
    let cancelled: Vec<_> = own.iter().filter(|own| own.cancel).map(|own| own.id.clone()).collect();
    assert_eq!(cancelled, [held[7].id.to_string()]);
    assert!(own.iter().all(|own| own.claim == 1));
    assert_eq!(b.beat(other).await.unwrap().own.len(), 1);
}

pub(crate) async fn a_holder_can_be_registered_again(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    a.beat(holder.clone()).await.unwrap();
    a.push(&[job("Mail")]).await.unwrap();
    let names = vec!["Mail".to_owned()];
    let again = Holder { id: holder.clone(), host: "here".to_owned(), pid: 1, version: "0.1.0", names };
    a.register(again.clone()).await.unwrap();
    a.rename(again.clone()).await.unwrap();
    let beat = b.beat(other).await.unwrap();
    assert_eq!(beat.others, [(holder.clone(), 1)], "its count goes on");
    assert!(b.unclaimed(-1).await.unwrap().is_empty());
    assert!(b.bury(holder, 1).await.unwrap());
    a.rename(again).await.unwrap();
    assert_eq!(b.unclaimed(-1).await.unwrap(), ["Mail"], "what comes late brings nobody back");
}

pub(crate) async fn only_a_holder_that_stood_still_is_buried(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    a.beat(holder.clone()).await.unwrap();
    assert!(!b.bury(holder.clone(), 0).await.unwrap());
    assert!(a.beat(holder.clone()).await.unwrap().is_alive);
    assert!(b.bury(holder.clone(), 2).await.unwrap());
    assert!(!b.bury(holder.clone(), 2).await.unwrap());
    assert!(!a.beat(holder).await.unwrap().is_alive, "it learns that it was judged dead");
    assert!(b.beat(other).await.unwrap().others.is_empty());
}

pub(crate) async fn the_jobs_of_a_buried_holder_are_run_by_others(place: Place) {
    let (a, b) = (&place.a, &place.b);
    let (holder, other) = (register(a).await, register(b).await);
    let (held, pushed) = (job("Mail"), job("Mail"));
    a.write(&holder, std::slice::from_ref(&held), &[]).await.unwrap();
    a.push(std::slice::from_ref(&pushed)).await.unwrap();
    take_one(a, &holder, "Mail").await;
    assert!(b.bury(holder.clone(), 0).await.unwrap());
    assert!(b.beat(other.clone()).await.unwrap().has_orphans);
    take_none(b, &other, "Mail").await;
    assert!(!b.recover().await.unwrap());
    assert!(!b.beat(other.clone()).await.unwrap().has_orphans);
    let taken = take(b, &other, &["Mail"], 9).await;
    assert_eq!(ids(&taken).into_iter().collect::<HashSet<_>>(), HashSet::from([held.id, pushed.id]));
    assert!(taken.iter().all(|taken| taken.attempts == 0 && taken.claim == 3));
    assert!(a.beat(holder).await.unwrap().own.is_empty());
}

pub(crate) async fn the_jobs_of_the_living_are_not_recovered(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let (held, pushed) = (job("Mail"), job("Mail"));
    a.write(&holder, std::slice::from_ref(&held), &[]).await.unwrap();
    a.push(std::slice::from_ref(&pushed)).await.unwrap();
    take_one(&a, &holder, "Mail").await;
    assert!(!b.beat(other.clone()).await.unwrap().has_orphans);
    assert!(!b.recover().await.unwrap());
    take_none(&b, &other, "Mail").await;
    let ends = [change(&held, 1, done()), change(&pushed, 1, done())];
    assert_eq!(a.write(&holder, &[], &ends).await.unwrap(), [Changed::Made; 2]);
}

pub(crate) async fn after_a_crash_the_status_judges_the_condition(place: Place) {
    let (a, b) = (&place.a, &place.b);
    let (holder, other) = (register(a).await, register(b).await);
    let with = |condition, status| NewJob { condition, status, ..job("Mail") };
    let jobs =
        [with(0, Some(500)), with(1, Some(303)), with(1, Some(404)), with(1, None), with(2, Some(200))];
    a.write(&holder, &jobs, &[]).await.unwrap();
    die(&place, &holder).await;
    let taken = take(b, &other, &["Mail"], 9).await;
    assert_eq!(ids(&taken).into_iter().collect::<HashSet<_>>(), HashSet::from([jobs[0].id, jobs[1].id]));
    assert!(taken.iter().all(|taken| matches!(taken.status, Some(500 | 303)) && taken.outcome.is_none()));
    for (job, skipped) in jobs.iter().zip([false, false, true, true, false]) {
        assert_eq!(b.status(job.id).await.unwrap() == Some(JobStatus::Skipped), skipped);
    }
    assert!(matches!(b.status(jobs[4].id).await.unwrap(), Some(JobStatus::Failed { .. })));
}

pub(crate) async fn a_second_death_delays_a_job(place: Place) {
    let (a, b) = (&place.a, &place.b);
    // Some delays are short by chance, but among many jobs some have to wait.
    let jobs: Vec<NewJob> = (0..20).map(|_| job("Mail")).collect();
    a.push(&jobs).await.unwrap();
    let other = register(b).await;
    for deaths in 0..2 {
        let holder = register(a).await;
        assert_eq!(take(a, &holder, &["Mail"], 99).await.len(), 20, "after {deaths} deaths");
        die(&place, &holder).await;
    }
    let waiting = 20 - take(b, &other, &["Mail"], 99).await.len();
    assert!(waiting > 10, "{waiting}");
    let due = b.next_due(vec!["Mail".to_owned()]).await.unwrap().unwrap();
    assert!(due <= 10_000, "{due}");
}

pub(crate) async fn a_job_of_a_dead_process_that_was_to_be_cancelled_is_cancelled(place: Place) {
    let (a, b) = (&place.a, &place.b);
    let holder = register(a).await;
    let job = job("Mail");
    a.write(&holder, std::slice::from_ref(&job), &[]).await.unwrap();
    b.cancel(job.id, "other", false).await.unwrap();
    die(&place, &holder).await;
    assert_eq!(b.status(job.id).await.unwrap(), Some(JobStatus::Cancelled));
}

pub(crate) async fn two_processes_recover_each_job_once(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let jobs: Vec<NewJob> = (0..900).map(|_| job("Mail")).collect();
    a.write(&holder, &jobs, &[]).await.unwrap();
    assert!(b.bury(holder, 0).await.unwrap());
    let recover = |store: Arc<dyn Store>| async move { while store.recover().await.unwrap() {} };
    tokio::join!(recover(a.clone()), recover(b.clone()), recover(a.clone()), recover(b.clone()));
    // A job that was skipped because another process was recovering it is recovered by now.
    while a.recover().await.unwrap() {}
    let other = register(&b).await;
    let taken = take(&b, &other, &["Mail"], 1_000).await;
    assert_eq!(taken.len(), 900, "one death each, so that all are due at once");
    assert!(taken.iter().all(|taken| taken.claim == 3));
}

pub(crate) async fn a_holder_that_leaves_gives_back_what_it_has(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let with = |condition, status| NewJob { condition, status, ..job("Mail") };
    let held = [with(0, None), with(1, Some(200)), with(1, None)];
    a.write(&holder, &held, &[]).await.unwrap();
    let pushed = job("Mail");
    for _ in 0..3 {
        // This is not a death, so the job is due immediately each time.
        a.push(std::slice::from_ref(&pushed)).await.unwrap();
        let leaves = register(&a).await;
        take_one(&a, &leaves, "Mail").await;
        a.unregister(leaves.clone()).await.unwrap();
        assert!(!a.beat(leaves).await.unwrap().is_alive);
    }
    a.unregister(holder.clone()).await.unwrap();
    a.unregister(holder.clone()).await.unwrap();
    let taken = take(&b, &other, &["Mail"], 9).await;
    let expected = HashSet::from([held[0].id, held[1].id, pushed.id]);
    assert_eq!(ids(&taken).into_iter().collect::<HashSet<_>>(), expected);
    assert_eq!(b.status(held[2].id).await.unwrap(), Some(JobStatus::Skipped));
    assert!(b.beat(other).await.unwrap().others.is_empty());
}

pub(crate) async fn a_holder_that_leaves_more_than_a_batch_gives_back_all(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let jobs: Vec<NewJob> = (0..2_300).map(|_| job("Mail")).collect();
    for jobs in jobs.chunks(1_000) {
        a.write(&holder, jobs, &[]).await.unwrap();
    }
    a.unregister(holder).await.unwrap();
    assert_eq!(take(&b, &other, &["Mail"], 5_000).await.len(), 2_300);
    assert!(!b.beat(other).await.unwrap().has_orphans);
}
