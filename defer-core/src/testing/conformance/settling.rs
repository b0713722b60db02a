//! Checks the promises of a queue that holds jobs about their ends.

use std::{sync::Arc, time::Duration};

use super::{
    bench::{Bench, does, note, retried, sent},
    jobs::{Does, SOON},
    place::{Place, holds},
};
use crate::store::{AtMostEvery, End, Lease, Ready, Replace, Settled};

async fn settled(lease: &Arc<dyn Lease>, end: End) -> Settled {
    lease.settle(end, Vec::new()).settled.await
}

pub(super) async fn an_end_is_final<P: Place>(bench: Bench<P>) {
    let failed = End::Failed { error: "on purpose".to_owned() };
    for end in [End::Succeeded, failed, End::Skipped, End::Cancelled] {
        let lease = bench.hold(note(&format!("ended as {end:?}"))).await;
        let settled = settled(&lease, end.clone()).await;
        assert_eq!(settled, Settled::Done, "the first end of a held job must be stored: {end:?}");
    }
    bench.work_elsewhere().await;
    bench.work().await;
    bench.assert_nothing_ran("jobs whose end is stored");
}

pub(super) async fn the_first_end_counts<P: Place>(bench: Bench<P>) {
    let lease = bench.hold(note("settled twice")).await;
    let first = lease.settle(End::Succeeded, Vec::new());
    let again = End::Retry { error: "on purpose".to_owned(), delay: Duration::ZERO };
    drop(lease.settle(again, Vec::new()));
    assert_eq!(first.settled.await, Settled::Done, "the first end of a held job must be stored");
    bench.give_back(vec![lease]).await;
    bench.work_elsewhere().await;
    bench.assert_nothing_ran("a job that has succeeded, whatever is said of it later");
}

pub(super) async fn the_next_attempt_is_taken_later<P: Place>(bench: Bench<P>) {
    let retry = End::Retry { error: "on purpose".to_owned(), delay: SOON };
    for (end, attempt) in [(retry, 2), (End::Snoozed { delay: SOON }, 1)] {
        let text = format!("attempt {attempt}");
        let job = retried(&text, Does::Succeeds);
        let lease = bench.hold(job.clone()).await;
        let settled = settled(&lease, end.clone()).await;
        assert_eq!(settled, Settled::Done, "the end of an attempt must be stored: {end:?}");
        drop(lease);
        bench.work_elsewhere().await;
        let lines = bench.journal.lines();
        let ran: Vec<_> = lines.iter().filter(|line| line.id == job.id).map(|line| line.attempt).collect();
        assert_eq!(ran, [attempt], "after {end:?} of its first attempt a job must have this attempt next");
    }
}

pub(super) async fn a_ready_job_knows_its_response<P: Place>(bench: Bench<P>) {
    let lease = bench.hold(note("ready")).await;
    let ready = Ready { response: Some(sent()), ..Ready::default() };
    let settled = settled(&lease, End::Ready(ready)).await;
    assert_eq!(settled, Settled::Done, "a held job can be made ready");
    bench.work_elsewhere().await;
    bench.assert_ran_once(&["ready".to_owned()]);
    let response = bench.journal.lines()[0].response.clone();
    let status = response.and_then(|response| response.status());
    assert_eq!(status, sent().status(), "a job that was made ready must see the status of its response");
}

pub(super) async fn a_duplicate_is_told_and_does_not_run<P: Place>(bench: Bench<P>) {
    let (first, second) = (note("first"), note("second"));
    let leases = [bench.hold(first.clone()).await, bench.hold(second).await];
    let ready = || Ready { unique: Some("a \"key\"".to_owned()), ..Ready::default() };
    let of_first = settled(&leases[0], End::Ready(ready())).await;
    assert_eq!(of_first, Settled::Done, "the first job with a unique key is no duplicate");
    let of_second = settled(&leases[1], End::Ready(ready())).await;
    assert_eq!(of_second, Settled::Duplicate(first.id), "the second job with a unique key is a duplicate");
    bench.work_elsewhere().await;
    bench.assert_ran_once(&["first".to_owned()]);
}

pub(super) async fn a_job_that_replaces_takes_the_place_of_the_one_that_waits<P: Place>(bench: Bench<P>) {
    const HOUR: Duration = Duration::from_secs(3600);
    let jobs = [note("first"), note("second"), note("third")];
    let ready = |delay, replace| Ready {
        delay,
        unique: Some("a \"key\"".to_owned()),
        replace: Some(replace),
        ..Ready::default()
    };
    let ends = [
        ready(HOUR, Replace::AtItsTime),
        ready(Duration::ZERO, Replace::AtItsTime),
        // It is due this long after the first one was ready.
        ready(HOUR, Replace::Within(SOON)),
    ];
    for (job, end) in jobs.iter().zip(ends) {
        let lease = bench.hold(job.clone()).await;
        let settled = settled(&lease, End::Ready(end)).await;
        assert_eq!(settled, Settled::Done, "a job that replaces another is no duplicate");
    }
    bench.work_elsewhere().await;
    bench.assert_ran_once(&["third".to_owned()]);
}

pub(super) async fn a_job_starts_no_more_often_than_it_may<P: Place>(bench: Bench<P>) {
    let texts = ["first", "second", "third"];
    for text in texts {
        let lease = bench.hold(note(text)).await;
        let at_most = AtMostEvery::new("a \"key\"", Duration::from_secs(3600));
        let ready = Ready { at_most: Some(at_most), ..Ready::default() };
        let settled = settled(&lease, End::Ready(ready)).await;
        assert_eq!(settled, Settled::Done, "how often it may start is asked when it is taken");
    }
    bench.work_elsewhere().await;
    let ran = bench.journal.texts();
    assert_eq!(ran.len(), 1, "of jobs that may start once an hour one must run, but these did: {ran:?}");
}

pub(super) async fn jobs_with_a_serial_key_run_one_at_a_time_in_their_order<P: Place>(bench: Bench<P>) {
    let texts: Vec<_> = (0..8).map(|number| format!("job {number} of a key")).collect();
    for text in &texts {
        let lease = bench.hold(does(text, Does::Yields)).await;
        let ready = Ready { serial: Some("a \"key\"".to_owned()), ..Ready::default() };
        let settled = settled(&lease, End::Ready(ready)).await;
        assert_eq!(settled, Settled::Done, "a job with a serial key can be made ready");
    }
    holds(&bench.queue).written().await;
    bench.work_elsewhere().await;
    bench.assert_ran_once(&texts);
    assert_eq!(bench.journal.texts(), texts, "jobs with one serial key must run in their order");
    assert_eq!(bench.journal.most_at_once(), 1, "jobs with one serial key must run one at a time");
}
