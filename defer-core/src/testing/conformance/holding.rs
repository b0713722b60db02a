//! Checks the promises of a queue that holds jobs.

use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    bench::{Bench, note, sent},
    jobs::{Does, Note},
    place::{Place, holds, joined},
};
use crate::{
    defer::{defer, defer_fn},
    job::job::Deferrable,
    model::response::Delivery,
    store::{End, Settled},
};

/// A worker that runs beside the suite.
struct Working {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Working {
    /// Returns `None` if the place has no such worker.
    async fn start<P: Place>(bench: &Bench<P>) -> Option<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = Box::pin(async move { drop(stopped.await) });
        let task = tokio::spawn(P::work_until(bench.queue.clone(), bench.runner.clone(), stopped));
        while !holds(&bench.queue).runs_here(bench.runner.key(), Note::NAME) {
            if task.is_finished() {
                joined(task).await;
                return None;
            }
            tokio::time::sleep(super::jobs::SOON).await;
        }
        Some(Self { stop, task })
    }

    async fn stop(self) {
        // An error means that it has ended.
        let _ = self.stop.send(());
        joined(self.task).await;
    }
}

pub(super) async fn a_held_job_waits_for_its_response<P: Place>(bench: Bench<P>) {
    let request = bench.answered(|| drop(defer(Note::new("held")))).await;
    // When a later job has run, this one would have run too.
    bench.push(&[note("pushed")]).await;
    bench.work_elsewhere().await;
    assert_eq!(bench.journal.texts(), ["pushed"], "a job must not start before its response is over");
    request.release(Some(sent()));
    bench.runner.idle().await;
    bench.work_elsewhere().await;
    bench.assert_ran_once(&["pushed".to_owned(), "held".to_owned()]);
}

pub(super) async fn a_held_job_runs_here_in_its_line_and_sees_its_response<P: Place>(bench: Bench<P>) {
    let Some(working) = Working::start(&bench).await else { return };
    let journal = bench.journal.clone();
    let request = bench
        .answered(|| {
            defer(Note::new("first"));
            defer_fn(move |_| async move { journal.note("in memory") });
            defer(Note::new("last"));
        })
        .await;
    request.release(Some(sent()));
    bench.runner.idle().await;
    let texts = bench.journal.texts();
    assert_eq!(texts, ["first", "in memory", "last"], "the jobs of a request must run here, in their order");
    for line in bench.journal.lines().into_iter().filter(|line| line.text != "in memory") {
        let delivery = line.response.map(|response| response.delivery());
        assert_eq!(delivery, Some(Delivery::Sent), "a job that runs here must see how its response ended");
    }
    working.stop().await;
    bench.work_elsewhere().await;
    assert_eq!(bench.journal.texts().len(), 3, "the end of a job that ran here must be stored");
}

pub(super) async fn what_a_job_defers_here_runs_once_after_it<P: Place>(bench: Bench<P>) {
    let Some(working) = Working::start(&bench).await else { return };
    let parent = Note { text: "parent".to_owned(), does: Does::Defers };
    let request = bench.answered(|| drop(defer(parent))).await;
    request.release(Some(sent()));
    bench.journal.has(&Note::child_of("parent")).await;
    bench.runner.idle().await;
    working.stop().await;
    bench.work_elsewhere().await;
    let texts = bench.journal.texts();
    assert_eq!(
        texts,
        ["parent".to_owned(), Note::child_of("parent")],
        "what a job defers must run once, after it"
    );
}

pub(super) async fn a_cancelled_job_runs_nowhere<P: Place>(bench: Bench<P>) {
    let mut deferred = None;
    let request = bench.answered(|| deferred = Some(defer(Note::new("cancelled")))).await;
    let deferred = deferred.expect("the handler has run");
    assert!(deferred.cancel(), "a job that is held can be cancelled");
    request.release(Some(sent()));
    bench.runner.idle().await;
    holds(&bench.queue).written().await;
    bench.work_elsewhere().await;
    bench.work().await;
    bench.assert_nothing_ran("a job that was cancelled while it was held");
}

pub(super) async fn a_lease_that_is_dropped_gives_the_job_back<P: Place>(bench: Bench<P>) {
    let job = note("given back");
    let lease = bench.hold(job.clone()).await;
    bench.give_back(vec![lease]).await;
    bench.work_elsewhere().await;
    bench.assert_ran_once(&["given back".to_owned()]);
    let line = &bench.journal.lines()[0];
    assert_eq!((line.id, line.attempt), (job.id, 1), "a lease that is dropped must count no attempt");
}

pub(super) async fn an_id_that_is_held_twice_runs_once<P: Place>(bench: Bench<P>) {
    let job = note("held twice");
    let lease = bench.hold(job.clone()).await;
    // The queue may or may not report that this one is stored.
    let again = holds(&bench.queue).hold(vec![job]);
    let stored = again.stored.await;
    assert_eq!(
        (again.leases.len(), stored.len()),
        (1, 1),
        "`hold` must give a lease and a result for each job"
    );
    let mut leases = again.leases;
    leases.push(lease);
    bench.give_back(leases).await;
    bench.work_elsewhere().await;
    bench.assert_ran_once(&["held twice".to_owned()]);
}

pub(super) async fn children_are_stored_with_the_end_of_their_job<P: Place>(bench: Bench<P>) {
    let lease = bench.hold(note("parent")).await;
    let settle = lease.settle(End::Succeeded, vec![note("first child"), note("second child")]);
    assert_eq!(settle.leases.len(), 2, "`settle` must give a lease for each child");
    let settled = settle.settled.await;
    assert_eq!(settled, Settled::Done, "the first end of a held job must be stored");
    bench.give_back(settle.leases).await;
    bench.work_elsewhere().await;
    bench.assert_ran_once(&["first child".to_owned(), "second child".to_owned()]);
}
