//! Processes that are killed, and processes that are paused for so long that others declare them dead.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{collections::BTreeSet, time::Duration};

use defer_axum::JobStatus;
use defer_queue_tests::{
    backend::{Place, on_each},
    client::{Client, Posts},
    jobs::{Again, Crash, DefersAndWaits, Note, Waits},
    program::Program,
    service::Service,
    waiting::{until, until_line, until_lines},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_defer-queue-program");

/// Makes all processes declare the holders of other processes dead at once, to save the time that this normally takes.
async fn bury_others(place: &Place) {
    place.execute(&format!("DELETE FROM defer_holders WHERE pid <> {}", std::process::id())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_is_no_attempt_and_is_not_charged_to_what_waited() {
    on_each(async |backend| {
        let place = backend.place().await;
        let log = place.log_named("killed");
        let mut killed = Program::start(PROGRAM, "serve", &place.url, &log).await;
        let mut client = Client::connect(killed.address()).await.unwrap();
        // One job runs, one is held, and one is waiting.
        assert_eq!(client.post("/waits/1").await.unwrap(), 200);
        until_line(&log, "+1").await;
        client.send("/held/2").await.unwrap();
        client.until("part").await.unwrap();
        let service = Service::at(&place, "log").await;
        let waits = service.queue.push(Note { number: 3 }).delay(Duration::from_secs(3600)).await.unwrap();
        killed.kill();
        place.touch("go");
        // The other process declares it dead by its own heartbeats.
        let works = service.works();
        until_lines(&service.log, 3).await;
        service.until_waiting(1).await;
        assert_eq!(service.log.sorted(), ["+1", "-1", "2 unknown"]);
        let ran = "SELECT max(attempts) * 100 + min(attempts) * 10 + count(*) FROM defer_jobs WHERE deaths = 1 AND state = 3";
        assert_eq!(place.number(ran).await, 112, "two jobs, each with one attempt and one death");
        let waited = format!("SELECT deaths + attempts FROM defer_jobs WHERE id = '{waits}'");
        assert_eq!(place.number(&waited).await, 0);
        works.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_a_job_knows_the_status_and_that_the_delivery_is_unknown() {
    on_each(async |backend| {
        let place = backend.place().await;
        let mut killed = Program::start(PROGRAM, "serve", &place.url, &place.log_named("killed")).await;
        let mut client = Client::connect(killed.address()).await.unwrap();
        client.send("/held/2").await.unwrap();
        client.until("part").await.unwrap();
        killed.kill();
        bury_others(&place).await;
        let service = Service::at(&place, "log").await;
        let works = service.works();
        until_line(&service.log, "2 unknown").await;
        assert_eq!(place.number("SELECT status FROM defer_jobs").await, 200);
        works.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_kills_its_process_fails_in_the_end_and_its_neighbours_run() {
    on_each(async |backend| {
        let place = backend.place().await;
        let log = place.log();
        let service = Service::at(&place, "log").await;
        let crash = service.queue.push(Crash).await.unwrap();
        for number in 0..10 {
            service.queue.push(Waits { number, file: place.folder.path().join("go") }).await.unwrap();
        }
        service.close().await;
        let neighbours = "SELECT count(*) FROM defer_jobs WHERE name = 'Waits' AND state = 3";
        let mut deaths = 0;
        while place.number(neighbours).await < 10 {
            let mut program = Program::start(PROGRAM, "work", &place.url, &log).await;
            until("it dies, or the neighbours end while the one that kills waits for its time", async || {
                program.has_ended() || place.number(neighbours).await == 10
            })
            .await;
            deaths += u32::from(program.has_ended());
            assert!(deaths < 10, "the neighbours never run");
            drop(program);
            bury_others(&place).await;
            // From here on the neighbours could end, if the crash did not take them down.
            place.touch("go");
        }
        assert_eq!(place.number("SELECT max(attempts) FROM defer_jobs WHERE name = 'Waits'").await, 1);
        // Sets the other deaths by hand, to skip the waits between them.
        let looks = Service::at(&place, "other").await;
        place.until_number("SELECT state FROM defer_jobs WHERE name = 'Crash'", 1).await;
        place.execute("UPDATE defer_jobs SET due = 0, deaths = 9 WHERE name = 'Crash'").await;
        let mut program = Program::start(PROGRAM, "work", &place.url, &log).await;
        assert!(!program.ended().await.success());
        bury_others(&place).await;
        until("it has failed", async || looks.counts().await == [0, 0, 10, 1]).await;
        let failed = looks.queue.failed(10).await.unwrap();
        assert_eq!((failed[0].id, failed[0].attempts), (crash, 0));
        assert!(failed[0].error.contains("died ten times"), "{}", failed[0].error);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_dies_before_its_end_has_deferred_nothing() {
    on_each(async |backend| {
        let place = backend.place().await;
        let service = Service::at(&place, "log").await;
        service.queue.push(DefersAndWaits { number: 7 }).await.unwrap();
        let log = place.log_named("killed");
        let killed = Program::start(PROGRAM, "work", &place.url, &log).await;
        until_line(&log, "deferred").await;
        killed.kill();
        assert_eq!(place.number("SELECT count(*) FROM defer_jobs").await, 1);
        bury_others(&place).await;
        place.touch("go");
        let works = service.works();
        until_line(&service.log, "7").await;
        service.until_idle().await;
        assert_eq!(service.log.lines(), ["deferred", "7"]);
        assert_eq!(place.number("SELECT count(*) FROM defer_jobs").await, 2);
        works.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_writes_of_a_process_that_was_stopped_change_nothing() {
    on_each(async |backend| {
        let place = backend.place().await;
        let log = place.log_named("stopped");
        let mut stopped = Program::start(PROGRAM, "serve", &place.url, &log).await;
        let address = stopped.address();
        let mut client = Client::connect(address).await.unwrap();
        assert_eq!(client.post("/waits/1").await.unwrap(), 200);
        until_line(&log, "+1").await;
        client.send("/held/2").await.unwrap();
        client.until("part").await.unwrap();
        let name = place.texts("SELECT id FROM defer_holders").await.remove(0);
        stopped.signal("STOP");
        // Another process declares it dead, and runs its jobs.
        let service = Service::at(&place, "log").await;
        let works = service.works();
        until_line(&service.log, "+1").await;
        place.touch("go");
        place.touch("end");
        until_lines(&service.log, 3).await;
        service.until_idle().await;
        assert_eq!(service.log.sorted(), ["+1", "-1", "2 unknown"]);
        let rows = "SELECT id || ' ' || state || ' ' || claim || ' ' || holder || ' ' || attempts || ' ' || ended \
                    FROM defer_jobs ORDER BY id";
        let before = place.texts(rows).await;
        works.stop().await;
        service.close().await;
        // It ends its job and its response before it learns that it no longer owns them.
        stopped.signal("CONT");
        client.until("0\r\n\r\n").await.unwrap();
        // Requests that it acknowledges before it notices are not lost.
        let mut client = Client::connect(address).await.unwrap();
        assert_eq!(client.post("/tells/3").await.unwrap(), 200);
        until("it has run", async || log.lines().iter().any(|line| line.starts_with("3 "))).await;
        // It continues under another name.
        place.until_number(&format!("SELECT count(*) FROM defer_holders WHERE id <> '{name}'"), 1).await;
        assert_eq!(client.post("/tells/4").await.unwrap(), 200);
        until_line(&log, "4 sent").await;
        // The third job may have no row: it was to be stored under the old name.
        place.until_number("SELECT count(*) FROM defer_jobs WHERE state <> 3", 0).await;
        let after = place.texts(rows).await;
        assert_eq!(after[..2], before, "a late end changed something");
        assert!(!log.lines().iter().any(|line| line.starts_with("2 ")), "{:?}", log.lines());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_end_changes_nothing_though_the_same_process_has_taken_the_job_again() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let id = service.queue.push(Again).await.unwrap();
        let works = service.works();
        until_line(&service.log, "+1").await;
        // The job is given back, and the same process takes it again.
        service.place.execute("UPDATE defer_jobs SET state = 1, claim = claim + 1 WHERE state = 2").await;
        until_line(&service.log, "+2").await;
        service.place.touch("go-1");
        until("the first end is answered", async || {
            let stats = service.runner.stats();
            stats.queued + stats.succeeded > 0
        })
        .await;
        assert_eq!(service.status(id).await, Some(JobStatus::Running), "the second run goes on");
        service.place.touch("go-2");
        service.until_succeeded(id).await;
        until("both are counted", async || service.runner.stats().succeeded == 1).await;
        assert_eq!(service.runner.stats().queued, 1);
        works.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_jobs_survive_sigkill() {
    on_each(async |backend| {
        let place = backend.place().await;
        let log = place.log();
        let mut program = Program::start(PROGRAM, "serve", &place.url, &log).await;
        let posts = Posts::to(program.address());
        // A different moment in each run.
        let moment = 100 + std::process::id() as usize % 300;
        until("the moment", async || posts.count() >= moment).await;
        program.kill();
        let acknowledged = posts.all().await;
        bury_others(&place).await;
        let service = Service::at(&place, "log").await;
        let works = service.works();
        until("every acknowledged job has run", async || {
            let ran: BTreeSet<u32> = log.lines().iter().map(|line| line.parse().unwrap()).collect();
            acknowledged.is_subset(&ran)
        })
        .await;
        service.until_idle().await;
        assert_eq!(service.counts().await[3], 0);
        works.stop().await;
    })
    .await;
}

/// Checks that every job has an end, except those that were given back. Runs those, and returns the number of each note
/// that ran.
async fn ran_after_the_end(place: &Place) -> Vec<u32> {
    let left = "SELECT id || ' ' || state FROM defer_jobs WHERE state NOT IN (1, 3)";
    assert_eq!(place.texts(left).await, Vec::<String>::new(), "an end is not stored");
    let given_back = place.number("SELECT count(*) FROM defer_jobs WHERE state = 1").await;
    let log = place.log();
    let before = log.lines().len() as i64;
    let service = Service::at(place, "log").await;
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(log.lines().len() as i64 - before, given_back, "something ran again");
    log.lines().iter().filter_map(|line| line.parse().ok()).collect()
}

fn assert_all_once(ran: &[u32], acknowledged: &BTreeSet<u32>) {
    let once: BTreeSet<u32> = ran.iter().copied().collect();
    assert_eq!(once.len(), ran.len(), "one ran twice");
    assert!(acknowledged.is_subset(&once), "lost: {:?}", acknowledged.difference(&once).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_of_a_service_the_ends_of_its_jobs_are_stored() {
    on_each(async |backend| {
        let place = backend.place().await;
        let log = place.log();
        let mut program = Program::start(PROGRAM, "serve", &place.url, &log).await;
        let address = program.address();
        let posts = Posts::to(address);
        until("a hundred", async || posts.count() >= 100).await;
        let mut client = Client::connect(address).await.unwrap();
        assert_eq!(client.post("/waits/99999").await.unwrap(), 200);
        until_line(&log, "+99999").await;
        program.signal("TERM");
        place.touch("go");
        assert!(program.ended().await.success());
        drop(client);
        let acknowledged = posts.all().await;
        assert!(log.has("-99999") && log.has("ended"));
        assert_eq!(place.number("SELECT state FROM defer_jobs WHERE name = 'Waits'").await, 3);
        assert_all_once(&ran_after_the_end(&place).await, &acknowledged);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_deploy_loses_no_job_and_runs_none_twice() {
    on_each(async |backend| {
        let place = backend.place().await;
        let log = place.log();
        let mut old = Program::start(PROGRAM, "serve", &place.url, &log).await;
        let of_old = Posts::to(old.address());
        until("a hundred", async || of_old.count() >= 100).await;
        let mut new = Program::start(PROGRAM, "serve", &place.url, &log).await;
        let of_new = Posts::to(new.address());
        old.signal("TERM");
        assert!(old.ended().await.success());
        let mut acknowledged = of_old.all().await;
        until("a hundred more", async || of_new.count() >= 100).await;
        new.signal("TERM");
        assert!(new.ended().await.success());
        acknowledged.append(&mut of_new.all().await);
        assert_all_once(&ran_after_the_end(&place).await, &acknowledged);
    })
    .await;
}
