//! Tests what every [`Store`] promises, on each database.
//!
//! A scenario is a function of a [`Place`]. [`every_scenario`] lists all of them, and each store runs them.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod browse;
mod changes;
mod holders;
mod inspect;
mod keys;
#[cfg(feature = "_servers")]
mod postgres;
mod replace;
#[cfg(feature = "sqlite")]
mod sqlite;
mod take;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use defer_core::JobId;

use super::interface::{
    Change, ChangeKind, Changed, Failures, Holder, HolderId, NewJob, Store, StoredEnd, Taken,
};

/// An empty database, as several processes see it.
pub(crate) struct Place {
    /// A process.
    pub(crate) a: Arc<dyn Store>,
    /// Another process, on the same queue.
    pub(crate) b: Arc<dyn Store>,
    /// A process on another queue of the same database, named `other`.
    pub(crate) other: Arc<dyn Store>,
}

/// Runs `$run!(name, path)` for each scenario.
macro_rules! every_scenario {
    ($($room:ident { $($name:ident)* })*) => {
        /// Defines a test for each scenario. In `scenarios!(place)`, `place().await` returns a [`Place`] and a value that keeps
        /// it alive.
        macro_rules! scenarios {
            ($place:expr) => {
                $($(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $name() {
                        let (place, _kept) = $place.await;
                        crate::store::tests::$room::$name(place).await;
                    }
                )*)*
            };
        }
    };
}

every_scenario! {
    changes {
        a_held_job_is_for_nobody_else
        a_job_that_is_stored_already_is_left_as_it_is
        an_end_is_stored_and_its_job_is_over
        a_change_is_refused_to_who_does_not_have_the_job_under_that_claim
        a_refused_change_refuses_no_other
        a_late_result_does_not_replace_a_newer_one
        a_repeated_end_is_made_once
        a_repeated_retry_is_made_once
        a_repeated_ready_is_made_once
        a_repeated_change_is_refused_once_others_recovered_the_job
        a_job_whose_insert_is_in_doubt_is_stored_by_its_change
        a_job_whose_insert_arrived_after_all_is_changed
        children_are_stored_with_the_change_and_only_with_it
        children_of_a_repeated_change_tell_that_it_was_made
        children_of_a_change_that_others_forestalled_are_not_stored
        a_retry_waits_and_keeps_what_is_known
        a_job_that_is_given_back_has_no_attempt_more
        a_condition_that_was_true_is_not_asked_again
        a_job_that_is_given_back_before_its_condition_was_asked_is_judged_by_its_status
        a_job_that_was_asked_to_stop_does_not_wait_for_another_attempt
        texts_with_a_nul_are_stored
        a_thousand_jobs_are_stored_and_ended_in_one_transaction
    }
    take {
        a_job_is_taken_once_however_many_take
        only_the_named_types_are_taken
        paused_types_are_left_out
        a_limit_is_kept
        the_highest_priority_goes_first_and_then_the_longest_due
        a_delayed_job_is_taken_once_it_is_due
        many_delayed_jobs_do_not_hide_a_due_one
        a_taken_job_has_all_that_was_stored
        the_next_due_job_is_told
        a_job_that_is_pushed_twice_is_stored_once
        a_queue_does_not_see_the_jobs_of_another
        jobs_of_one_type_do_not_keep_out_another
    }
    keys {
        a_job_with_the_key_of_one_that_waits_is_its_duplicate
        a_taken_job_gives_up_its_key
        a_held_job_claims_no_key
        a_held_job_becomes_a_duplicate_when_it_is_made_ready
        a_repeated_duplicate_is_told_again
        two_jobs_of_one_commit_can_be_twins
        a_job_that_waits_for_its_next_attempt_claims_no_key
        a_cancelled_job_gives_up_its_key
        a_recovered_job_claims_its_key_only_where_it_is_free
        keys_in_opposite_order_do_not_deadlock
        keys_of_different_queues_are_different
        jobs_with_a_serial_key_are_taken_one_at_a_time_in_their_order
        a_serial_job_waits_for_the_next_attempt_of_the_one_before
        a_delayed_job_does_not_hold_up_those_of_its_key
        a_paused_job_does_not_hold_up_those_of_its_key
        a_held_job_does_not_hold_up_those_of_its_key
        a_serial_job_that_is_given_back_keeps_its_turn
        a_serial_job_that_is_cancelled_lets_the_next_go
        jobs_that_become_ready_in_one_commit_keep_their_order
        processes_that_take_at_once_keep_the_order_of_a_key
        many_jobs_that_wait_for_their_turn_do_not_hide_others
        what_waits_for_its_turn_waits
        a_job_that_is_given_back_claims_its_key_where_it_is_free
    }
    replace {
        a_job_that_replaces_has_the_place_of_the_other
        a_place_lasts_no_longer_than_its_maximum
        a_held_job_replaces_when_it_is_made_ready
        a_taken_job_is_not_replaced
        two_jobs_of_one_commit_replace_each_other
        a_push_that_is_repeated_replaces_once
        each_of_a_thousand_leads_to_the_last
        processes_that_replace_at_once_leave_one
        a_job_that_starts_too_soon_is_left_out
        jobs_behind_many_that_are_left_out_are_taken
        an_attempt_that_follows_is_not_asked_again
        a_job_that_is_made_ready_may_be_told_how_often_it_starts
        a_long_key_and_a_clock_that_was_put_back_keep_nothing_from_starting
        starts_are_forgotten
    }
    holders {
        a_beat_counts_and_shows_the_others
        a_beat_shows_all_that_a_holder_has
        a_holder_can_be_registered_again
        only_a_holder_that_stood_still_is_buried
        the_jobs_of_a_buried_holder_are_run_by_others
        the_jobs_of_the_living_are_not_recovered
        after_a_crash_the_status_judges_the_condition
        a_second_death_delays_a_job
        a_job_of_a_dead_process_that_was_to_be_cancelled_is_cancelled
        two_processes_recover_each_job_once
        a_holder_that_leaves_gives_back_what_it_has
        a_holder_that_leaves_more_than_a_batch_gives_back_all
    }
    inspect {
        the_status_tells_how_far_a_job_has_got
        progress_is_that_of_the_attempt_that_has_the_job
        counts_tell_of_each_state
        the_latest_failures_come_first
        a_failed_job_can_be_run_again_with_all_its_attempts
        only_failed_jobs_are_discarded
        a_job_that_waits_is_cancelled_at_once
        a_job_that_its_process_holds_is_cancelled_before_it_starts
        the_process_that_runs_a_job_is_asked_to_cancel_it
        a_cancelled_job_is_cancelled_for_its_holder_too
        what_ended_long_ago_is_forgotten
        types_that_nobody_takes_are_named
    }
    browse {
        a_job_is_shown_with_all_that_is_stored
        a_job_that_has_ended_is_shown_as_it_ended
        jobs_are_listed_by_when_they_are_due
        failures_are_grouped_by_name_and_first_line
        a_group_of_failures_is_run_again_and_no_other
        a_group_of_failures_is_discarded_in_batches
        jobs_are_counted_by_name
        holders_are_listed_with_what_they_have
    }
}
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[allow(clippy::single_component_path_imports, reason = "that is how a macro gets a path")]
pub(crate) use scenarios;

/// A job of a type.
fn job(name: &str) -> NewJob {
    NewJob {
        payload: r#"{"to":"ä"}"#.to_owned(),
        metadata: r#"{"trace":"1"}"#.to_owned(),
        ..NewJob::of_type(name)
    }
}

fn serial(name: &str, key: &str) -> NewJob {
    NewJob { serial: Some(key.to_owned()), ..job(name) }
}

fn unique(name: &str, key: &str) -> NewJob {
    NewJob { unique: Some(key.to_owned()), ..job(name) }
}

fn change(job: &NewJob, claim: i64, kind: ChangeKind) -> Change {
    Change { id: job.id, claim, kind, children: Vec::new(), again: false, insert: None }
}

fn again(change: &Change) -> Change {
    Change { again: true, ..change.clone() }
}

fn done() -> ChangeKind {
    ChangeKind::End(StoredEnd::Done { attempts: 1 })
}

fn failed(error: &str) -> ChangeKind {
    ChangeKind::End(StoredEnd::Failed { attempts: 1, error: error.to_owned() })
}

fn retry(delay: i64) -> ChangeKind {
    ChangeKind::Retry { delay, attempts: 1, error: Some("refused".to_owned()) }
}

fn ready(delay: i64) -> ChangeKind {
    ChangeKind::Ready { delay, serial: None, unique: None, replace: None, throttle: None, outcome: None }
}

fn ready_serial(key: &str) -> ChangeKind {
    ChangeKind::Ready {
        delay: 0,
        serial: Some(key.to_owned()),
        unique: None,
        replace: None,
        throttle: None,
        outcome: None,
    }
}

fn ready_unique(key: &str) -> ChangeKind {
    ChangeKind::Ready {
        delay: 0,
        serial: None,
        unique: Some(key.to_owned()),
        replace: None,
        throttle: None,
        outcome: None,
    }
}

/// Registers a holder that takes these types.
async fn register_for(store: &Arc<dyn Store>, names: &[&str]) -> HolderId {
    let id = format!("{:032x}", u128::from(JobId::unique()));
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let holder = Holder { id: id.clone(), host: "here".to_owned(), pid: 1, version: "0.1.0", names };
    store.register(holder).await.unwrap();
    id
}

async fn register(store: &Arc<dyn Store>) -> HolderId {
    register_for(store, &[]).await
}

/// Ends a holder like a crash, and recovers its jobs.
async fn die(place: &Place, holder: &HolderId) {
    assert!(place.b.bury(holder.clone(), 0).await.unwrap(), "it did not beat");
    while place.b.recover().await.unwrap() {}
}

async fn take(store: &Arc<dyn Store>, holder: &HolderId, names: &[&str], limit: usize) -> Vec<Taken> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    store.take(holder.clone(), names, limit).await.unwrap()
}

async fn take_one(store: &Arc<dyn Store>, holder: &HolderId, name: &str) -> Taken {
    let mut taken = take(store, holder, &[name], 1).await;
    taken.pop().expect("one is due")
}

async fn take_none(store: &Arc<dyn Store>, holder: &HolderId, name: &str) {
    let taken = take(store, holder, &[name], 10).await;
    assert!(taken.is_empty(), "{taken:?}");
}

fn ids(taken: &[Taken]) -> Vec<JobId> {
    taken.iter().map(|taken| taken.id.parse().unwrap()).collect()
}

fn ids_of<'a>(jobs: impl IntoIterator<Item = &'a NewJob>) -> Vec<JobId> {
    jobs.into_iter().map(|job| job.id).collect()
}

async fn write_one(store: &Arc<dyn Store>, holder: &HolderId, change: Change) -> Changed {
    let changed = store.write(holder, &[], &[change]).await.unwrap();
    assert_eq!(changed.len(), 1);
    changed[0]
}

/// Waits until something becomes true.
async fn eventually<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it did not come true");
        // Polls, because a database notifies nobody.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Lets the database's clock advance. Its times are whole milliseconds, so anything stored after this is later than anything
/// stored before.
async fn tick() {
    tokio::time::sleep(Duration::from_millis(3)).await;
}

/// Longer than any test.
const HOUR: i64 = 3_600_000;
