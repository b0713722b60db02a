//! Durable jobs that run together.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use defer_core::{
    BoxFuture, JobError, JobId, Runner,
    queue::{End, Envelope, Lease, Metadata, Resume, Settle, Settled, Start, Stop},
    testing::TestQueue,
};

use crate::{
    common::{Events, assert_all_accounted_for},
    support::{Kind, Plain, Queued, QueuedTwice, Row, Table, all, defer_each, in_time, table, table_that},
};

#[tokio::test(start_paused = true)]
async fn stored_jobs_of_this_process_run_together() {
    let (table, written) = table();
    let queue = TestQueue::new();
    let runner = Runner::builder().state(table).queue(queue.clone()).build();
    let _worker = queue.worker(runner.clone()).job::<Row<Queued>>();
    defer_each::<Queued>(&runner, 1..=3).await;
    in_time(runner.idle()).await;
    assert_eq!(all(written), [[1, 2, 3]]);
    assert_eq!(runner.stats().succeeded, 3);
    assert!(queue.written::<Row<Queued>>().iter().all(|row| row.status.is_final()));
}

#[tokio::test(start_paused = true)]
async fn jobs_that_a_worker_takes_run_together() {
    let queue = TestQueue::new();
    let front = Runner::builder().queue(queue.clone()).build();
    defer_each::<Queued>(&front, 1..=5).await;
    in_time(front.idle()).await;

    let (table, written) = table();
    let runner = Runner::builder().state(table).build();
    queue.worker(runner.clone()).job::<Row<Queued>>().run_until_empty().await;
    assert_eq!(all(written), [vec![1, 2, 3], vec![4, 5]], "the last two did not wait for a third");
    assert_eq!((runner.stats().taken, runner.stats().succeeded), (5, 5));
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_stored_job_is_by_itself_in_its_last_attempt() {
    let queue = TestQueue::new();
    let (table, written) =
        table_that(|rows| ready(if rows.contains(&2) { Err(JobError::msg("on purpose")) } else { Ok(()) }));
    let runner = Runner::builder().state(table).queue(queue.clone()).build();
    let worker = queue.worker(runner.clone()).job::<Row<QueuedTwice>>();
    defer_each::<QueuedTwice>(&runner, 1..=3).await;
    in_time(runner.idle()).await;
    worker.run_until_empty().await;
    let mut written = all(written);
    written[1..].sort();
    assert_eq!(written, [vec![1, 2, 3], vec![1], vec![2], vec![3]]);
    assert_eq!((runner.stats().succeeded, runner.stats().failed), (2, 1));
}

/// A lease that lets its job start the second time that it is asked, or the first.
struct Slow(AtomicBool);

impl Lease for Slow {
    fn poll_start(&self, cx: &mut Context<'_>) -> Poll<Start> {
        if self.0.swap(false, Ordering::Relaxed) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Start::Now)
    }

    fn poll_stopped(&self, _: &mut Context<'_>) -> Poll<Stop> {
        Poll::Pending
    }

    fn pass(&self) -> BoxFuture<'static, ()> {
        Box::pin(ready(()))
    }

    fn settle(&self, _: End, _: Vec<Envelope>) -> Settle {
        Settle { leases: Vec::new(), settled: Box::pin(ready(Settled::Done)) }
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_lease_does_not_let_it_start_holds_up_no_other_of_its_batch() {
    let (table, written) = table();
    let runner = Runner::builder().max_running(1).state(table).build();
    for row in 1..=3 {
        let resume = Resume::new(JobId::unique(), 0, Metadata::new());
        let lease = Slow(AtomicBool::new(row == 2));
        runner.resume_leased(Plain::row(row), resume, Arc::new(lease)).unwrap();
    }
    in_time(runner.idle()).await;
    assert_eq!(all(written), [vec![1, 3], vec![2]]);
    assert_eq!(runner.stats().succeeded, 3);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_stopped_at_the_end_of_a_shutdown_is_left_to_the_queue() {
    let (events, queue) = (Events::default(), TestQueue::new());
    let table = Table::new(|_, _| std::future::pending());
    let runner = events.runner().state(table).queue(queue.clone()).build();
    let _worker = queue.worker(runner.clone()).job::<Row<Queued>>();
    defer_each::<Queued>(&runner, 1..=3).await;
    let report = runner.shutdown(crate::common::SECOND).await;
    assert_eq!((report.queued, report.unfinished), (3, vec![]));
    assert_eq!((events.count("Started"), events.count("Queued")), (3, 3));
    assert!(queue.written::<Row<Queued>>().iter().all(|row| !row.status.is_final()));
}
