//! Tests of pushing and taking.

use std::collections::HashSet;

use super::*;

pub(crate) async fn a_job_is_taken_once_however_many_take(Place { a, b, .. }: Place) {
    let jobs: Vec<NewJob> = (0..400).map(|_| job("Mail")).collect();
    a.push(&jobs).await.unwrap();
    let mut takers = Vec::new();
    for store in [&a, &b, &a, &b] {
        let store = store.clone();
        let holder = register(&store).await;
        takers.push(tokio::spawn(async move {
            let mut all = Vec::new();
            loop {
                let taken = take(&store, &holder, &["Mail"], 7).await;
                all.extend(ids(&taken));
                if taken.is_empty() && store.next_due(vec!["Mail".to_owned()]).await.unwrap().is_none() {
                    return all;
                }
            }
        }));
    }
    let mut all = Vec::new();
    for taker in takers {
        all.extend(taker.await.unwrap());
    }
    assert_eq!(all.len(), 400);
    assert_eq!(all.into_iter().collect::<HashSet<_>>(), jobs.iter().map(|job| job.id).collect());
}

pub(crate) async fn only_the_named_types_are_taken(Place { a, b, .. }: Place) {
    let holder = register(&b).await;
    let jobs = [job("Mail"), job("Sync"), job("Mail"), job("Unknown")];
    a.push(&jobs).await.unwrap();
    assert_eq!(take(&b, &holder, &[], 9).await.len(), 0);
    assert_eq!(take(&b, &holder, &["Other"], 9).await.len(), 0);
    let taken: HashSet<_> = ids(&take(&b, &holder, &["Mail", "Sync", "Mail"], 9).await).into_iter().collect();
    assert_eq!(taken, jobs[..3].iter().map(|job| job.id).collect());
    assert_eq!(ids(&take(&b, &holder, &["Unknown"], 9).await), [jobs[3].id]);
}

pub(crate) async fn paused_types_are_left_out(Place { a, b, .. }: Place) {
    let holder = register(&b).await;
    let (mail, sync) = (job("Mail"), job("Sync"));
    a.push(&[mail.clone(), sync.clone()]).await.unwrap();
    for _ in 0..2 {
        a.pause("Mail".to_owned(), true).await.unwrap();
    }
    assert_eq!(b.beat(holder.clone()).await.unwrap().paused, ["Mail"]);
    assert_eq!(b.next_due(vec!["Mail".to_owned()]).await.unwrap(), None, "it waits for someone to resume it");
    assert_eq!(ids(&take(&b, &holder, &["Mail", "Sync"], 9).await), [sync.id]);
    for _ in 0..2 {
        b.pause("Mail".to_owned(), false).await.unwrap();
    }
    assert_eq!(b.next_due(vec!["Mail".to_owned()]).await.unwrap(), Some(0));
    assert_eq!(ids(&take(&b, &holder, &["Mail", "Sync"], 9).await), [mail.id]);
    assert!(a.beat(holder).await.unwrap().paused.is_empty());
}

pub(crate) async fn a_limit_is_kept(Place { a, b, .. }: Place) {
    let holder = register(&b).await;
    let jobs: Vec<NewJob> = (0..30)
        .map(|at| if at % 3 == 0 { serial("Mail", &at.to_string()) } else { job(["Mail", "Sync"][at % 2]) })
        .collect();
    a.push(&jobs).await.unwrap();
    assert_eq!(take(&b, &holder, &["Mail", "Sync"], 0).await.len(), 0);
    assert_eq!(take(&b, &holder, &["Mail", "Sync"], 1).await.len(), 1);
    assert_eq!(take(&b, &holder, &["Mail", "Sync"], 20).await.len(), 20);
    assert_eq!(take(&b, &holder, &["Mail", "Sync"], 20).await.len(), 9);
}

pub(crate) async fn the_highest_priority_goes_first_and_then_the_longest_due(Place { a, b, .. }: Place) {
    let holder = register(&b).await;
    let mut jobs = Vec::new();
    // One commit each, so that they are due in this order.
    for (name, priority) in [
        ("Mail", 0),
        ("Sync", 0),
        ("Mail", 5),
        ("Sync", -3),
        ("Mail", i16::MAX),
        ("Sync", 5),
        ("Mail", i16::MIN),
    ] {
        let serial = (priority == 5).then(|| name.to_owned());
        let job = NewJob { priority, serial, ..job(name) };
        a.push(std::slice::from_ref(&job)).await.unwrap();
        tick().await;
        jobs.push(job);
    }
    let order = [4, 2, 5, 0, 1, 3, 6].map(|at: usize| jobs[at].id);
    assert_eq!(ids(&take(&b, &holder, &["Mail", "Sync"], 3).await), order[..3]);
    assert_eq!(ids(&take(&b, &holder, &["Sync", "Mail"], 9).await), order[3..]);
}

pub(crate) async fn a_delayed_job_is_taken_once_it_is_due(Place { a, b, .. }: Place) {
    let holder = register(&b).await;
    a.push(&[NewJob { delay: HOUR, ..job("Mail") }]).await.unwrap();
    let mut delay = 400;
    let soon = loop {
        let soon = NewJob { delay, ..job("Mail") };
        a.push(std::slice::from_ref(&soon)).await.unwrap();
        let early = take(&b, &holder, &["Mail"], 9).await;
        match early.first() {
            None => break soon,
            // The machine is slow.
            Some(early) => assert!(early.age >= delay, "{early:?}"),
        }
        delay *= 2;
    };
    let wait = b.next_due(vec!["Mail".to_owned()]).await.unwrap().unwrap();
    assert!(wait <= delay, "{wait}");
    let taken = eventually(|| async { take(&b, &holder, &["Mail"], 9).await.pop() }).await;
    assert_eq!(taken.id, soon.id.to_string());
    assert!(taken.age >= delay && taken.waited < taken.age, "{taken:?}");
}

pub(crate) async fn many_delayed_jobs_do_not_hide_a_due_one(Place { a, b, .. }: Place) {
    let holder = register(&b).await;
    let delayed: Vec<NewJob> =
        (0..1_000).map(|_| NewJob { delay: HOUR, priority: 9, ..job("Mail") }).collect();
    a.push(&delayed).await.unwrap();
    let due = job("Mail");
    a.push(std::slice::from_ref(&due)).await.unwrap();
    assert_eq!(b.next_due(vec!["Mail".to_owned()]).await.unwrap(), Some(0));
    assert_eq!(ids(&take(&b, &holder, &["Mail"], 9).await), [due.id]);
}

pub(crate) async fn a_taken_job_has_all_that_was_stored(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let job = NewJob { status: Some(204), payload: format!("\"{}\"", "ü".repeat(300_000)), ..job("Mail") };
    let outcome = Some(r#"{"status":204}"#.to_owned());
    a.write(&holder, std::slice::from_ref(&job), &[]).await.unwrap();
    let kind = ChangeKind::Ready {
        delay: 0,
        serial: None,
        unique: None,
        replace: None,
        throttle: None,
        outcome: outcome.clone(),
    };
    assert_eq!(write_one(&a, &holder, change(&job, 1, kind)).await, Changed::Made);
    let taken = take_one(&b, &other, "Mail").await;
    assert_eq!((&*taken.id, &*taken.name), (&*job.id.to_string(), "Mail"));
    assert_eq!((&taken.payload, &taken.metadata), (&job.payload, &job.metadata));
    assert_eq!((taken.claim, taken.attempts, taken.status, taken.outcome), (3, 0, Some(204), outcome));
    assert!(taken.waited >= 0 && taken.age >= taken.waited && taken.age < 60_000);
}

pub(crate) async fn the_next_due_job_is_told(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let next = |names: &[&str]| {
        let (b, names) = (b.clone(), names.iter().map(|name| (*name).to_owned()).collect());
        async move { b.next_due(names).await.unwrap() }
    };
    assert_eq!(next(&["Mail"]).await, None);
    assert_eq!(next(&[]).await, None);
    a.push(&[NewJob { delay: HOUR, ..job("Mail") }, NewJob { delay: 2 * HOUR, priority: 3, ..job("Mail") }])
        .await
        .unwrap();
    let due = next(&["Mail", "Sync"]).await.unwrap();
    assert!(due > HOUR - 60_000 && due <= HOUR, "{due}");
    assert_eq!(next(&["Sync"]).await, None);
    a.push(&[job("Sync")]).await.unwrap();
    assert_eq!(next(&["Mail", "Sync"]).await, Some(0));
    take_one(&a, &holder, "Sync").await;
    assert!(next(&["Mail", "Sync"]).await.unwrap() > 0);
}

pub(crate) async fn a_job_that_is_pushed_twice_is_stored_once(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let jobs = [job("Mail"), unique("Mail", "k"), unique("Mail", "k"), serial("Mail", "s")];
    let expected = [None, None, Some(jobs[1].id), None];
    assert_eq!(a.push(&jobs).await.unwrap(), expected);
    assert_eq!(b.push(&jobs).await.unwrap(), expected, "an answer that was lost is given again");
    assert_eq!(take(&a, &holder, &["Mail"], 9).await.len(), 3);
    assert_eq!(b.push(&jobs).await.unwrap(), expected);
    take_none(&a, &holder, "Mail").await;
}

pub(crate) async fn a_queue_does_not_see_the_jobs_of_another(Place { a, other, .. }: Place) {
    let (holder, stranger) = (register(&a).await, register(&other).await);
    let (mine, foreign, held) = (job("Mail"), job("Mail"), job("Mail"));
    a.push(std::slice::from_ref(&mine)).await.unwrap();
    other.push(std::slice::from_ref(&foreign)).await.unwrap();
    other.write(&stranger, std::slice::from_ref(&held), &[]).await.unwrap();
    a.pause("Mail".to_owned(), true).await.unwrap();
    let beat = other.beat(stranger.clone()).await.unwrap();
    assert_eq!((beat.others, beat.paused), (Vec::new(), Vec::new()));
    assert_eq!(ids(&take(&other, &stranger, &["Mail"], 9).await), [foreign.id]);
    a.pause("Mail".to_owned(), false).await.unwrap();
    assert_eq!(ids(&take(&a, &holder, &["Mail"], 9).await), [mine.id]);
    assert_eq!(write_one(&a, &holder, change(&mine, 1, failed("x"))).await, Changed::Made);
    assert_eq!(a.status(foreign.id).await.unwrap(), None);
    assert!(other.failed(9).await.unwrap().is_empty());
    assert!(!other.retry(mine.id).await.unwrap() && !other.discard(mine.id).await.unwrap());
    let (mine, theirs) = (a.counts().await.unwrap(), other.counts().await.unwrap());
    assert_eq!((mine.pending, mine.running, mine.failed), (0, 0, 1));
    assert_eq!((theirs.pending, theirs.running, theirs.failed), (0, 2, 0));
}

pub(crate) async fn jobs_of_one_type_do_not_keep_out_another(Place { a, b, .. }: Place) {
    let holder = register(&b).await;
    let many: Vec<NewJob> = (0..1_000).map(|_| job("Slow")).collect();
    a.push(&many).await.unwrap();
    let urgent = NewJob { priority: 1, ..job("Urgent") };
    a.push(std::slice::from_ref(&urgent)).await.unwrap();
    assert_eq!(ids(&take(&b, &holder, &["Slow", "Urgent"], 1).await), [urgent.id]);
    let late = job("Other");
    a.push(std::slice::from_ref(&late)).await.unwrap();
    assert_eq!(ids(&take(&b, &holder, &["Other"], 1).await), [late.id]);
}
