//! What is promised on Redis: the one of `DEFER_TEST_REDIS`.

#![cfg(feature = "_servers")]
// Clippy allows `unwrap` in functions that are tests, but not in the helpers and jobs beside them.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use apalis_core::backend::{TaskSink as _, Vacuum as _};
use apalis_redis::{Config, RedisStorage};
use defer_apalis::ApalisQueue;
use defer_core::{
    Runner, defer,
    queue::{Queue, RunWorker},
    scope,
};
use support::{
    Does, Note,
    memory::{Fault, Memory},
    process::{Process, envelope},
    redis::{Place, Server},
};
use tokio::sync::oneshot;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_attempts_end_no_task_stays_running_and_none_is_lost() {
    let process = Process::on(&Place::new()).await;
    for does in [Does::Succeeds, Does::Fails, Does::FailsFatally, Does::Panics, Does::Snoozes] {
        process.push(&format!("{does:?}"), does).await;
    }
    process.place.work(process.handler()).await;
    let mut attempts: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for line in process.journal.lines() {
        attempts.entry(line.text).or_default().push(line.attempt);
    }
    let expected = [
        ("Fails", vec![1, 2, 3]),
        ("FailsFatally", vec![1]),
        ("Panics", vec![1, 2, 3]),
        ("Snoozes", vec![1, 1]),
        ("Succeeds", vec![1]),
    ];
    assert_eq!(attempts, expected.map(|(text, attempts)| (text.to_owned(), attempts)).into());
    // Each attempt and snooze is a task of its own. Those that end a failed job are killed.
    let statuses = [("Done".to_owned(), 7), ("Killed".to_owned(), 3)];
    assert_eq!(process.place.statuses().await, statuses.into());
    // They stay until somebody deletes them.
    assert_eq!(process.place.storage().await.vacuum().await.unwrap(), 10);
    assert_eq!(process.place.statuses().await, BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_another_program_ends_as_killed_and_the_worker_goes_on() {
    let place = Place::new();
    let mut foreign = RedisStorage::<String>::new(place.connection().await)
        .with_config(Config::default().queue(place.name()));
    foreign.push("hello".to_owned()).await.unwrap();
    let process = Process::on(&place).await;
    process.push("job", Does::Succeeds).await;
    place.work(process.handler()).await;
    assert_eq!(process.journal.texts(), ["job"]);
    assert_eq!(place.statuses().await, [("Done".to_owned(), 1), ("Killed".to_owned(), 1)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_share_the_jobs_and_each_runs_once() {
    let place = Place::new();
    let (one, other) = (Process::on(&place).await, Process::on(&place).await);
    let (working, works) = (one.work(), other.work());
    let mut texts = Vec::new();
    // Whichever worker asks first gets a job: this ends once each has had one.
    while one.journal.lines().is_empty() || other.journal.lines().is_empty() {
        for _ in 0..10 {
            texts.push(format!("job {}", texts.len()));
            one.push(texts.last().unwrap(), Does::Succeeds).await;
        }
        place.until_empty().await;
    }
    for (stop, task) in [working, works] {
        stop.send(()).unwrap();
        task.await.unwrap();
    }
    let mut ran = [one.journal.texts(), other.journal.texts()].concat();
    ran.sort();
    texts.sort();
    assert_eq!(ran, texts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_keeps_a_delay_and_no_job_starts_before_it_is_due() {
    let process = Process::on(&Place::new()).await;
    let delay = Duration::from_millis(1500);
    let before = SystemTime::now();
    process.push_after(delay, "delayed", Does::Succeeds).await;
    let scheduled = process.place.scheduled().await;
    assert!(scheduled[0] >= (before + delay).duration_since(UNIX_EPOCH).unwrap().as_secs(), "{scheduled:?}");
    process.place.work(process.handler()).await;
    let lines = process.journal.lines();
    assert!(lines[0].at.duration_since(before).unwrap() >= delay, "Redis counts whole seconds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_shutdown_stops_runs_in_another_process() {
    let place = Place::new();
    let (stopped, other) = (Process::on(&place).await, Process::on(&place).await);
    stopped.push("job", Does::Hangs).await;
    let (stop, task) = stopped.work();
    stopped.journal.until(1).await;
    stop.send(()).unwrap();
    stopped.runner.shutdown(Duration::ZERO).await;
    task.await.unwrap();
    let (_stop, working) = other.work();
    other.journal.until(1).await;
    assert_eq!(other.journal.attempts(), [1], "a shutdown is no attempt");
    working.abort();
}

/// On one thread, so that the worker hears of its end before the runner does, as beside a server.
#[tokio::test]
async fn a_worker_that_stops_with_many_jobs_hands_all_back_and_ends() {
    let place = Place::new();
    stop_with_many_jobs(&place, &place, Duration::ZERO).await;
}

/// A fetch is then under way when the last jobs are handed back, and meanwhile apalis takes no acknowledgements.
#[tokio::test]
async fn so_it_does_when_redis_answers_it_late() {
    let place = Place::new();
    let late = place.clone().late_for_workers(Duration::from_millis(150)).await;
    // Once the last jobs run, their locks take 150 ms, and then a fetch does.
    stop_with_many_jobs(&late, &place, Duration::from_millis(220)).await;
}

async fn stop_with_many_jobs(of_stopped: &Place, place: &Place, after: Duration) {
    let (mut stopped, other) = (Process::on(of_stopped).await, Process::on(place).await);
    stopped.runner = Runner::builder()
        .state(stopped.journal.clone())
        .queue(stopped.queue.clone())
        .max_running(1000)
        .build();
    // Ten times as many as apalis-redis takes at once by default.
    for number in 0..100 {
        stopped.push(&format!("job {number}"), Does::Waits).await;
    }
    let (journal, runner) = (stopped.journal.clone(), stopped.runner.clone());
    let stop = async move {
        journal.until(100).await;
        tokio::spawn(async move {
            // Apalis shows nobody that it fetches. Each `after` passes; the late one only makes it likely that it does.
            tokio::time::sleep(after).await;
            runner.shutdown(Duration::ZERO).await
        });
    };
    Box::new(stopped.worker().0).run(Box::pin(stop)).await.unwrap();
    let statuses = place.statuses().await;
    assert_eq!(statuses.get("Running"), None, "{statuses:?}");
    assert_eq!(place.left().await, (100, 0), "nothing waits for the worker's death");
    other.journal.let_go();
    place.work(other.handler()).await;
    let (mut ran, mut again) = (stopped.journal.texts(), other.journal.texts());
    ran.sort();
    again.sort();
    assert_eq!(again, ran, "each runs again in the other process, once");
    assert_eq!(other.journal.attempts(), [1; 100]);
}

#[tokio::test]
async fn a_worker_that_stops_takes_little_of_a_backlog_and_strands_nothing_of_it() {
    let place = Place::new();
    let (stopped, other) = (Process::on(&place).await, Process::on(&place).await);
    stopped.push("job", Does::Waits).await;
    let (journal, runner, queue) = (stopped.journal.clone(), stopped.runner.clone(), stopped.queue.clone());
    let stop = async move {
        journal.until(1).await;
        // Once the worker stops.
        tokio::spawn(async move {
            let backlog = (0..1000).map(|number| envelope(&format!("job {number}"), Does::Succeeds));
            queue.push(backlog.collect()).await.unwrap();
            runner.shutdown(Duration::ZERO).await
        });
    };
    Box::new(stopped.worker().0).run(Box::pin(stop)).await.unwrap();
    assert_eq!(
        place.left().await,
        (1001, 0),
        "the last fetch left nothing that waits for its worker's death"
    );
    // Ten each 200 ms, and so for ten seconds, if need be.
    let statuses = place.statuses().await;
    assert!(statuses["Done"] < 500, "it leaves them to others: {statuses:?}");
    other.journal.let_go();
    place.work(other.handler()).await;
    assert_eq!(other.journal.attempts(), [1; 1001]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_next_attempt_could_not_be_pushed_is_run_again_by_redis() {
    let process = Process::on(&Place::new()).await;
    process.push("job", Does::Snoozes).await;
    let away = Memory::new();
    away.set_fault(Fault::Fails(5));
    let handler = ApalisQueue::new(away.clone()).handler(process.runner.clone()).job::<Note>();
    process.place.work(handler).await;
    assert_eq!(process.journal.attempts(), [1, 1]);
    assert_eq!((away.left(), process.place.statuses().await), (0, [("Done".to_owned(), 1)].into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_loses_no_job_and_the_worker_starts_again() {
    let mut server = Server::start().await;
    let process = Process::on(&server.place()).await;
    process.push("before", Does::Succeeds).await;
    server.kill();
    scope(&process.runner, async { drop(defer(Note::new("meanwhile", Does::Succeeds))) }).await;
    process.runner.idle().await;
    assert_eq!(process.journal.texts(), ["meanwhile"], "it runs here");

    let (worker, failures) = process.worker();
    let (stop, stopped) = oneshot::channel::<()>();
    let working = tokio::spawn(Box::new(worker).run(Box::pin(async { drop(stopped.await) })));
    let mut failed = failures.subscribe();
    failed.wait_for(|failures| *failures > 0).await.unwrap();
    server.restart().await;
    process.journal.until(2).await;
    let before = *failed.borrow();
    server.kill();
    failed.wait_for(|failures| *failures > before).await.unwrap();
    server.restart().await;
    // Its own connection may not have noticed yet.
    Process::on(&server.place()).await.push("after", Does::Succeeds).await;
    process.journal.until(3).await;
    assert_eq!(process.journal.texts()[1..], ["before", "after"]);
    stop.send(()).unwrap();
    working.await.unwrap().unwrap();
}

/// By default, redis gives up an answer after 500 ms, and apalis the worker with all its jobs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_slow_to_answer_stops_no_job_of_a_connection_with_patience() {
    let server = Server::start().await;
    let process = Process::on(&server.place()).await;
    process.push("job", Does::Hangs).await;
    let (worker, failures) = process.worker();
    let (stop, stopped) = oneshot::channel::<()>();
    let working = tokio::spawn(Box::new(worker).run(Box::pin(async { drop(stopped.await) })));
    process.journal.until(1).await;
    server.pause(Duration::from_secs(1)).await;
    process.push("after", Does::Succeeds).await;
    process.journal.until(2).await;
    assert_eq!(process.journal.texts(), ["job", "after"]);
    let mut stats = process.runner.stats();
    while stats.succeeded < 1 {
        // Polled: a job writes in the journal before it ends.
        tokio::time::sleep(Duration::from_millis(20)).await;
        stats = process.runner.stats();
    }
    assert_eq!((*failures.borrow(), stats.running, stats.cancelled), (0, 1, 0));
    stop.send(()).unwrap();
    process.runner.shutdown(Duration::ZERO).await;
    working.await.unwrap().unwrap();
}

/// The name of the queue at which [`works_until_it_is_killed`] works.
const QUEUE: &str = "DEFER_TEST_KILLED_QUEUE";
const RUNNING: &str = "the job runs";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_worker_is_killed_runs_in_another_and_a_death_is_no_attempt() {
    let place = Place::new().judging_soon();
    let process = Process::on(&place).await;
    process.push("job", Does::Hangs).await;
    let mut killed = Command::new(std::env::current_exe().unwrap())
        .args(["works_until_it_is_killed", "--exact", "--nocapture"])
        .env(QUEUE, place.name())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(killed.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line.contains(RUNNING)), "it ended before its job ran");
    // With SIGKILL.
    killed.kill().unwrap();
    killed.wait().unwrap();
    let (_stop, working) = process.work();
    process.journal.until(1).await;
    assert_eq!(process.journal.attempts(), [1]);
    working.abort();
}

/// The other process of the test above; by itself it has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn works_until_it_is_killed() {
    let Ok(queue) = std::env::var(QUEUE) else { return };
    let process = Process::on(&Place::named(&queue).judging_soon()).await;
    let (_stop, working) = process.work();
    process.journal.until(1).await;
    println!("{RUNNING}");
    working.await.unwrap();
}
