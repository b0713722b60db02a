//! Tests of holding and changing jobs.

use defer_core::JobStatus;

use super::*;

pub(crate) async fn a_held_job_is_for_nobody_else(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let job = job("Mail");
    assert_eq!(a.write(&holder, std::slice::from_ref(&job), &[]).await.unwrap(), []);
    take_none(&b, &other, "Mail").await;
    take_none(&a, &holder, "Mail").await;
    assert_eq!(b.next_due(vec!["Mail".to_owned()]).await.unwrap(), None);
}

pub(crate) async fn a_job_that_is_stored_already_is_left_as_it_is(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let job = job("Mail");
    // Twice in one transaction, by two processes, and after its end.
    a.write(&holder, &[job.clone(), job.clone()], &[]).await.unwrap();
    b.write(&other, std::slice::from_ref(&job), &[]).await.unwrap();
    assert_eq!(write_one(&b, &other, change(&job, 1, done())).await, Changed::Refused);
    assert_eq!(write_one(&a, &holder, change(&job, 1, done())).await, Changed::Made);
    a.write(&holder, std::slice::from_ref(&job), &[]).await.unwrap();
    assert_eq!(b.push(std::slice::from_ref(&job)).await.unwrap(), [None]);
    assert_eq!(b.status(job.id).await.unwrap(), Some(JobStatus::Succeeded));
}

pub(crate) async fn an_end_is_stored_and_its_job_is_over(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let jobs: Vec<NewJob> = (0..4).map(|_| job("Mail")).collect();
    a.write(&holder, &jobs, &[]).await.unwrap();
    let ends = [
        (done(), JobStatus::Succeeded),
        (failed("no address"), JobStatus::failed("no address")),
        (ChangeKind::End(StoredEnd::Skipped), JobStatus::Skipped),
        (ChangeKind::End(StoredEnd::Cancelled), JobStatus::Cancelled),
    ];
    let changes: Vec<_> = jobs.iter().zip(&ends).map(|(job, (end, _))| change(job, 1, end.clone())).collect();
    assert_eq!(a.write(&holder, &[], &changes).await.unwrap(), [Changed::Made; 4]);
    for (job, (_, status)) in jobs.iter().zip(ends) {
        assert_eq!(b.status(job.id).await.unwrap(), Some(status));
    }
    take_none(&b, &holder, "Mail").await;
    assert!(a.beat(holder).await.unwrap().own.is_empty());
}

pub(crate) async fn a_change_is_refused_to_who_does_not_have_the_job_under_that_claim(
    Place { a, b, .. }: Place,
) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let (job, unknown) = (job("Mail"), job("Mail"));
    a.write(&holder, std::slice::from_ref(&job), &[]).await.unwrap();
    for kind in
        [done(), failed("x"), retry(0), ready(0), ready_serial("k"), ready_unique("k"), ChangeKind::Pass]
    {
        for again in [false, true] {
            let refused = Change { again, ..change(&job, 1, kind.clone()) };
            assert_eq!(write_one(&b, &other, refused.clone()).await, Changed::Refused, "{kind:?}");
            let refused = Change { claim: 2, ..refused };
            assert_eq!(write_one(&a, &holder, refused.clone()).await, Changed::Refused, "{kind:?}");
            let refused = Change { claim: 0, ..refused };
            assert_eq!(write_one(&a, &holder, refused).await, Changed::Refused, "{kind:?}");
            let refused = Change { again, ..change(&unknown, 1, kind.clone()) };
            assert_eq!(write_one(&a, &holder, refused).await, Changed::Refused, "{kind:?}");
        }
    }
    assert_eq!(write_one(&a, &holder, change(&job, 1, done())).await, Changed::Made);
    for kind in
        [done(), failed("x"), retry(0), ready(0), ready_serial("k"), ready_unique("k"), ChangeKind::Pass]
    {
        assert_eq!(write_one(&a, &holder, change(&job, 1, kind.clone())).await, Changed::Refused, "{kind:?}");
    }
    assert_eq!(a.status(job.id).await.unwrap(), Some(JobStatus::Succeeded));
}

pub(crate) async fn a_refused_change_refuses_no_other(Place { a, .. }: Place) {
    let holder = register(&a).await;
    let jobs: Vec<NewJob> = (0..6).map(|_| job("Mail")).collect();
    a.write(&holder, &jobs, &[]).await.unwrap();
    let kinds = [done(), done(), retry(HOUR), ready(HOUR), ready_serial("k"), ChangeKind::Pass];
    let changes: Vec<_> = jobs
        .iter()
        .zip(kinds)
        .enumerate()
        .map(|(at, (job, kind))| change(job, if at == 1 { 7 } else { 1 }, kind))
        .collect();
    let mut expected = [Changed::Made; 6];
    expected[1] = Changed::Refused;
    assert_eq!(a.write(&holder, &[], &changes).await.unwrap(), expected);
}

pub(crate) async fn a_late_result_does_not_replace_a_newer_one(place: Place) {
    let (a, b) = (&place.a, &place.b);
    let (stalled, other) = (register(a).await, register(b).await);
    let job = job("Mail");
    a.push(std::slice::from_ref(&job)).await.unwrap();
    let first = take_one(a, &stalled, "Mail").await;
    die(&place, &stalled).await;
    let second = take_one(b, &other, "Mail").await;
    assert!(second.claim > first.claim);
    assert_eq!((second.id.clone(), second.attempts), (first.id, 0), "a death is no attempt");
    for again in [false, true] {
        for kind in [done(), failed("late"), retry(0), ready(0), ChangeKind::Pass] {
            let late = Change { again, ..change(&job, first.claim, kind) };
            assert_eq!(write_one(a, &stalled, late).await, Changed::Refused);
        }
    }
    assert_eq!(write_one(b, &other, change(&job, second.claim, failed("newer"))).await, Changed::Made);
    let late = Change { again: true, ..change(&job, first.claim, done()) };
    assert_eq!(write_one(a, &stalled, late).await, Changed::Refused);
    assert_eq!(a.status(job.id).await.unwrap(), Some(JobStatus::failed("newer")));
}

pub(crate) async fn a_repeated_end_is_made_once(Place { a, .. }: Place) {
    let holder = register(&a).await;
    let job = job("Mail");
    a.write(&holder, std::slice::from_ref(&job), &[]).await.unwrap();
    let end = change(&job, 1, failed("x"));
    assert_eq!(write_one(&a, &holder, end.clone()).await, Changed::Made);
    for _ in 0..2 {
        assert_eq!(write_one(&a, &holder, again(&end)).await, Changed::Made);
    }
    // A different end is a different change.
    let other = Change { again: true, ..change(&job, 1, done()) };
    assert_eq!(write_one(&a, &holder, other).await, Changed::Refused);
    assert_eq!(a.status(job.id).await.unwrap(), Some(JobStatus::failed("x")));
}

pub(crate) async fn a_repeated_retry_is_made_once(Place { a, .. }: Place) {
    let holder = register(&a).await;
    let job = job("Mail");
    a.write(&holder, std::slice::from_ref(&job), &[]).await.unwrap();
    let retry = change(&job, 1, retry(0));
    assert_eq!(write_one(&a, &holder, retry.clone()).await, Changed::Made);
    assert_eq!(write_one(&a, &holder, again(&retry)).await, Changed::Made);
    let taken = take_one(&a, &holder, "Mail").await;
    assert_eq!(
        (taken.claim, taken.attempts),
        (3, 1),
        "the claim was raised once by the retry, and once by the take"
    );
    // This holder has the job again, under another claim.
    assert_eq!(write_one(&a, &holder, change(&job, 1, done())).await, Changed::Refused);
    assert_eq!(write_one(&a, &holder, change(&job, 3, done())).await, Changed::Made);
}

pub(crate) async fn a_repeated_ready_is_made_once(Place { a, .. }: Place) {
    let holder = register(&a).await;
    for kind in [ready(0), ready_serial("k"), ready_unique("k")] {
        let job = job("Mail");
        a.write(&holder, std::slice::from_ref(&job), &[]).await.unwrap();
        let ready = change(&job, 1, kind);
        assert_eq!(write_one(&a, &holder, ready.clone()).await, Changed::Made);
        assert_eq!(write_one(&a, &holder, again(&ready)).await, Changed::Made, "{ready:?}");
        let taken = take_one(&a, &holder, "Mail").await;
        assert_eq!((taken.claim, taken.attempts), (3, 0));
        assert_eq!(write_one(&a, &holder, change(&job, 3, done())).await, Changed::Made);
    }
}

pub(crate) async fn a_repeated_change_is_refused_once_others_recovered_the_job(place: Place) {
    let (a, b) = (&place.a, &place.b);
    let other = register(b).await;
    // The job is waiting, another process has it, or it has ended there: the first try was never stored.
    for stage in 0..3 {
        let stalled = register(a).await;
        let jobs: Vec<NewJob> = (0..2).map(|_| job("Mail")).collect();
        let child = job("Child");
        a.write(&stalled, &jobs, &[]).await.unwrap();
        die(&place, &stalled).await;
        let mut taken = Vec::new();
        if stage >= 1 {
            taken = take(b, &other, &["Mail"], 2).await;
            assert_eq!(taken.len(), 2);
        }
        if stage >= 2 {
            let changes: Vec<_> =
                taken.iter().zip(&jobs).map(|(_, job)| change(job, taken[0].claim, done())).collect();
            assert_eq!(b.write(&other, &[], &changes).await.unwrap(), [Changed::Made; 2]);
        }
        for kind in [done(), retry(0), ready(0), ready_serial("k"), ready_unique("k")] {
            for children in [Vec::new(), vec![child.clone()]] {
                let late = Change { again: true, children, ..change(&jobs[0], 1, kind.clone()) };
                assert_eq!(write_one(a, &stalled, late).await, Changed::Refused, "{stage} {kind:?}");
            }
        }
        assert_eq!(a.status(child.id).await.unwrap(), None);
        let rest = take(b, &other, &["Mail"], 9).await;
        let ends: Vec<_> = rest
            .iter()
            .map(|taken| Change { id: taken.id.parse().unwrap(), ..change(&jobs[0], taken.claim, done()) })
            .collect();
        b.write(&other, &[], &ends).await.unwrap();
        if stage == 1 {
            let ends: Vec<_> = jobs.iter().map(|job| change(job, taken[0].claim, done())).collect();
            assert_eq!(b.write(&other, &[], &ends).await.unwrap(), [Changed::Made; 2]);
        }
    }
}

pub(crate) async fn a_job_whose_insert_is_in_doubt_is_stored_by_its_change(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    for (kind, status) in [
        (done(), JobStatus::Succeeded),
        (failed("x"), JobStatus::failed("x")),
        (ChangeKind::End(StoredEnd::Skipped), JobStatus::Skipped),
        (ChangeKind::End(StoredEnd::Cancelled), JobStatus::Cancelled),
        (retry(HOUR), JobStatus::Pending),
        (ready(HOUR), JobStatus::Pending),
        (ready_serial("k"), JobStatus::Pending),
        (ready_unique("k"), JobStatus::Pending),
    ] {
        let (job, child) = (job("Mail"), job("Child"));
        let in_doubt =
            Change { insert: Some(job.clone()), children: vec![child.clone()], ..change(&job, 1, kind) };
        assert_eq!(write_one(&a, &holder, in_doubt.clone()).await, Changed::Made);
        assert_eq!(a.status(job.id).await.unwrap(), Some(status.clone()));
        assert!(a.status(child.id).await.unwrap().is_some());
        // The insert arrives late, and the change is repeated.
        a.write(&holder, std::slice::from_ref(&job), &[]).await.unwrap();
        assert_eq!(write_one(&a, &holder, again(&in_doubt)).await, Changed::Made);
        assert_eq!(a.status(job.id).await.unwrap(), Some(status));
    }
    let taken = take(&b, &other, &["Mail"], 10).await;
    assert_eq!(taken.len(), 2, "those that were made ready without a delay");
    assert!(taken.iter().all(|taken| taken.payload == r#"{"to":"ä"}"# && taken.claim == 3));
}

pub(crate) async fn a_job_whose_insert_arrived_after_all_is_changed(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let job = job("Mail");
    a.write(&holder, std::slice::from_ref(&job), &[]).await.unwrap();
    let in_doubt = Change { insert: Some(job.clone()), ..change(&job, 1, ready(0)) };
    assert_eq!(write_one(&a, &holder, in_doubt).await, Changed::Made);
    assert_eq!(take(&b, &other, &["Mail"], 9).await.len(), 1);
}

pub(crate) async fn children_are_stored_with_the_change_and_only_with_it(Place { a, .. }: Place) {
    let holder = register(&a).await;
    let jobs: Vec<NewJob> = (0..4).map(|_| job("Mail")).collect();
    let children: Vec<NewJob> = (0..4).map(|_| job("Child")).collect();
    a.write(&holder, &jobs, &[]).await.unwrap();
    let kinds = [done(), done(), retry(HOUR), failed("x")];
    let changes: Vec<_> = (0..4)
        .map(|at| Change {
            children: vec![children[at].clone()],
            claim: if at == 1 { 2 } else { 1 },
            ..change(&jobs[at], 1, kinds[at].clone())
        })
        .collect();
    a.write(&holder, &[], &changes).await.unwrap();
    let mut own: Vec<_> = a.beat(holder.clone()).await.unwrap().own;
    own.retain(|own| children.iter().any(|child| child.id.to_string() == own.id));
    assert_eq!(own.len(), 3);
    assert!(own.iter().all(|own| own.claim == 1));
    assert_eq!(a.status(children[1].id).await.unwrap(), None, "its change was refused");
    // This holder has the children.
    assert_eq!(write_one(&a, &holder, change(&children[0], 1, done())).await, Changed::Made);
}

pub(crate) async fn children_of_a_repeated_change_tell_that_it_was_made(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let (job, child) = (job("Mail"), job("Child"));
    a.write(&holder, std::slice::from_ref(&job), &[]).await.unwrap();
    let made = Change { children: vec![child.clone()], ..change(&job, 1, retry(0)) };
    assert_eq!(write_one(&a, &holder, made.clone()).await, Changed::Made);
    // Another process has taken the job since.
    take_one(&b, &other, "Mail").await;
    assert_eq!(write_one(&a, &holder, again(&made)).await, Changed::Made);
    let own = a.beat(holder).await.unwrap().own;
    assert_eq!(own.len(), 1, "the child, once");
}

pub(crate) async fn children_of_a_change_that_others_forestalled_are_not_stored(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let (job, child) = (job("Mail"), job("Child"));
    a.write(&holder, std::slice::from_ref(&job), &[]).await.unwrap();
    assert_eq!(
        a.cancel(job.id, &holder, false).await.unwrap(),
        super::super::interface::Cancelling::Cancelled
    );
    for kind in [done(), retry(0), ready(0)] {
        let late = Change { children: vec![child.clone()], again: true, ..change(&job, 1, kind) };
        assert_eq!(write_one(&a, &holder, late).await, Changed::Refused);
    }
    assert_eq!(b.status(child.id).await.unwrap(), None);
    assert_eq!(b.status(job.id).await.unwrap(), Some(JobStatus::Cancelled));
}

pub(crate) async fn a_retry_waits_and_keeps_what_is_known(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let job = NewJob { status: Some(201), ..job("Mail") };
    a.push(std::slice::from_ref(&job)).await.unwrap();
    let taken = take_one(&a, &holder, "Mail").await;
    let wait =
        change(&job, taken.claim, ChangeKind::Retry { delay: 300, attempts: 4, error: Some("e".into()) });
    assert_eq!(write_one(&a, &holder, wait).await, Changed::Made);
    take_none(&b, &other, "Mail").await;
    let taken = eventually(|| async { take(&b, &other, &["Mail"], 1).await.pop() }).await;
    assert_eq!((taken.attempts, taken.claim), (4, taken.claim));
    assert_eq!((&*taken.payload, &*taken.metadata), (&*job.payload, &*job.metadata));
}

pub(crate) async fn a_job_that_is_given_back_has_no_attempt_more(Place { a, b, .. }: Place) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let job = job("Mail");
    a.push(std::slice::from_ref(&job)).await.unwrap();
    let taken = take_one(&a, &holder, "Mail").await;
    let outcome = r#"{"status":200,"delivery":"sent"}"#.to_owned();
    let kind = ChangeKind::Ready {
        delay: 0,
        serial: None,
        unique: None,
        replace: None,
        throttle: None,
        outcome: Some(outcome.clone()),
    };
    assert_eq!(write_one(&a, &holder, change(&job, taken.claim, kind)).await, Changed::Made);
    let taken = take_one(&b, &other, "Mail").await;
    assert_eq!((taken.attempts, taken.outcome.as_deref()), (0, Some(&*outcome)));
    // The next holder that gives it back does not know the response.
    assert_eq!(write_one(&b, &other, change(&job, taken.claim, ready(0))).await, Changed::Made);
    assert_eq!(take_one(&a, &holder, "Mail").await.outcome, Some(outcome));
}

pub(crate) async fn a_condition_that_was_true_is_not_asked_again(place: Place) {
    let (a, b) = (&place.a, &place.b);
    let (holder, other) = (register(a).await, register(b).await);
    let jobs: Vec<NewJob> = (0..2).map(|_| NewJob { condition: 2, ..job("Mail") }).collect();
    a.write(&holder, &jobs, &[]).await.unwrap();
    let pass = change(&jobs[0], 1, ChangeKind::Pass);
    assert_eq!(write_one(a, &holder, pass.clone()).await, Changed::Made);
    assert_eq!(write_one(a, &holder, again(&pass)).await, Changed::Made);
    die(&place, &holder).await;
    assert_eq!(ids(&take(b, &other, &["Mail"], 9).await), [jobs[0].id]);
    let JobStatus::Failed { error, .. } = b.status(jobs[1].id).await.unwrap().unwrap() else {
        panic!("nobody can ask its condition any more")
    };
    assert!(error.contains("condition"), "{error}");
}

pub(crate) async fn a_job_that_is_given_back_before_its_condition_was_asked_is_judged_by_its_status(
    Place { a, b, .. }: Place,
) {
    let (holder, other) = (register(&a).await, register(&b).await);
    let with = |condition, status| NewJob { condition, status, ..job("Mail") };
    let jobs = [
        with(0, None),
        with(1, Some(200)),
        with(1, Some(500)),
        with(1, None),
        with(2, Some(200)),
        with(2, None),
    ];
    a.write(&holder, &jobs, &[]).await.unwrap();
    // A holder that knows the outcome has evaluated the condition.
    let asked = ChangeKind::Ready {
        delay: 0,
        serial: None,
        unique: None,
        replace: None,
        throttle: None,
        outcome: Some("{}".to_owned()),
    };
    let kinds = [ready(0), ready_serial("k"), ready(0), ready_unique("k"), ready(0), asked];
    let changes: Vec<_> = jobs.iter().zip(kinds).map(|(job, kind)| change(job, 1, kind)).collect();
    assert_eq!(a.write(&holder, &[], &changes).await.unwrap(), [Changed::Made; 6]);
    let mut taken = ids(&take(&b, &other, &["Mail"], 9).await);
    taken.sort();
    assert_eq!(taken, [jobs[0].id, jobs[1].id, jobs[5].id]);
    assert_eq!(b.status(jobs[2].id).await.unwrap(), Some(JobStatus::Skipped));
    assert_eq!(b.status(jobs[3].id).await.unwrap(), Some(JobStatus::Skipped));
    assert!(matches!(b.status(jobs[4].id).await.unwrap(), Some(JobStatus::Failed { .. })));
}

pub(crate) async fn a_job_that_was_asked_to_stop_does_not_wait_for_another_attempt(
    Place { a, b, .. }: Place,
) {
    let holder = register(&a).await;
    for kind in [retry(0), ready(0), ready_serial("k"), ready_unique("k")] {
        let job = job("Mail");
        a.write(&holder, std::slice::from_ref(&job), &[]).await.unwrap();
        assert_eq!(
            b.cancel(job.id, "other", false).await.unwrap(),
            super::super::interface::Cancelling::Asked
        );
        let made = change(&job, 1, kind);
        assert_eq!(write_one(&a, &holder, made.clone()).await, Changed::Made);
        assert_eq!(a.status(job.id).await.unwrap(), Some(JobStatus::Cancelled));
        assert_eq!(write_one(&a, &holder, again(&made)).await, Changed::Made);
    }
    take_none(&b, &holder, "Mail").await;
    // It has not claimed a key.
    assert_eq!(b.push(&[unique("Mail", "k"), serial("Mail", "k")]).await.unwrap(), [None, None]);
    assert_eq!(take(&b, &holder, &["Mail"], 9).await.len(), 2);
}

pub(crate) async fn texts_with_a_nul_are_stored(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let odd = "a\0b";
    let held = NewJob {
        metadata: "{\"a\":\"\\u0000\"}".to_owned(),
        payload: "\"\\u0000\"".to_owned(),
        ..job("Mail")
    };
    let good = job("Mail");
    a.write(&holder, &[held.clone(), good.clone()], &[]).await.unwrap();
    let changes = [change(&held, 1, failed(odd)), change(&good, 1, done())];
    assert_eq!(a.write(&holder, &[], &changes).await.unwrap(), [Changed::Made; 2]);
    let keys = NewJob { serial: Some(odd.to_owned()), unique: Some(odd.to_owned()), ..job(odd) };
    assert_eq!(a.push(&[keys.clone(), job("Mail")]).await.unwrap(), [None, None]);
    assert_eq!(
        a.push(&[unique("Mail", odd)]).await.unwrap(),
        [Some(keys.id)],
        "the key is the same each time"
    );
    let held = job("Mail");
    a.write(&holder, std::slice::from_ref(&held), &[]).await.unwrap();
    let kind = ChangeKind::Retry { delay: HOUR, attempts: 1, error: Some(odd.to_owned()) };
    assert_eq!(write_one(&a, &holder, change(&held, 1, kind)).await, Changed::Made);
    assert_eq!(take(&b, &holder, &["Mail"], 9).await.len(), 1);
}

pub(crate) async fn a_thousand_jobs_are_stored_and_ended_in_one_transaction(Place { a, b, .. }: Place) {
    let holder = register(&a).await;
    let jobs: Vec<NewJob> = (0..1_000).map(|_| job("Mail")).collect();
    a.write(&holder, &jobs, &[]).await.unwrap();
    assert_eq!(a.beat(holder.clone()).await.unwrap().own.len(), 1_000);
    let kind = |at: usize| match at % 5 {
        0 => done(),
        1 => retry(HOUR),
        2 => ready(HOUR),
        3 => failed("x"),
        _ => ready_serial("k"),
    };
    let changes: Vec<_> = jobs.iter().enumerate().map(|(at, job)| change(job, 1, kind(at))).collect();
    assert_eq!(a.write(&holder, &[], &changes).await.unwrap(), vec![Changed::Made; 1_000]);
    let counts = b.counts().await.unwrap();
    assert_eq!((counts.pending, counts.running, counts.done, counts.failed), (600, 0, 200, 200));
}
