//! The suite.

use std::time::Duration;

use super::{bench::Bench, holding, inspecting, place::Place, pushing, settling};
use crate::store::Queue;

/// The longest time that the suite waits for one promise.
const DEADLINE: Duration = Duration::from_secs(60);

/// Checks that a queue keeps the promises of [`Queue`], and of [`HoldJobs`](crate::queue::HoldJobs) and
/// [`InspectQueue`](crate::queue::InspectQueue) if it implements them. `make` is called for each promise, and returns a fresh
/// and empty place.
///
/// Call it in a test on a multi-threaded runtime without paused time. Methods of [`InspectQueue`](crate::queue::InspectQueue)
/// with a default may keep it. The suite does not check a push that panics or never completes.
///
/// `defer-core/tests/conformance` in the repository has two small in-memory queues that pass.
///
/// Promises that the queue does not make are [left out](Place::LEFT_OUT) by name.
///
/// # Panics
///
/// If a promise is broken, or not kept within 60 s. The message names the promise, and what was observed. Also if a promise is
/// left out that the suite does not have.
///
/// ```no_run
/// # use defer_core::{BoxError, BoxFuture, Runner, queue::{Envelope, Queue}};
/// # #[derive(Clone)] struct MyQueue;
/// # impl MyQueue { async fn connect(_: &str) -> Self { Self } }
/// # impl Queue for MyQueue {
/// #     fn push(&self, _: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> { Box::pin(async { Ok(()) }) }
/// # }
/// # struct Worker;
/// # impl MyQueue { fn worker(&self, _: Runner) -> Worker { Worker } }
/// # impl Worker { fn job<J>(self) -> Self { self } async fn run_until_empty(self) {} }
/// use defer_core::testing::{Note, Place, Retried, check_queue};
///
/// struct Schema(String);
///
/// impl Place for Schema {
///     type Queue = MyQueue;
///
///     async fn connect(&self) -> MyQueue {
///         MyQueue::connect(&self.0).await
///     }
///
///     async fn work(queue: MyQueue, runner: Runner) {
///         queue.worker(runner).job::<Note>().job::<Retried>().run_until_empty().await;
///     }
/// }
///
/// # async fn conforms() {
/// // In a `#[tokio::test(flavor = "multi_thread")]`:
/// check_queue(async || Schema("a new one".to_owned())).await;
/// # }
/// ```
pub async fn check_queue<P: Place>(make: impl AsyncFn() -> P) {
    let mut left_out = P::LEFT_OUT.to_vec();
    macro_rules! check {
        ($($module:ident::$promise:ident,)+) => {
            $(
                let promise = stringify!($promise);
                left_out.retain(|left_out| *left_out != promise);
                if P::LEFT_OUT.contains(&promise) {
                    eprintln!("left out: {}", promise.replace('_', " "));
                } else {
                    within(promise, $module::$promise(Bench::new(make().await).await)).await;
                }
            )+
        };
    }
    check! {
        pushing::each_job_runs_once_with_what_it_was_pushed_with,
        pushing::a_job_runs_under_an_earlier_name_of_its_type,
        pushing::an_id_that_is_pushed_twice_is_stored_once,
        pushing::a_batch_is_stored_whole,
        pushing::an_attempt_that_fails_is_followed_by_others_up_to_its_policy,
        pushing::a_snoozed_job_runs_again_and_spends_no_attempt,
        pushing::tasks_and_threads_push_at_once,
        pushing::a_push_that_is_dropped_can_be_made_again,
        pushing::a_deferred_job_runs_once,
        pushing::what_a_job_defers_runs_once_after_it,
    }
    let bench = Bench::new(make().await).await;
    if bench.queue.hold().is_some() {
        check! {
            holding::a_held_job_waits_for_its_response,
            holding::a_held_job_runs_here_in_its_line_and_sees_its_response,
            holding::a_cancelled_job_runs_nowhere,
            holding::a_lease_that_is_dropped_gives_the_job_back,
            holding::an_id_that_is_held_twice_runs_once,
            holding::children_are_stored_with_the_end_of_their_job,
            holding::what_a_job_defers_here_runs_once_after_it,
            settling::an_end_is_final,
            settling::the_first_end_counts,
            settling::the_next_attempt_is_taken_later,
            settling::a_ready_job_knows_its_response,
            settling::a_duplicate_is_told_and_does_not_run,
            settling::a_job_that_replaces_takes_the_place_of_the_one_that_waits,
            settling::a_job_starts_no_more_often_than_it_may,
            settling::jobs_with_a_serial_key_run_one_at_a_time_in_their_order,
        }
    }
    if bench.queue.inspect().is_some() {
        check! {
            inspecting::counts_and_status_follow_a_job,
            inspecting::a_failed_job_is_listed_and_can_be_retried_and_discarded,
            inspecting::a_job_that_waits_can_be_cancelled,
            inspecting::a_paused_type_waits_until_it_is_resumed,
            inspecting::a_job_is_shown_as_far_as_it_has_got,
            inspecting::failures_are_grouped_and_a_group_can_be_retried_and_discarded,
        }
    }
    assert!(left_out.is_empty(), "a promise is left out that the suite does not check: {left_out:?}");
}

/// Turns a hang into a panic, and adds the promise to the message of any other panic.
async fn within(promise: &'static str, check: impl Future<Output = ()>) {
    let promise = promise.replace('_', " ");
    eprintln!("checking: {promise}");
    if tokio::time::timeout(DEADLINE, check).await.is_err() {
        panic!("{promise}: but after {DEADLINE:?} it was not kept");
    }
}
