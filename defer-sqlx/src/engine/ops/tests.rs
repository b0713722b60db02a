//! Tests of when pending writes are tried.

use super::*;
use crate::{engine::held::Stored, store::StoredEnd};

fn job(id: u128) -> NewJob {
    NewJob { id: JobId::from(id), ..NewJob::of_type("one") }
}

fn held(id: u128, now: Instant) -> Arc<Held> {
    Arc::new(Held::new(JobId::from(id), 1, "h".to_owned(), 0, Stored::Yes(now)))
}

fn hold(id: u128, now: Instant) -> Op {
    Op::Hold { job: Box::new(job(id)), held: held(id, now), done: oneshot::channel().0 }
}

fn push(id: u128) -> Op {
    Op::Push { jobs: vec![job(id)], done: oneshot::channel().0 }
}

fn change(id: u128, kind: ChangeKind, now: Instant) -> Op {
    let settling = Settling::new(kind, Vec::new(), oneshot::channel().0);
    Op::change(&held(id, now), settling)
}

fn end(id: u128, now: Instant) -> Op {
    change(id, ChangeKind::End(StoredEnd::Done { attempts: 1 }), now)
}

fn written(ops: &Ops, now: Instant) -> Vec<Op> {
    match ops.next(now) {
        Next::Write(ops) => ops,
        Next::Wait(until) => panic!("waits {:?}", until.map(|until| until - now)),
    }
}

fn wait(ops: &Ops, now: Instant) -> Duration {
    match ops.next(now) {
        Next::Wait(Some(until)) => until - now,
        Next::Wait(None) => panic!("waits for ever"),
        Next::Write(ops) => panic!("writes {}", ops.len()),
    }
}

#[test]
fn pushes_among_other_writes_do_not_part_these() {
    let (ops, now) = (Ops::default(), Instant::now());
    for id in 0..20 {
        ops.add(if id % 2 == 0 { push(id) } else { hold(id, now) });
    }
    let counts = [written(&ops, now).len(), written(&ops, now).len()];
    assert_eq!(counts, [10, 10]);
}

#[test]
fn after_a_failure_jobs_are_written_before_ends_that_wait() {
    let (ops, now) = (Ops::default(), Instant::now());
    for id in 0..2_000 {
        ops.add(end(id, now));
    }
    let failed = written(&ops, now);
    ops.landed(failed, true, now);
    ops.add(hold(5_000, now));
    let tried = written(&ops, now + SHORT_PAUSE);
    assert!(tried.len() == MOST_JOBS && tried[0].is_hold());
}

#[test]
fn what_lands_after_the_end_is_not_kept() {
    let (ops, now) = (Ops::default(), Instant::now());
    let (done, mut answer) = oneshot::channel();
    ops.add(Op::Hold { job: Box::new(job(1)), held: held(1, now), done });
    let taken = written(&ops, now);
    ops.close();
    ops.landed(taken, true, now);
    assert_eq!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed));
}

#[test]
fn an_end_waits_a_little_for_a_job_to_share_its_commit_with() {
    let (ops, now) = (Ops::default(), Instant::now());
    ops.add(end(1, now));
    assert_eq!(wait(&ops, now), GATHER);
    ops.add(end(2, now));
    assert_eq!(wait(&ops, now + GATHER / 2), GATHER / 2, "no longer than the first");
    ops.add(hold(3, now));
    assert_eq!(written(&ops, now + GATHER / 2).len(), 3);
    ops.landed(Vec::new(), false, now);
    ops.add(end(4, now));
    assert_eq!(wait(&ops, now), GATHER);
    assert_eq!(written(&ops, now + GATHER).len(), 1);
}

#[test]
fn what_others_wait_for_and_many_ends_do_not_wait() {
    let (ops, now) = (Ops::default(), Instant::now());
    let ready = ChangeKind::Ready {
        delay: 0,
        serial: None,
        unique: None,
        replace: None,
        throttle: None,
        outcome: None,
    };
    ops.add(change(1, ready, now));
    assert_eq!(written(&ops, now).len(), 1);
    (0..GATHERED as u128).for_each(|id| ops.add(end(id, now)));
    assert_eq!(written(&ops, now).len(), GATHERED);
}

#[tokio::test]
async fn an_end_does_not_wait_once_somebody_waits_for_all_to_be_written() {
    let (ops, now) = (Arc::new(Ops::default()), Instant::now());
    ops.add(end(1, now));
    let of_task = ops.clone();
    let waits = tokio::spawn(async move { of_task.written().await });
    tokio::task::yield_now().await;
    assert_eq!(written(&ops, now).len(), 1);
    ops.landed(Vec::new(), false, now);
    waits.await.unwrap();
}

#[test]
fn after_a_failure_ends_wait_longer_and_what_a_response_waits_for_does_not() {
    let (ops, now) = (Ops::default(), Instant::now());
    ops.add(end(1, now));
    wait(&ops, now);
    let mut left = written(&ops, now + GATHER);
    for pause in [50, 100, 200, 400, 800, 1_000, 1_000] {
        ops.landed(left, true, now);
        assert_eq!(wait(&ops, now), Duration::from_millis(pause));
        left = written(&ops, now + Duration::from_millis(pause));
    }
    ops.landed(left, true, now);
    ops.add(hold(2, now));
    assert_eq!(wait(&ops, now), SHORT_PAUSE);
    assert_eq!(written(&ops, now + SHORT_PAUSE).len(), 2, "and takes the end with it");
}

#[test]
fn what_is_in_the_way_of_others_is_tried_alone_and_ever_more_seldom() {
    let (ops, mut now) = (Ops::default(), Instant::now());
    let mut slow = end(1, now);
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        ops.landed(vec![slow.slower()], false, now);
        ops.add(hold(2, now));
        assert_eq!(written(&ops, now).len(), 1, "another does not wait for it");
        ops.landed(Vec::new(), false, now);
        assert_eq!(wait(&ops, now), Duration::from_secs(seconds));
        now += Duration::from_secs(seconds);
        slow = written(&ops, now).pop().unwrap();
    }
}

#[test]
fn progress_is_written_at_once_and_then_once_a_second_with_what_else_is_written() {
    let (ops, now) = (Ops::default(), Instant::now());
    let (job, second) = (held(1, now), Duration::from_secs(1));
    let says = |json: &str, now| {
        if let Some(at) = job.set_progress(json, now) {
            ops.add_progress(at, &job);
        }
    };
    let progress = |op: &Op, now| match op {
        Op::Progress { held } => held.take_progress(now),
        _ => panic!("it is something else"),
    };
    says("1", now);
    says("2", now);
    assert_eq!(progress(&written(&ops, now)[0], now).as_deref(), Some("2"), "the last one");
    ops.landed(Vec::new(), false, now);
    for at in 3..9 {
        says(&at.to_string(), now + second / 10);
    }
    assert_eq!(wait(&ops, now + second / 10), second - second / 10);
    assert_eq!(ops.lock().progress.len(), 1);
    // It waits for no other, and no other for it.
    ops.add(hold(2, now));
    assert_eq!(written(&ops, now + second / 2).len(), 1);
    ops.landed(Vec::new(), false, now);
    ops.add(end(3, now));
    let both = written(&ops, now + second);
    assert_eq!((both.len(), progress(&both[1], now + second).as_deref()), (2, Some("8")));
    ops.landed(Vec::new(), false, now);
    assert!(matches!(ops.next(now + second * 9), Next::Wait(None)), "nothing is left to say");
}

#[test]
fn progress_is_not_written_after_the_end_nor_waited_for() {
    let (ops, now) = (Ops::default(), Instant::now());
    let job = held(1, now);
    let at = job.set_progress("1", now).unwrap();
    ops.add_progress(at, &job);
    assert!(ops.lock().is_written(), "a shutdown does not wait for it");
    assert!(job.settles());
    assert_eq!(job.take_progress(now), None);
    assert_eq!(job.set_progress("2", now), None);
}
