//! Interleavings that once went wrong, each on its own.

use std::{future::poll_fn, sync::Arc, time::Duration};

use defer_core::{
    BoxError, Deferrable, Job, JobContext, JobError, JobId, JobResult, Policy, Runner,
    queue::{End, Envelope, Hold, Settle, Settled, Start, Stop},
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::yield_now,
    time::{Instant, sleep, timeout},
};

use super::{memory::BAD, scripted::Scripted};
use crate::{
    engine::{Owner, new_job},
    push::{Database, Table},
    queue::SqlxQueue,
    store::{
        Cancelling, StoreError,
        state::{CANCELLED, DONE, HELD, READY, TAKEN},
    },
};

const SECOND: Duration = Duration::from_secs(1);

fn envelope(id: u128) -> Envelope {
    Envelope::new(JobId::from(id), "one", Policy::new(), b"{}".to_vec())
}

fn names() -> Arc<[String]> {
    Arc::new(["one".to_owned()])
}

/// Takes one job, like a worker.
async fn taken(owner: &Arc<Owner>) -> Arc<dyn defer_core::queue::Lease> {
    let taken = owner.engine().take(&names(), 1).await.unwrap();
    let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    owner.lease(&taken[0], place).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_take_is_not_answered_is_asked_to_stop() {
    let (store, owner) = Scripted::start().await;
    let id = JobId::from(1);
    owner.engine().push(vec![new_job(envelope(1), 100).unwrap()]).await.unwrap();
    store.hold_back("take");
    let of_take = owner.clone();
    let take = tokio::spawn(async move { taken(&of_take).await });
    while store.state(id) != Some(TAKEN) {
        yield_now().await;
    }
    assert_eq!(owner.engine().cancel(id).await.unwrap(), Cancelling::Asked);
    store.let_go();
    let lease = take.await.unwrap();
    // It may start. The next beat then stops it.
    let stop = timeout(4 * SECOND, poll_fn(|cx| lease.poll_stopped(cx))).await;
    assert_eq!(stop.unwrap(), Stop::Cancelled);
    assert_eq!(lease.settle(End::Cancelled, Vec::new()).settled.await, Settled::Done);
    assert_eq!(store.state(id), Some(CANCELLED));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_cannot_be_stored_takes_no_other_from_the_end_that_they_are_stored_with() {
    for bad in [vec![2], vec![3], vec![4], vec![2, 4], vec![]] {
        let (store, owner) = Scripted::start().await;
        let Hold { leases, stored } = owner.hold(vec![envelope(1)]);
        assert!(stored.await[0].is_ok());
        let child = |id| match bad.contains(&id) {
            true => Envelope::new(JobId::from(id), "one", Policy::new(), BAD.into()),
            false => envelope(id),
        };
        let Settle { leases: children, settled } =
            leases[0].settle(End::Succeeded, (2..5).map(child).collect());
        assert_eq!(settled.await, Settled::Done);
        assert_eq!(store.state(JobId::from(1)), Some(DONE));
        // With two jobs that cannot be stored, the writer cannot find out which they are.
        let left_out = if bad.len() > 1 { vec![2, 3, 4] } else { bad };
        for (id, lease) in (2..).zip(children) {
            let is_stored = !left_out.contains(&id);
            assert_eq!(store.state(JobId::from(id)), is_stored.then_some(HELD), "{id} of {left_out:?}");
            assert_eq!(lease.is_stored(), is_stored);
            assert_eq!(poll_fn(|cx| lease.poll_start(cx)).await, Start::Now);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_here_is_cancelled_and_never_starts() {
    let (store, owner) = Scripted::start().await;
    let Hold { leases, stored } = owner.hold(vec![envelope(1)]);
    assert!(stored.await[0].is_ok());
    assert_eq!(owner.engine().cancel(JobId::from(1)).await.unwrap(), Cancelling::Cancelled);
    assert_eq!(store.state(JobId::from(1)), Some(CANCELLED));
    let start = poll_fn(|cx| leases[0].poll_start(cx)).await;
    assert_eq!(start, Start::Not(Stop::Cancelled));
    assert_eq!(leases[0].settle(End::Cancelled, Vec::new()).settled.await, Settled::Done);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_write_is_in_doubt_is_only_asked_because_it_runs_all_the_same() {
    let (store, owner) = Scripted::start().await;
    store.answer_next("write", StoreError::InDoubt("no answer".to_owned()));
    let Hold { leases, stored } = owner.hold(vec![envelope(1)]);
    assert!(stored.await[0].is_err());
    assert_eq!(store.state(JobId::from(1)), Some(HELD));
    assert_eq!(owner.engine().cancel(JobId::from(1)).await.unwrap(), Cancelling::Asked);
    assert_eq!(leases[0].settle(End::Succeeded, Vec::new()).settled.await, Settled::Done);
    assert_eq!(store.state(JobId::from(1)), Some(DONE));
}

#[tokio::test(start_paused = true)]
async fn what_a_job_that_could_not_be_stored_defers_is_stored() {
    let (store, owner) = Scripted::start().await;
    let mut large = envelope(1);
    large.payload = vec![b'1'; 101];
    let Hold { leases, stored } = owner.hold(vec![large]);
    assert!(stored.await[0].is_err() && !leases[0].is_stored());
    let Settle { leases: children, settled } = leases[0].settle(End::Succeeded, vec![envelope(2)]);
    assert_eq!(settled.await, Settled::Done);
    assert!(children[0].is_stored());
    assert_eq!(poll_fn(|cx| children[0].poll_start(cx)).await, Start::Now);
    assert_eq!(children[0].settle(End::Succeeded, Vec::new()).settled.await, Settled::Done);
    assert_eq!(store.state(JobId::from(2)), Some(DONE));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_dropped_waits_for_the_end_of_its_parent_however_long_that_is_locked() {
    let (store, owner) = Scripted::start().await;
    let Hold { leases, stored } = owner.hold(vec![envelope(1)]);
    assert!(stored.await[0].is_ok());
    store.answer_next("write", StoreError::Locked("locked".to_owned()));
    store.answer_next("write", StoreError::Away("refused".to_owned()));
    let Settle { leases: children, settled } = leases[0].settle(End::Succeeded, vec![envelope(2)]);
    drop(children);
    // The writer must yield to others.
    assert_eq!(timeout(60 * SECOND, settled).await.unwrap(), Settled::Done);
    owner.written().await;
    assert_eq!((store.state(JobId::from(1)), store.state(JobId::from(2))), (Some(DONE), Some(READY)));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_job_with_a_serial_key_lets_workers_look_for_the_next() {
    let (_store, owner) = Scripted::start().await;
    let jobs = (1..3).map(|id| {
        let mut job = envelope(id);
        job.serial = Some("key".to_owned());
        new_job(job, 100).unwrap()
    });
    owner.engine().push(jobs.collect()).await.unwrap();
    let lease = taken(&owner).await;
    assert!(owner.engine().take(&names(), 1).await.unwrap().is_empty(), "its turn has not come");
    let ready = owner.engine().ready();
    assert_eq!(lease.settle(End::Succeeded, Vec::new()).settled.await, Settled::Done);
    timeout(SECOND, ready).await.unwrap();
    drop(taken(&owner).await);
}

#[tokio::test(start_paused = true)]
async fn jobs_that_wait_for_a_beat_start_when_it_is_answered() {
    let (store, owner) = Scripted::start().await;
    let Hold { leases, stored } = owner.hold((1..4).map(envelope).collect());
    assert!(stored.await.iter().all(Result::is_ok));
    store.hold_back("beat");
    sleep(20 * SECOND).await;
    let starts: Vec<_> = leases
        .iter()
        .cloned()
        .map(|lease| tokio::spawn(async move { poll_fn(|cx| lease.poll_start(cx)).await }))
        .collect();
    sleep(SECOND).await;
    assert!(starts.iter().all(|start| !start.is_finished()));
    store.let_go();
    for start in starts {
        assert_eq!(timeout(10 * SECOND, start).await.unwrap().unwrap(), Start::Now);
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_judged_dead_stops_what_it_runs_and_goes_on_under_another_name() {
    let (store, owner) = Scripted::start().await;
    let holder = owner.engine().holder();
    let Hold { leases, stored } = owner.hold(vec![envelope(1)]);
    assert!(stored.await[0].is_ok());
    assert_eq!(poll_fn(|cx| leases[0].poll_start(cx)).await, Start::Now);
    store.tables().holders.remove(&holder);
    let stop = timeout(4 * SECOND, poll_fn(|cx| leases[0].poll_stopped(cx))).await;
    assert_eq!(stop.unwrap(), Stop::Lost);
    assert_eq!(leases[0].settle(End::Succeeded, Vec::new()).settled.await, Settled::Refused);
    sleep(4 * SECOND).await;
    assert_ne!(owner.engine().holder(), holder);
    // The holder's own jobs are recovered like those of others.
    assert_eq!(store.state(JobId::from(1)), Some(READY));
    let Hold { leases, stored } = owner.hold(vec![envelope(2)]);
    assert!(stored.await[0].is_ok());
    assert_eq!(poll_fn(|cx| leases[0].poll_start(cx)).await, Start::Now);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_the_database_refuses_is_parted_from_the_others_of_its_commit() {
    let (store, owner) = Scripted::start().await;
    // All together, then the first half, then its first job.
    for _ in 0..3 {
        store.answer_next("write", StoreError::Data("refused".to_owned()));
    }
    let Hold { leases: _leases, stored } = owner.hold((1..5).map(envelope).collect());
    let stored: Vec<bool> = stored.await.iter().map(Result::is_ok).collect();
    assert_eq!(stored, [false, true, true, true]);
    let states = [1, 2, 3, 4].map(|id| store.state(JobId::from(id)));
    assert_eq!(states, [None, Some(HELD), Some(HELD), Some(HELD)]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_closed_stops_what_it_runs_and_leaves_it_to_others() {
    let (store, owner) = Scripted::start().await;
    let Hold { leases, stored } = owner.hold(vec![envelope(1)]);
    assert!(stored.await[0].is_ok());
    assert_eq!(poll_fn(|cx| leases[0].poll_start(cx)).await, Start::Now);
    owner.close().await;
    let stop = timeout(SECOND, poll_fn(|cx| leases[0].poll_stopped(cx))).await;
    assert_eq!(stop.unwrap(), Stop::Lost);
    assert_eq!(store.state(JobId::from(1)), Some(READY));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_closed_answers_what_still_waits_to_be_written() {
    let (store, owner) = Scripted::start().await;
    store.hold_back("write");
    let first = owner.hold(vec![envelope(1)]);
    sleep(SECOND).await;
    // Waits behind the one that is being written.
    let second = owner.hold(vec![envelope(2)]);
    owner.close().await;
    for Hold { stored, .. } in [first, second] {
        assert!(timeout(SECOND, stored).await.unwrap()[0].is_err());
    }
}

/// A job that fails once, and reports each attempt.
struct One;

impl Job for One {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<mpsc::UnboundedSender<Instant>>()?.send(Instant::now())?;
        if cx.attempt() == 1 { Err(JobError::msg("not yet")) } else { Ok(()) }
    }
}

impl Deferrable for One {
    const NAME: &'static str = "one";
    const POLICY: Policy = Policy::new().with_tries(2).with_backoff(DELAY, DELAY);
    const DECODE: Option<fn(&[u8]) -> Result<Self, BoxError>> = Some(|_| Ok(Self));
}

const DELAY: Duration = Duration::from_millis(40);

#[tokio::test(start_paused = true)]
async fn a_worker_looks_when_what_its_process_put_off_is_due() {
    let (_store, owner) = Scripted::start().await;
    let queue = SqlxQueue::new(owner.clone(), Table::new(Database::Sqlite, None, "default", 100));
    let (times, mut tried) = mpsc::unbounded_channel();
    let runner = Runner::builder().state(times).queue(queue.clone()).build();
    let worker = queue.worker(runner).job::<One>();
    tokio::spawn(worker.run_until(std::future::pending()));
    // The worker has found nothing, and is waiting.
    sleep(DELAY).await;
    let mut delayed = new_job(envelope(1), 100).unwrap();
    delayed.delay = 40;
    owner.engine().push(vec![delayed]).await.unwrap();
    let pushed = Instant::now();
    let first = tried.recv().await.unwrap();
    let second = tried.recv().await.unwrap();
    for (from, to) in [(pushed, first), (first, second)] {
        let waited = to - from;
        // A worker that only looks every second would be later.
        assert!((DELAY..2 * DELAY).contains(&waited), "{waited:?}");
    }
}
