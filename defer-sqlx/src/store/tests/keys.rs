//! Tests of unique and serial keys.

use std::collections::HashMap;

use defer_core::JobStatus;

use super::*;

pub(crate) async fn a_job_with_the_key_of_one_that_waits_is_its_duplicate(Place { a, b, .. }: Place) {
    let holder = register(&b).await;
    let (first, second, other) = (unique("Mail", "k"), unique("Sync", "k"), unique("Mail", "l"));
    assert_eq!(a.push(std::slice::from_ref(&first)).await.unwrap(), [None]);
    assert_eq!(b.push(&[second.clone(), other.clone()]).await.unwrap(), [Some(first.id), None]);
    assert_eq!(a.status(second.id).await.unwrap(), Some(JobStatus::duplicate(first.id)));
    assert_eq!(take(&b, &holder, &["Mail", "Sync"], 9).await.len(), 2);
}

pub(crate) async fn a_taken_job_gives_up_its_key(Place { a, b, .. }: Place) {
    let holder = register(&b).await;
    let jobs = [unique("Mail", "k"), unique("Mail", "k"), unique("Mail", "k")];
    a.push(&jobs[..1]).await.unwrap();
    take_one(&b, &holder, "Mail").await;
    // Rows that the transaction has read before may have changed since.
    assert_eq!(a.push(&jobs[1..2]).await.unwrap(), [None]);
    assert_eq!(a.push(&jobs[2..]).await.unwrap(), [Some(jobs[1].id)]);
    assert_eq!(write_one(&b, &holder, change(&jobs[0], 1, done())).await, Changed::Made);
    assert_eq!(ids(&take(&b, &holder, &["Mail"], 9).await), [jobs[1].id]);
}

pub(crate) async fn a_held_job_claims_no_key(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let held = unique("Mail", "k");
    a.write(&holder, std::slice::from_ref(&held), &[]).await.unwrap();
    assert_eq!(b.push(&[unique("Mail", "k")]).await.unwrap(), [None]);
    assert_eq!(write_one(&a, &holder, change(&held, 1, done())).await, Changed::Made);
}

pub(crate) async fn a_held_job_becomes_a_duplicate_when_it_is_made_ready(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let (held, waits) = (job("Mail"), unique("Mail", "k"));
    a.write(&holder, std::slice::from_ref(&held), &[]).await.unwrap();
    b.push(std::slice::from_ref(&waits)).await.unwrap();
    assert_eq!(
        write_one(&a, &holder, change(&held, 1, ready_unique("k"))).await,
        Changed::Duplicate(waits.id)
    );
    assert_eq!(b.status(held.id).await.unwrap(), Some(JobStatus::duplicate(waits.id)));
    assert_eq!(ids(&take(&b, &other, &["Mail"], 9).await), [waits.id]);
    assert!(a.beat(holder).await.unwrap().own.is_empty());
}

pub(crate) async fn a_repeated_duplicate_is_told_again(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let (held, child, waits) = (job("Mail"), job("Child"), unique("Mail", "k"));
    a.write(&holder, std::slice::from_ref(&held), &[]).await.unwrap();
    b.push(std::slice::from_ref(&waits)).await.unwrap();
    let made = change(&held, 1, ready_unique("k"));
    assert_eq!(write_one(&a, &holder, made.clone()).await, Changed::Duplicate(waits.id));
    take_one(&b, &other, "Mail").await;
    assert_eq!(write_one(&a, &holder, again(&made)).await, Changed::Duplicate(waits.id));
    assert_eq!(write_one(&a, &holder, made).await, Changed::Refused);
    assert_eq!(a.status(child.id).await.unwrap(), None);
}

pub(crate) async fn two_jobs_of_one_commit_can_be_twins(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let jobs: Vec<NewJob> = (0..5).map(|_| job("Mail")).collect();
    a.write(&holder, &jobs, &[]).await.unwrap();
    let keys = ["b", "a", "b", "c", "a"];
    let changes: Vec<_> = jobs.iter().zip(keys).map(|(job, key)| change(job, 1, ready_unique(key))).collect();
    let expected = [
        Changed::Made,
        Changed::Made,
        Changed::Duplicate(jobs[0].id),
        Changed::Made,
        Changed::Duplicate(jobs[1].id),
    ];
    assert_eq!(a.write(&holder, &[], &changes).await.unwrap(), expected);
    assert_eq!(take(&b, &other, &["Mail"], 9).await.len(), 3);
    let pushed: Vec<NewJob> = keys.iter().map(|key| unique("Sync", key)).collect();
    let expected = [None, None, Some(pushed[0].id), None, Some(pushed[1].id)];
    assert_eq!(b.push(&pushed).await.unwrap(), expected);
}

pub(crate) async fn a_job_that_waits_for_its_next_attempt_claims_no_key(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let jobs = [unique("Mail", "k"), unique("Mail", "k"), unique("Mail", "k")];
    a.push(&jobs[..1]).await.unwrap();
    let taken = take_one(&a, &holder, "Mail").await;
    assert_eq!(write_one(&a, &holder, change(&jobs[0], taken.claim, retry(0))).await, Changed::Made);
    assert_eq!(b.push(&jobs[1..2]).await.unwrap(), [None]);
    assert_eq!(b.push(&jobs[2..]).await.unwrap(), [Some(jobs[1].id)]);
    assert_eq!(take(&b, &holder, &["Mail"], 9).await.len(), 2);
}

pub(crate) async fn a_cancelled_job_gives_up_its_key(Place { a, b, .. }: Place) {
    let (first, second) = (unique("Mail", "k"), unique("Mail", "k"));
    a.push(std::slice::from_ref(&first)).await.unwrap();
    b.cancel(first.id, "", false).await.unwrap();
    assert_eq!(a.push(std::slice::from_ref(&second)).await.unwrap(), [None]);
}

pub(crate) async fn a_recovered_job_claims_its_key_only_where_it_is_free(place: Place) {
    let (a, b) = (&place.a, &place.b);
    let (holder, other) = (register(a).await, register(b).await);
    let jobs = [
        unique("Mail", "free"),
        unique("Mail", "claimed"),
        unique("Mail", "claimed"),
        unique("Mail", "free"),
    ];
    a.push(&jobs[..2]).await.unwrap();
    assert_eq!(take(a, &holder, &["Mail"], 9).await.len(), 2);
    assert_eq!(b.push(&jobs[2..3]).await.unwrap(), [None]);
    die(&place, &holder).await;
    assert_eq!(b.push(&jobs[3..]).await.unwrap(), [Some(jobs[0].id)]);
    assert_eq!(take(b, &other, &["Mail"], 9).await.len(), 3, "no job is lost to a key");
}

pub(crate) async fn keys_in_opposite_order_do_not_deadlock(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let mut writers = Vec::new();
    for (at, store) in [&a, &b, &a, &b].into_iter().enumerate() {
        let store = store.clone();
        let holder = register(&store).await;
        writers.push(tokio::spawn(async move {
            for round in 0..25 {
                let mut keys: Vec<String> = (0..8).map(|key| format!("{round} {key}")).collect();
                if at % 2 == 1 {
                    keys.reverse();
                }
                if at < 2 {
                    let jobs: Vec<NewJob> = keys.iter().map(|key| unique("Mail", key)).collect();
                    store.push(&jobs).await.unwrap();
                } else {
                    let jobs: Vec<NewJob> = keys.iter().map(|_| job("Mail")).collect();
                    store.write(&holder, &jobs, &[]).await.unwrap();
                    let changes: Vec<_> =
                        jobs.iter().zip(&keys).map(|(job, key)| change(job, 1, ready_unique(key))).collect();
                    let changed = store.write(&holder, &[], &changes).await.unwrap();
                    assert!(changed.iter().all(|changed| *changed != Changed::Refused), "{changed:?}");
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let mut waiting = 0;
    loop {
        let taken = take(&a, &holder, &["Mail"], 1_000).await.len();
        waiting += taken;
        if taken == 0 {
            break;
        }
    }
    assert_eq!(waiting, 200, "one of four was left of each key");
}

pub(crate) async fn keys_of_different_queues_are_different(Place { a, other, .. }: Place) {
    let (holder, stranger) = (register(&a).await, register(&other).await);
    assert_eq!(a.push(&[unique("Mail", "k"), serial("Mail", "s")]).await.unwrap(), [None, None]);
    assert_eq!(other.push(&[unique("Mail", "k"), serial("Mail", "s")]).await.unwrap(), [None, None]);
    assert_eq!(take(&a, &holder, &["Mail"], 9).await.len(), 2);
    assert_eq!(take(&other, &stranger, &["Mail"], 9).await.len(), 2);
}

pub(crate) async fn jobs_with_a_serial_key_are_taken_one_at_a_time_in_their_order(Place { a, b, .. }: Place) {
    let holder = register(&b).await;
    // With two types and priorities, the order in which they became ready decides.
    let mut jobs = vec![serial("Mail", "k"), serial("Sync", "k"), serial("Mail", "k")];
    jobs[2].priority = 7;
    for job in &jobs {
        a.push(std::slice::from_ref(job)).await.unwrap();
    }
    let free = serial("Mail", "other");
    a.push(std::slice::from_ref(&free)).await.unwrap();
    let mut first = ids(&take(&b, &holder, &["Mail", "Sync"], 9).await);
    first.sort();
    assert_eq!(first, ids_of([&jobs[0], &free]));
    take_none(&a, &holder, "Mail").await;
    assert_eq!(write_one(&b, &holder, change(&jobs[0], 1, done())).await, Changed::Made);
    take_none(&a, &holder, "Mail").await;
    assert_eq!(ids(&take(&a, &holder, &["Mail", "Sync"], 9).await), [jobs[1].id]);
    assert_eq!(write_one(&a, &holder, change(&jobs[1], 1, failed("x"))).await, Changed::Made);
    assert_eq!(ids(&take(&b, &holder, &["Mail"], 9).await), [jobs[2].id]);
}

pub(crate) async fn a_serial_job_waits_for_the_next_attempt_of_the_one_before(Place { a, b, .. }: Place) {
    let holder = register(&b).await;
    let jobs = [serial("Mail", "k"), serial("Mail", "k")];
    a.push(&jobs).await.unwrap();
    let taken = take_one(&b, &holder, "Mail").await;
    assert_eq!(taken.id, jobs[0].id.to_string());
    assert_eq!(write_one(&b, &holder, change(&jobs[0], taken.claim, retry(300))).await, Changed::Made);
    let next = eventually(|| async { take(&a, &holder, &["Mail"], 9).await.pop() }).await;
    assert_eq!((next.id, next.attempts), (taken.id, 1), "it keeps its turn");
    assert_eq!(write_one(&a, &holder, change(&jobs[0], next.claim, done())).await, Changed::Made);
    assert_eq!(ids(&take(&a, &holder, &["Mail"], 9).await), [jobs[1].id]);
}

pub(crate) async fn a_delayed_job_does_not_hold_up_those_of_its_key(Place { a, b, .. }: Place) {
    let holder = register(&b).await;
    let delayed = NewJob { delay: HOUR, ..serial("Mail", "k") };
    let due = serial("Mail", "k");
    a.push(&[delayed, due.clone()]).await.unwrap();
    assert_eq!(ids(&take(&b, &holder, &["Mail"], 9).await), [due.id]);
}

pub(crate) async fn a_paused_job_does_not_hold_up_those_of_its_key(Place { a, b, .. }: Place) {
    let holder = register(&b).await;
    let jobs = [serial("Mail", "k"), serial("Sync", "k")];
    a.push(&jobs).await.unwrap();
    a.pause("Mail".to_owned(), true).await.unwrap();
    assert_eq!(ids(&take(&b, &holder, &["Mail", "Sync"], 9).await), [jobs[1].id]);
    a.pause("Mail".to_owned(), false).await.unwrap();
    take_none(&b, &holder, "Mail").await;
}

pub(crate) async fn a_held_job_does_not_hold_up_those_of_its_key(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let (held, due) = (serial("Mail", "k"), serial("Mail", "k"));
    a.write(&holder, std::slice::from_ref(&held), &[]).await.unwrap();
    b.push(std::slice::from_ref(&due)).await.unwrap();
    // It comes after the jobs that became ready earlier.
    assert_eq!(write_one(&a, &holder, change(&held, 1, ready_serial("k"))).await, Changed::Made);
    assert_eq!(ids(&take(&b, &other, &["Mail"], 9).await), [due.id]);
    assert_eq!(write_one(&b, &other, change(&due, 1, done())).await, Changed::Made);
    assert_eq!(ids(&take(&b, &other, &["Mail"], 9).await), [held.id]);
}

pub(crate) async fn a_serial_job_that_is_given_back_keeps_its_turn(place: Place) {
    let (a, b) = (&place.a, &place.b);
    let (holder, other) = (register(a).await, register(b).await);
    let jobs = [serial("Mail", "k"), serial("Mail", "k")];
    a.push(&jobs).await.unwrap();
    let taken = take_one(a, &holder, "Mail").await;
    assert_eq!(write_one(a, &holder, change(&jobs[0], taken.claim, ready(0))).await, Changed::Made);
    let taken = take_one(a, &holder, "Mail").await;
    assert_eq!(taken.id, jobs[0].id.to_string());
    assert_eq!(write_one(a, &holder, change(&jobs[0], taken.claim, ready_serial("k"))).await, Changed::Made);
    assert_eq!(ids(&take(a, &holder, &["Mail"], 9).await), [jobs[0].id]);
    die(&place, &holder).await;
    assert_eq!(ids(&take(b, &other, &["Mail"], 9).await), [jobs[0].id]);
    b.unregister(other).await.unwrap();
    let third = register(b).await;
    assert_eq!(ids(&take(b, &third, &["Mail"], 9).await), [jobs[0].id]);
}

pub(crate) async fn a_serial_job_that_is_cancelled_lets_the_next_go(Place { a, b, .. }: Place) {
    let holder = register(&b).await;
    let jobs = [serial("Mail", "k"), serial("Mail", "k")];
    a.push(&jobs).await.unwrap();
    a.cancel(jobs[0].id, "", false).await.unwrap();
    assert_eq!(ids(&take(&b, &holder, &["Mail"], 9).await), [jobs[1].id]);
}

pub(crate) async fn jobs_that_become_ready_in_one_commit_keep_their_order(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let mut jobs: Vec<NewJob> = (0..6).map(|_| job("Mail")).collect();
    a.write(&holder, &jobs, &[]).await.unwrap();
    // The order is not that of their ids.
    jobs.reverse();
    let changes: Vec<_> = jobs.iter().map(|job| change(job, 1, ready_serial("k"))).collect();
    assert_eq!(a.write(&holder, &[], &changes).await.unwrap(), [Changed::Made; 6]);
    let mut pushed: Vec<NewJob> = (0..6).map(|_| serial("Mail", "k")).collect();
    pushed.reverse();
    b.push(&pushed).await.unwrap();
    for job in jobs.iter().chain(&pushed) {
        let taken = take(&b, &other, &["Mail"], 9).await;
        assert_eq!(ids(&taken), [job.id]);
        assert_eq!(write_one(&b, &other, change(job, taken[0].claim, done())).await, Changed::Made);
    }
}

pub(crate) async fn processes_that_take_at_once_keep_the_order_of_a_key(Place { a, b, .. }: Place) {
    let jobs: Vec<NewJob> = (0..120).map(|at| serial("Mail", ["k", "l", "m"][at % 3])).collect();
    a.push(&jobs).await.unwrap();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut takers = Vec::new();
    for store in [&a, &b, &a, &b] {
        let (store, order) = (store.clone(), order.clone());
        let holder = register(&store).await;
        takers.push(tokio::spawn(async move {
            while order.lock().unwrap().len() < 120 {
                for taken in take(&store, &holder, &["Mail"], 3).await {
                    let id: JobId = taken.id.parse().unwrap();
                    order.lock().unwrap().push(id);
                    let end = Change { id, ..change(&job("Mail"), taken.claim, done()) };
                    assert_eq!(write_one(&store, &holder, end).await, Changed::Made);
                }
            }
        }));
    }
    for taker in takers {
        tokio::time::timeout(Duration::from_secs(60), taker).await.unwrap().unwrap();
    }
    let places: HashMap<JobId, usize> = jobs.iter().enumerate().map(|(at, job)| (job.id, at)).collect();
    let order = order.lock().unwrap();
    assert_eq!(order.len(), 120);
    for key in 0..3 {
        let of_key: Vec<usize> = order.iter().map(|id| places[id]).filter(|at| at % 3 == key).collect();
        assert!(of_key.is_sorted(), "{of_key:?}");
    }
}

pub(crate) async fn many_jobs_that_wait_for_their_turn_do_not_hide_others(Place { a, b, .. }: Place) {
    let holder = register(&b).await;
    let first = serial("Mail", "k");
    a.push(std::slice::from_ref(&first)).await.unwrap();
    for priority in [0, 3, 0, 0] {
        let many: Vec<NewJob> = (0..1_000).map(|_| NewJob { priority, ..serial("Mail", "k") }).collect();
        a.push(&many).await.unwrap();
    }
    assert_eq!(ids(&take(&b, &holder, &["Mail"], 9).await), [first.id]);
    // They are due later than the waiting ones.
    tick().await;
    let others = [
        serial("Mail", "l"),
        serial("Mail", "a"),
        job("Mail"),
        NewJob { priority: 5, ..serial("Mail", "m") },
    ];
    a.push(&others).await.unwrap();
    assert_eq!(b.next_due(vec!["Mail".to_owned()]).await.unwrap(), Some(0));
    let mut found = ids(&take(&b, &holder, &["Mail"], 9).await);
    found.sort();
    assert_eq!(found, ids_of(&others));
    assert_eq!(write_one(&b, &holder, change(&first, 1, done())).await, Changed::Made);
    assert_eq!(take(&b, &holder, &["Mail"], 9).await.len(), 1, "the next of the key");
}

pub(crate) async fn what_waits_for_its_turn_waits(Place { a, b, .. }: Place) {
    let holder = register(&b).await;
    let jobs = [serial("Mail", "k"), serial("Mail", "k")];
    a.push(&jobs).await.unwrap();
    let names = || vec!["Mail".to_owned()];
    assert_eq!(b.next_due(names()).await.unwrap(), Some(0));
    take_one(&b, &holder, "Mail").await;
    assert!(b.next_due(names()).await.unwrap().is_some(), "or a command would think that nothing is left");
    assert_eq!(write_one(&b, &holder, change(&jobs[0], 1, done())).await, Changed::Made);
    take_one(&b, &holder, "Mail").await;
    assert_eq!(b.next_due(names()).await.unwrap(), None);
}

pub(crate) async fn a_job_that_is_given_back_claims_its_key_where_it_is_free(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    for kind in [ready(0), ready_serial("s")] {
        let jobs: Vec<NewJob> = (0..4).map(|_| unique("Mail", "k")).collect();
        a.push(&jobs[..1]).await.unwrap();
        let taken = take_one(&a, &holder, "Mail").await;
        assert_eq!(write_one(&a, &holder, change(&jobs[0], taken.claim, kind.clone())).await, Changed::Made);
        assert_eq!(b.push(&jobs[1..2]).await.unwrap(), [Some(jobs[0].id)]);
        let taken = take_one(&a, &holder, "Mail").await;
        assert_eq!(b.push(&jobs[2..3]).await.unwrap(), [None]);
        assert_eq!(write_one(&a, &holder, change(&jobs[0], taken.claim, kind)).await, Changed::Made);
        assert_eq!(b.push(&jobs[3..]).await.unwrap(), [Some(jobs[2].id)]);
        let taken = take(&b, &other, &["Mail"], 9).await;
        assert_eq!(taken.len(), 2, "it runs, though it claims no key");
        for taken in taken {
            let end = Change { id: taken.id.parse().unwrap(), ..change(&jobs[0], taken.claim, done()) };
            assert_eq!(write_one(&b, &other, end).await, Changed::Made);
        }
    }
}
