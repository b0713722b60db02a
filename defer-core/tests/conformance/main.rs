//! The suite for queues accepts two small ones, in memory, and sees what is broken in others.

#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod pushed;

use defer_core::{
    BoxFuture, Runner,
    queue::RunWorker as _,
    testing::{Fault, Note, Place, Retried, TestQueue, TestWorker, check_queue},
};
use pushed::PushedPlace;

/// A fault of a queue that is pushed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    LosesOneOfABatch,
    StoresAnIdTwice,
    LosesMetadata,
    CountsAttemptsTwice,
    NeverRetries,
    CutsPayloads,
    NeverWorks,
}

async fn check_pushed(broken: Option<Broken>) {
    check_queue(async || PushedPlace::new(broken)).await;
}

/// The queue for tests.
struct InMemory(TestQueue);

impl Place for InMemory {
    type Queue = TestQueue;

    async fn connect(&self) -> TestQueue {
        self.0.clone()
    }

    async fn work(queue: TestQueue, runner: Runner) {
        worker(&queue, runner).run_until_empty().await;
    }

    async fn work_until(queue: TestQueue, runner: Runner, stop: BoxFuture<'static, ()>) {
        Box::new(worker(&queue, runner)).run(stop).await.unwrap();
    }
}

fn worker(queue: &TestQueue, runner: Runner) -> TestWorker {
    queue.worker(runner).job::<Note>().job::<Retried>()
}

async fn check_holding(fault: Option<Fault>) {
    check_queue(async || InMemory(fault.map_or_else(TestQueue::new, TestQueue::with_fault))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_pushed_to_conforms() {
    check_pushed(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_for_tests_conforms() {
    check_holding(None).await;
}

/// A queue that breaks its promise of how often a job starts, and says that it makes none; or that leaves out what the suite does not have.
struct LeavesOut<const IS_KNOWN: bool>(TestQueue);

impl<const IS_KNOWN: bool> Place for LeavesOut<IS_KNOWN> {
    type Queue = TestQueue;

    const LEFT_OUT: &'static [&'static str] = match IS_KNOWN {
        true => &["a_job_starts_no_more_often_than_it_may"],
        false => &["a_job_starts_no_more_often_than_it_may", "no such promise"],
    };

    async fn connect(&self) -> TestQueue {
        self.0.clone()
    }

    async fn work(queue: TestQueue, runner: Runner) {
        worker(&queue, runner).run_until_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_queue_does_not_promise_is_not_checked() {
    check_queue(async || LeavesOut::<true>(TestQueue::with_fault(Fault::StartsTooOften))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[should_panic(expected = "a promise is left out that the suite does not check: [\"no such promise\"]")]
async fn only_promises_of_the_suite_can_be_left_out() {
    check_queue(async || LeavesOut::<false>(TestQueue::with_fault(Fault::StartsTooOften))).await;
}

/// Its time is paused, so that it does not take the 60 s.
#[tokio::test(start_paused = true)]
#[should_panic(expected = "each job runs once with what it was pushed with: but after 60s")]
async fn a_worker_hangs() {
    check_pushed(Some(Broken::NeverWorks)).await;
}

macro_rules! broken {
    ($($check:ident, $name:ident, $kind:ident::$broken:ident, $seen:literal;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[should_panic(expected = $seen)]
            async fn $name() {
                $check(Some($kind::$broken)).await;
            }
        )+
    };
}

broken! {
    check_pushed, one_of_a_batch_is_lost, Broken::LosesOneOfABatch, "each job must run once, but \"job 999 of a batch\" ran 0 times";
    check_pushed, an_id_is_stored_twice, Broken::StoresAnIdTwice, "each job must run once, but \"first\" ran 2 times";
    check_pushed, metadata_is_lost, Broken::LosesMetadata, "a job must keep its metadata";
    check_pushed, attempts_are_counted_twice, Broken::CountsAttemptsTwice, "a job with three attempts that always fails";
    check_pushed, an_attempt_that_failed_is_the_last, Broken::NeverRetries, "a job with three attempts that always fails";
    check_pushed, a_large_job_is_lost, Broken::CutsPayloads, "but \"large large";
    check_holding, a_held_job_starts_at_once, Fault::StartsAtOnce, "a job must not start before its response is over";
    check_holding, a_dropped_lease_loses_its_job, Fault::LosesDroppedLeases, "but \"given back\" ran 0 times";
    check_holding, children_are_lost, Fault::LosesChildren, "but \"first child\" ran 0 times";
    check_holding, an_end_is_forgotten, Fault::ForgetsEnds, " must ";
    check_holding, the_last_end_counts, Fault::LastEndCounts, "a job that has succeeded, whatever is said of it later";
    check_holding, the_attempts_of_a_held_job_are_forgotten, Fault::ForgetsAttempts, "must have this attempt next";
    check_holding, a_response_is_forgotten, Fault::ForgetsResponses, "must see the status of its response";
    check_holding, a_duplicate_is_not_told, Fault::RunsDuplicates, "the second job with a unique key is a duplicate";
    check_holding, none_is_replaced, Fault::NeverReplaces, "a job that replaces another is no duplicate";
    check_holding, jobs_start_too_often, Fault::StartsTooOften, "of jobs that may start once an hour one must run";
    check_holding, serial_jobs_run_backwards, Fault::RunsSerialOnesBackwards, "jobs with one serial key must run in their order";
    check_holding, a_paused_type_runs, Fault::RunsWhatIsPaused, "a job whose type is paused must wait";
    check_holding, a_cancelled_job_runs, Fault::RunsWhatIsCancelled, "no other job must run, but these did: [\"cancelled\"]";
    check_holding, failures_are_mixed, Fault::MixesFailures, "no job failed with that: Some(3)";
    check_holding, nothing_is_counted, Fault::CountsNothing, "two jobs wait";
}
