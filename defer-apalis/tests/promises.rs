//! What is promised, in apalis' own worker, on a storage in memory.

// Clippy allows `unwrap` in functions that are tests, but not in the helpers and jobs beside them.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    collections::BTreeMap,
    future::{pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use apalis_core::error::BoxDynError;
use axum::{
    Extension, Router,
    body::{Body, Bytes},
    http::{HeaderName, Request, StatusCode},
    routing::post,
};
use defer_apalis::{ApalisQueue, ApalisWorker, JobHandler, Message};
use defer_axum::DeferLayer;
use defer_core::{
    Cancel, Deferrable, JobId, Runner, defer,
    event::JobEventKind,
    queue::{AtMostEvery, Envelope, Queue, Replace, RunWorker},
    scope,
};
use support::{
    Does, Journal, Note, SOON, Tenant,
    memory::{Fault, Memory, Told, told},
    runner,
};
use tokio::{sync::oneshot, task::JoinSet, time::timeout};
use tower::ServiceExt as _;
use tower_service::Service as _;

struct Bench {
    memory: Memory,
    queue: ApalisQueue,
    runner: Runner,
    journal: Journal,
}

impl Bench {
    fn new() -> Self {
        let (memory, journal) = (Memory::new(), Journal::default());
        let queue = ApalisQueue::new(memory.clone());
        let runner = runner(queue.clone(), &journal);
        Self { memory, queue, runner, journal }
    }

    fn handler(&self) -> JobHandler {
        self.queue.handler(self.runner.clone()).job::<Note>()
    }

    /// Defers a job, and works in apalis' worker until nothing is left.
    async fn work_off(&self, does: Does) {
        self.push(does).await;
        self.memory.work(self.handler()).await;
    }

    async fn push(&self, does: Does) {
        self.queue.push(vec![envelope(Note::new("job", does))]).await.unwrap();
    }

    /// Has the handler do what an apalis worker would, with the task that was pushed first.
    async fn handle_next(&self) -> Result<(), BoxDynError> {
        self.handler().call(self.memory.take().unwrap()).await
    }
}

fn envelope(job: Note) -> Envelope {
    Envelope::new(JobId::unique(), Note::NAME, Note::POLICY, Note::ENCODE.unwrap()(&job).unwrap())
}

#[tokio::test]
async fn a_job_deferred_in_a_handler_is_stored_before_the_answer_and_runs_with_request_and_status() {
    let bench = Bench::new();
    async fn sign_up() -> (StatusCode, &'static str) {
        defer(Note::new("welcome", Does::Succeeds));
        (StatusCode::CREATED, "check your mail")
    }
    let layer = DeferLayer::new(bench.runner.clone())
        .capture_request_headers([HeaderName::from_static("x-request-id")])
        .capture_extension::<Tenant>();
    let app = Router::new()
        .route("/users/{id}/welcome", post(sign_up))
        .layer(layer)
        .layer(Extension(Tenant("acme".to_owned())));
    let request =
        Request::post("/users/7/welcome").header("x-request-id", "r-1").body(Body::empty()).unwrap();
    let answer = app.oneshot(request).await.unwrap();
    assert_eq!(bench.memory.left(), 1, "it is stored, and the answer has not been sent");
    let body: Bytes = axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
    assert_eq!(body, "check your mail");
    bench.runner.idle().await;
    assert!(bench.journal.lines().is_empty(), "it is gone from this process");

    // Another process.
    let other = Bench { runner: runner(bench.queue.clone(), &bench.journal), ..bench };
    let seen = Arc::new(Mutex::new(None));
    let of_hook = seen.clone();
    other.runner.on_event(move |event| {
        if let JobEventKind::Succeeded { .. } = event.kind() {
            *of_hook.lock().unwrap() = event.request_id().map(str::to_owned);
        }
    });
    other.memory.work(other.handler()).await;
    let lines = other.journal.lines();
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    assert_eq!((&*line.text, line.attempt), ("welcome", 1));
    assert_eq!(line.route.as_deref(), Some("POST /users/{id}/welcome"));
    assert_eq!(seen.lock().unwrap().as_deref(), Some("r-1"), "events and spans have the request's id");
    assert_eq!(line.tenant.as_deref(), Some("acme"));
    assert_eq!(line.response, Some((201, "unknown")), "nobody knows whether the client got it");
    assert_eq!(other.memory.told(), [Told::Done]);
    assert_eq!((other.runner.stats().taken, other.runner.stats().succeeded), (1, 1));
}

#[tokio::test]
async fn an_attempt_that_fails_is_followed_by_others_after_the_backoff() {
    let bench = Bench::new();
    bench.work_off(Does::Fails).await;
    assert_eq!(bench.journal.attempts(), [1, 2, 3]);
    let lines = bench.journal.lines();
    for pair in lines.windows(2) {
        let waited = pair[1].at.duration_since(pair[0].at).unwrap();
        // Jitter shortens the backoff to a half at most.
        assert!(waited >= SOON / 2, "{waited:?}");
    }
    let aborted = Told::Aborted("AbortError: it fails on purpose".to_owned());
    assert_eq!(bench.memory.told(), [Told::Done, Told::Done, aborted], "no attempt is apalis' to retry");
    let stats = bench.runner.stats();
    assert_eq!((stats.taken, stats.retried, stats.failed), (3, 2, 1));
}

#[tokio::test]
async fn a_fatal_error_ends_the_task_without_another_attempt() {
    let bench = Bench::new();
    bench.work_off(Does::FailsFatally).await;
    assert_eq!(bench.journal.attempts(), [1]);
    assert_eq!(bench.memory.told(), [Told::Aborted("AbortError: it fails on purpose".to_owned())]);
}

#[tokio::test]
async fn a_snoozed_job_runs_again_as_the_same_attempt() {
    let bench = Bench::new();
    bench.work_off(Does::Snoozes).await;
    assert_eq!(bench.journal.attempts(), [1, 1]);
    let lines = bench.journal.lines();
    assert!(lines[1].at.duration_since(lines[0].at).unwrap() >= SOON, "it does not run before it is due");
    assert_eq!(bench.memory.told(), [Told::Done, Told::Done]);
}

#[tokio::test]
async fn a_panic_is_an_attempt_that_failed_and_never_reaches_apalis() {
    let bench = Bench::new();
    bench.work_off(Does::Panics).await;
    assert_eq!(bench.journal.attempts(), [1, 2, 3]);
    let told = bench.memory.told();
    assert_eq!(told[..2], [Told::Done, Told::Done]);
    assert!(matches!(&told[2..], [Told::Aborted(why)] if why.contains("it panics on purpose")), "{told:?}");
}

/// Whatever it is: here a runtime without a timer, on which nothing can wait.
#[test]
fn a_panic_of_the_handler_itself_is_an_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let told = runtime.block_on(async {
        let bench = Bench::new();
        let mut job = envelope(Note::new("job", Does::Succeeds));
        job.delay = Duration::from_secs(3600);
        bench.queue.push(vec![job]).await.unwrap();
        told(&bench.handle_next().await)
    });
    assert_eq!(told, Told::Failed("the handler panicked".to_owned()));
}

#[tokio::test]
async fn a_job_whose_reading_fails_or_panics_or_whose_type_is_unknown_waits_and_spends_no_attempt() {
    let bench = Bench::new();
    let panics = envelope(Note::new("panics when it is read", Does::Succeeds));
    let mut unreadable = envelope(Note::new("job", Does::Succeeds));
    unreadable.payload = b"{\"password\":\"hunter2\"}".to_vec();
    let mut unknown = envelope(Note::new("job", Does::Succeeds));
    unknown.name = "of a later version".to_owned();
    for job in [panics, unreadable, unknown] {
        bench.queue.push(vec![job]).await.unwrap();
        let mut task = bench.memory.take().unwrap();
        for (unread, seconds) in [30, 60, 120, 240, 480, 600, 600].into_iter().enumerate() {
            let before = task.args.clone();
            bench.handler().call(task).await.unwrap();
            task = bench.memory.take().unwrap();
            assert_eq!(task.args.unread, u32::try_from(unread).unwrap() + 1);
            assert_eq!((task.args.attempts, task.args.delay), (0, seconds * 1000));
            assert!(task.run_at().unwrap() >= (before.pushed_at / 1000) + seconds, "a storage is told when");
            // As if it were due.
            task.args.delay = 0;
        }
        task.args.unread = 150;
        let given_up = told(&bench.handler().call(task).await);
        let Told::Aborted(why) = &given_up else { panic!("{given_up:?}") };
        assert!(!why.contains("hunter2"), "{why}");
    }
    assert!(bench.journal.lines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_next_attempt_is_pushed_again_and_again_and_otherwise_the_task_is_left_to_apalis() {
    for (fault, error) in [
        (Fault::Fails(4), None),
        (Fault::Fails(5), Some("the storage is away")),
        (Fault::Hangs, Some("apalis did not push within 5s")),
        (Fault::Panics, Some("the storage panicked")),
    ] {
        let bench = Bench::new();
        bench.push(Does::Fails).await;
        bench.memory.set_fault(fault);
        let told = told(&bench.handle_next().await);
        bench.memory.set_fault(Fault::None);
        let next = bench.memory.take_message();
        match error {
            None => assert_eq!((told, next.unwrap().attempts), (Told::Done, 1)),
            Some(error) => {
                assert!(matches!(&told, Told::Failed(why) if why.contains(error)), "{fault:?}: {told:?}");
                assert_eq!(next, None);
            }
        }
    }
}

/// So much for a process that dies between the push and the acknowledgement.
#[tokio::test]
async fn a_task_that_comes_twice_pushes_the_next_attempt_once() {
    let bench = Bench::new();
    bench.push(Does::Fails).await;
    let task = bench.memory.take().unwrap();
    for _ in 0..2 {
        bench.handler().call(task.clone()).await.unwrap();
    }
    assert_eq!(bench.journal.attempts(), [1, 1], "at least once");
    let next = bench.memory.take_message().unwrap();
    assert_eq!((next.attempts, next.pushes), (1, 1));
    assert_eq!(bench.memory.take_message(), None);
}

#[tokio::test]
async fn a_job_that_a_shutdown_stops_is_handed_back_with_its_attempts() {
    let bench = Bench::new();
    bench.push(Does::Hangs).await;
    let handled = tokio::spawn(bench.handler().call(bench.memory.take().unwrap()));
    bench.journal.until(1).await;
    let report = bench.runner.shutdown(Duration::ZERO).await;
    assert_eq!((report.queued, report.unfinished.len()), (1, 0));
    handled.await.unwrap().unwrap();
    let back = bench.memory.take_message().unwrap();
    assert_eq!((back.attempts, back.pushes, back.delay), (0, 1, 0));
}

#[tokio::test]
async fn a_worker_that_stops_hands_back_what_is_not_due_and_waits_for_what_runs() {
    let bench = Bench::new();
    let mut later = envelope(Note::new("later", Does::Succeeds));
    later.delay = Duration::from_secs(3600);
    bench.queue.push(vec![later]).await.unwrap();
    bench.push(Does::Hangs).await;
    let (journal, runner) = (bench.journal.clone(), bench.runner.clone());
    let stop = async move {
        journal.until(1).await;
        tokio::spawn(async move { runner.shutdown(Duration::ZERO).await });
    };
    bench.memory.work_until(bench.handler(), stop).await;
    assert_eq!(bench.memory.told(), [Told::Done, Told::Done]);
    let back = [bench.memory.take_message().unwrap(), bench.memory.take_message().unwrap()];
    let due: BTreeMap<_, _> =
        back.iter().map(|message| (message.payload.contains("later"), message.delay)).collect();
    assert!((3_500_000..=3_600_000).contains(&due[&true]), "{due:?}");
    assert_eq!(due[&false], 0);
    assert_eq!(bench.journal.texts(), ["job"]);
}

#[tokio::test]
async fn a_serial_key_holds_in_a_process() {
    let bench = Bench::new();
    let jobs = [
        ("first", Does::Hangs, Some("a key")),
        ("second", Does::Succeeds, Some("a key")),
        ("other", Does::Succeeds, None),
    ];
    for (text, does, serial) in jobs {
        let mut job = envelope(Note::new(text, does));
        job.serial = serial.map(str::to_owned);
        bench.queue.push(vec![job]).await.unwrap();
    }
    let (journal, runner) = (bench.journal.clone(), bench.runner.clone());
    let stop = async move {
        journal.until(2).await;
        // Once the worker stops: else it would take again what is handed back.
        tokio::spawn(async move { runner.shutdown(Duration::ZERO).await });
    };
    bench.memory.work_until(bench.handler(), stop).await;
    assert_eq!(bench.journal.texts(), ["first", "other"]);
}

#[tokio::test]
async fn a_call_that_is_dropped_stops_its_job_and_pushes_nothing() {
    let bench = Bench::new();
    bench.push(Does::Hangs).await;
    let handled = tokio::spawn(bench.handler().call(bench.memory.take().unwrap()));
    bench.journal.until(1).await;
    handled.abort();
    assert!(handled.await.unwrap_err().is_cancelled());
    bench.runner.idle().await;
    assert_eq!(
        bench.memory.take_message(),
        None,
        "the task is not acknowledged: its storage gives it to another"
    );
}

#[tokio::test]
async fn a_job_that_was_pushed_can_no_longer_be_cancelled() {
    let bench = Bench::new();
    bench.push(Does::Hangs).await;
    let task = bench.memory.take().unwrap();
    let id: JobId = task.args.id.parse().unwrap();
    let handled = tokio::spawn(bench.handler().call(task));
    bench.journal.until(1).await;
    assert_eq!(bench.runner.cancel(id).await, Cancel::Failed, "no storage of apalis is asked");
    assert!(!handled.is_finished());
    handled.abort();
}

#[tokio::test]
async fn a_batch_with_a_job_that_cannot_be_kept_is_stored_not_at_all_and_runs_here() {
    let bench = Bench::new();
    let refused = Arc::new(Mutex::new(Vec::new()));
    let of_hook = refused.clone();
    bench.runner.on_event(move |event| {
        if let JobEventKind::QueueFailed { error, .. } = event.kind() {
            of_hook.lock().unwrap().push(error.to_string());
        }
    });
    scope(&bench.runner, async {
        defer(Note::new("plain", Does::Succeeds));
        defer(Note::new("unique", Does::Succeeds)).unique("a key");
    })
    .await;
    bench.runner.idle().await;
    assert_eq!(bench.journal.texts(), ["plain", "unique"], "no job is lost");
    assert_eq!(bench.memory.left(), 0, "and none is stored, which would run it twice");
    let refused = refused.lock().unwrap().clone();
    assert!(refused.len() == 2 && refused[0].contains("has the option `unique`"), "{refused:?}");

    type Change = fn(&mut Envelope);
    let changes: [Change; 3] = [
        |job| job.replace = Some(Replace::AtItsTime),
        |job| job.at_most = Some(AtMostEvery::new("a key", SOON)),
        |job| job.payload = vec![0xff],
    ];
    for change in changes {
        let mut job = envelope(Note::new("job", Does::Succeeds));
        change(&mut job);
        bench.queue.push(vec![envelope(Note::new("good", Does::Succeeds)), job]).await.unwrap_err();
        assert_eq!(bench.memory.left(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_hangs_or_fails_or_panics_holds_no_request_and_loses_no_job() {
    for fault in [Fault::Hangs, Fault::Fails(1), Fault::Panics] {
        let bench = Bench::new();
        bench.memory.set_fault(fault);
        scope(&bench.runner, async { drop(defer(Note::new("job", Does::Succeeds))) }).await;
        bench.runner.idle().await;
        assert_eq!(bench.journal.texts(), ["job"], "{fault:?}: it runs here");
        assert_eq!(bench.memory.left(), 0);
        // The next one is stored: nothing is left of the push that was dropped.
        bench.memory.set_fault(Fault::None);
        scope(&bench.runner, async { drop(defer(Note::new("next", Does::Succeeds))) }).await;
        assert!(bench.memory.take_message().unwrap().payload.contains("next"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_runs_an_apalis_worker_and_stops_it_and_one_that_fails_is_followed_by_another() {
    let bench = Bench::new();
    bench.push(Does::Succeeds).await;
    let (memory, runs) = (bench.memory.clone(), AtomicUsize::new(0));
    let worker = ApalisWorker::new(bench.handler(), move |handler, stop| {
        let (memory, run) = (memory.clone(), runs.fetch_add(1, Ordering::Relaxed));
        async move {
            match run {
                0 => return Err("the storage is away"),
                1 => panic!("on purpose"),
                // It ends by itself.
                2 => {}
                _ => memory.work_until(handler, stop).await,
            }
            Ok(())
        }
    });
    assert_eq!(worker.runner().map(|runner| runner.key()), Some(bench.runner.key()));
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(Box::new(worker).run(Box::pin(async { drop(stopped.await) })));
    bench.journal.until(1).await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(bench.memory.told(), [Told::Done]);
}

#[tokio::test(start_paused = true)]
async fn before_a_worker_stops_it_begins_no_job_and_hands_back_those_that_wait() {
    let bench = Bench::new();
    let mut later = envelope(Note::new("later", Does::Succeeds));
    later.delay = Duration::from_secs(3600);
    bench.queue.push(vec![later]).await.unwrap();
    bench.push(Does::Hangs).await;
    let memory = bench.memory.clone();
    let worker = ApalisWorker::new(bench.handler(), move |handler, stop| {
        let memory = memory.clone();
        async move {
            memory.work_until(handler, stop).await;
            Ok::<_, BoxDynError>(())
        }
    });
    let (queue, runner, journal) = (bench.queue.clone(), bench.runner.clone(), bench.journal.clone());
    let stop = async move {
        journal.until(1).await;
        // While the job is drained that runs, another one comes.
        tokio::spawn(async move {
            queue.push(vec![envelope(Note::new("late", Does::Succeeds))]).await.unwrap();
            runner.shutdown(Duration::ZERO).await;
        });
    };
    Box::new(worker).run(Box::pin(stop)).await.unwrap();
    assert_eq!(bench.journal.texts(), ["job"]);
    let mut back: Vec<_> = std::iter::from_fn(|| bench.memory.take_message()).collect();
    back.sort_by_key(|message| message.delay);
    assert_eq!(back.len(), 3, "{back:?}");
    for message in &back {
        assert!(
            message.attempts == 0 && message.delay >= 4000,
            "it stays away from this worker: {message:?}"
        );
    }
    assert!(back[2].payload.contains("later") && back[2].delay > 3_500_000, "{back:?}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_keeps_failing_ends_when_it_is_told_to() {
    let bench = Bench::new();
    let fails = || ApalisWorker::new(bench.handler(), |_, _| async { Err::<(), _>("the storage is away") });
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(Box::new(fails()).run(Box::pin(async { drop(stopped.await) })));
    tokio::task::yield_now().await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();

    // One that cannot end well is no error of the server either: others run its jobs.
    let fails = ApalisWorker::new(bench.handler(), |_, stop| async {
        stop.await;
        Err::<(), _>("the storage is away")
    });
    Box::new(fails).run(Box::pin(ready(()))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_end_is_dropped() {
    let bench = Bench::new();
    let hangs = ApalisWorker::new(bench.handler(), |_, _| pending::<Result<(), BoxDynError>>());
    let running = Box::new(hangs).run(Box::pin(ready(())));
    timeout(Duration::from_secs(60), running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_with_a_thousand_jobs_leaves_the_next_to_others() {
    let bench = Bench::new();
    let (mut handler, mut calls) = (bench.handler(), JoinSet::new());
    for _ in 0..1000 {
        bench.push(Does::Hangs).await;
        calls.spawn(handler.call(bench.memory.take().unwrap()));
    }
    while bench.runner.stats().taken < 1000 {
        tokio::task::yield_now().await;
    }
    bench.push(Does::Hangs).await;
    handler.call(bench.memory.take().unwrap()).await.unwrap();
    let back = bench.memory.take_message().unwrap();
    assert_eq!((back.attempts, back.delay), (0, 4000), "this is no attempt");
}

#[tokio::test]
async fn a_task_that_is_no_job_is_given_up_and_does_not_end_the_worker() {
    let bench = Bench::new();
    for json in
        ["\"hello\"", "[1, 2]", "null", "{}", r#"{"id":"7","name":"Note","payload":"{}"}"#, r#"{"name":7}"#]
    {
        let message: Message = serde_json::from_str(json).unwrap();
        let told = told(&bench.handler().call(message.into_task()).await);
        assert_eq!(told, Told::Aborted("AbortError: the task is not a job".to_owned()), "{json}");
    }
    assert_eq!(bench.memory.take_message(), None);
}

#[tokio::test]
async fn another_program_needs_to_write_no_more_than_id_name_and_payload() {
    let bench = Bench::new();
    let payload = serde_json::to_string(&Note::new("job", Does::Succeeds)).unwrap();
    let json = serde_json::json!({ "id": JobId::unique().to_string(), "name": "Note", "payload": payload, "more": 1 });
    let message: Message = serde_json::from_value(json).unwrap();
    bench.handler().call(message.into_task()).await.unwrap();
    assert_eq!(bench.journal.texts(), ["job"]);
}

#[tokio::test]
async fn a_stored_job_is_plain_json_and_reads_back() {
    let bench = Bench::new();
    let mut job = envelope(Note::new("job", Does::Succeeds));
    job.metadata.insert("route".to_owned(), "POST /".to_owned());
    job.status = Some(StatusCode::OK);
    job.serial = Some("a key".to_owned());
    job.delay = Duration::from_micros(1500);
    bench.queue.push(vec![job.clone()]).await.unwrap();
    let message = bench.memory.take_message().unwrap();
    let json: serde_json::Value = serde_json::to_value(&message).unwrap();
    let expected = serde_json::json!({
        "id": job.id.to_string(), "name": "Note", "payload": r#"{"text":"job","does":"Succeeds"}"#,
        "metadata": { "route": "POST /" }, "status": 200, "serial": "a key",
        "tries": 3, "attempts": 0, "pushed_at": message.pushed_at, "delay": 2, "pushes": 0, "unread": 0,
    });
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_value::<Message>(json).unwrap(), message);
    let task = message.into_task();
    let id = format!("{}-0", job.id);
    assert_eq!(task.task_id().unwrap().to_string(), id);
    assert_eq!(task.idempotency_key(), Some(&*id));
}
