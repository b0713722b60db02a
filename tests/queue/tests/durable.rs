//! The promises about durable jobs in normal operation, and faults that must not affect other jobs.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    collections::BTreeSet,
    io::Write,
    pin::Pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use axum::{Router, body::Body, routing::post};
use bytes::Bytes;
use defer_axum::{
    JobId, JobStatus, Policy, defer_fn,
    queue::{Envelope, Queue},
    scope,
};
use defer_queue_tests::{
    backend::{Backend, Place, on_each},
    client::Client,
    jobs::{Big, Fails, FailsFirst, InTurn, NewNote, Note, Renamed, Snoozes, Tells, Unknown, Urgent, Waits},
    service::{Runs, Serves, Service, layer},
    waiting::{until, until_line, until_lines},
};
use defer_sqlx::{SqlxQueue, sqlx};
use futures_util::{future::join_all, stream};

const HOUR: Duration = Duration::from_secs(3600);

async fn client(serves: &Serves) -> Client {
    Client::connect(serves.address).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_until_its_jobs_are_stored() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let serves = Serves::new(&service).await;
        let lock = service.place.lock().await;
        let mut waits = client(&serves).await;
        waits.send("/held/1").await.unwrap();
        until("it is deferred", async || service.runner.stats().deferred == 1).await;
        // Other requests are answered meanwhile.
        assert_eq!(client(&serves).await.post("/plain").await.unwrap(), 200);
        assert!(waits.has_nothing().await);
        lock.release().await;
        waits.until("200 OK").await.unwrap();
        assert_eq!(service.place.number("SELECT count(*) FROM defer_jobs WHERE state = 0").await, 1);
        assert!(service.log.lines().is_empty(), "its response is not over");
        service.place.touch("end");
        until_line(&service.log, "1 sent").await;
        serves.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_the_same_time_share_a_commit() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let serves = Serves::new(&service).await;
        let lock = service.place.lock().await;
        let mut clients = join_all((0..50).map(|_| client(&serves))).await;
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&format!("/held/{number}")).await.unwrap();
        }
        until("all are deferred", async || service.runner.stats().deferred == 50).await;
        lock.release().await;
        for client in &mut clients {
            client.until("200 OK").await.unwrap();
        }
        let commits = match backend {
            // The time of the statement.
            Backend::Sqlite => "SELECT count(DISTINCT created) FROM defer_jobs",
            Backend::Postgres => "SELECT count(DISTINCT xmin::text) FROM defer_jobs",
        };
        let commits = service.place.number(commits).await;
        assert!(commits <= 10, "{commits} commits for 50 requests");
        service.place.touch("end");
        until_lines(&service.log, 50).await;
        serves.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_in_memory_and_durable_ones_run_in_the_order_deferred() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let log = service.log.clone();
        let handler = post(async move || {
            for number in 0..10_u32 {
                let log = log.clone();
                defer_fn(async move |_| log.note(format_args!("memory {number}")));
                Tells::defer(number);
            }
        });
        let app = Router::new().route("/", handler).layer(layer(&service.runner));
        let serves = Serves::app(&service, app, true).await;
        assert_eq!(client(&serves).await.post("/").await.unwrap(), 200);
        until_lines(&service.log, 20).await;
        let expected: Vec<_> =
            (0..10).flat_map(|number| [format!("memory {number}"), format!("{number} sent")]).collect();
        assert_eq!(service.log.lines(), expected);
        serves.stop().await;
        assert_eq!(service.place.number("SELECT count(*) FROM defer_jobs WHERE state = 3").await, 10);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_runs_here_sees_all_of_its_request_and_response() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let serves = Serves::new(&service).await;
        assert_eq!(client(&serves).await.post("/sees").await.unwrap(), 200);
        until_lines(&service.log, 1).await;
        assert_eq!(service.log.lines(), ["POST /sees seen, 200 sent 12, acme"]);
        serves.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_through_the_queue_has_its_route_its_tenant_and_the_outcome() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let serves = Serves::without_worker(&service).await;
        assert_eq!(client(&serves).await.post("/sees").await.unwrap(), 200);
        serves.stop().await;
        let other = Service::at(&service.place, "other").await;
        let works = other.works();
        until_lines(&other.log, 1).await;
        assert_eq!(other.log.lines(), ["POST /sees none, 200 sent 12, acme"]);
        works.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_streams_holds_the_frame_until_its_job_is_stored() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let handler = post(async || {
            let frames = stream::unfold(0_u32, async |frame| {
                (frame < 20).then(|| {
                    Tells::defer(frame);
                    (Ok::<_, std::io::Error>(Bytes::from(format!("<{frame}>"))), frame + 1)
                })
            });
            Body::from_stream(frames)
        });
        let app = Router::new().route("/", handler).layer(layer(&service.runner));
        let serves = Serves::app(&service, app, true).await;
        let mut client = client(&serves).await;
        client.send("/").await.unwrap();
        for frame in 0..20 {
            client.until(&format!("<{frame}>")).await.unwrap();
            let stored = service.place.number("SELECT count(*) FROM defer_jobs").await;
            assert!(stored > frame, "{stored} jobs are stored when frame {frame} is there");
        }
        until_lines(&service.log, 20).await;
        let expected: Vec<_> = (0..20).map(|number| format!("{number} sent")).collect();
        assert_eq!(service.log.lines(), expected);
        serves.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_handler_that_panics_are_stored_and_run() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let ids = Arc::new(Mutex::new(Vec::new()));
        let noted = ids.clone();
        let handler = post(async move || {
            noted.lock().unwrap().push(Tells::defer(1_u32).id());
            if noted.lock().unwrap().len() == 1 {
                panic!("as it may")
            }
        });
        let app = Router::new().route("/", handler).layer(layer(&service.runner));
        let serves = Serves::app(&service, app, true).await;
        assert!(client(&serves).await.post("/").await.is_err());
        until_lines(&service.log, 1).await;
        assert_eq!(service.log.lines(), ["1 panicked"]);
        let id = ids.lock().unwrap()[0];
        service.until_succeeded(id).await;
        serves.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_starts_only_after_its_response_was_sent() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        // More than the operating system accepts while the client does not read.
        const SIZE: usize = 32 << 20;
        let large = post(async || {
            Tells::defer(1_u32);
            vec![b'x'; SIZE]
        });
        let small = post(async || drop(Tells::defer(2_u32)));
        let app = Router::new().route("/", large).route("/small", small).layer(layer(&service.runner));
        let serves = Serves::app(&service, app, true).await;
        let mut reads_late = client(&serves).await;
        reads_late.send("/").await.unwrap();
        reads_late.until("200 OK").await.unwrap();
        // Another request's job runs meanwhile.
        assert_eq!(client(&serves).await.post("/small").await.unwrap(), 200);
        until_line(&service.log, "2 sent").await;
        service.place.until_number("SELECT count(*) FROM defer_jobs WHERE state = 3", 1).await;
        assert_eq!(service.log.lines(), ["2 sent"]);
        assert_eq!(service.place.number("SELECT count(*) FROM defer_jobs WHERE state = 0").await, 1);
        reads_late.until("\r\n\r\n").await.unwrap();
        reads_late.skip(SIZE).await.unwrap();
        until_line(&service.log, "1 sent").await;
        serves.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_and_a_snooze_survive_a_restart_and_spend_no_attempt() {
    on_each(async |backend| {
        let place = backend.place().await;
        let service = Service::at(&place, "log").await;
        let delayed = scope(&service.runner, async { Note::defer(1_u32).delay(HOUR).id() }).await;
        let snoozes = scope(&service.runner, async { Snoozes::defer(HOUR).id() }).await;
        let works = service.works();
        until_line(&service.log, "attempt 1").await;
        service.until_waiting(2).await;
        works.stop().await;
        service.close().await;
        let service = Service::at(&place, "log").await;
        let works = service.works();
        // Jobs that are due run, and these do not.
        service.queue.push(Note { number: 2 }).await.unwrap();
        until_line(&service.log, "2").await;
        for id in [delayed, snoozes] {
            assert_eq!(service.status(id).await, Some(JobStatus::Pending));
        }
        place.execute(&format!("UPDATE defer_jobs SET due = due - {}", HOUR.as_millis())).await;
        service.until_idle().await;
        assert_eq!(service.log.sorted(), ["1", "2", "attempt 1", "attempt 1"]);
        assert_eq!(place.number("SELECT max(attempts) + max(deaths) FROM defer_jobs").await, 1);
        works.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_share_the_work_and_no_job_runs_twice() {
    on_each(async |backend| {
        let place = backend.place().await;
        let [one, other] = [Service::at(&place, "one").await, Service::at(&place, "other").await];
        let both = [one.log.0.clone(), other.log.0.clone()];
        // Each process has room for one job, and one job waits for a file: no process can run both.
        for number in [1000, 1001] {
            one.queue.push(Waits { number, file: place.folder.path().join("go") }).await.unwrap();
        }
        for number in 0..400 {
            one.queue.push(Note { number }).await.unwrap();
        }
        let works = [&one, &other].map(|service| Runs::new(service.worker().concurrency(1)));
        for log in [&one.log, &other.log] {
            until("it has a job", async || log.lines().iter().any(|line| line.starts_with("+100"))).await;
        }
        place.touch("go");
        until("all are done", async || one.counts().await == [0, 0, 402, 0]).await;
        let lines: Vec<String> = both.iter().flat_map(|log| defer_queue_tests::jobs::lines(log)).collect();
        let all: BTreeSet<_> = lines.iter().collect();
        assert_eq!((lines.len(), all.len()), (404, 404));
        for works in works {
            works.stop().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_only_the_types_that_it_was_given() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let unknown = service.queue.push(Unknown).await.unwrap();
        let works = service.works();
        service.queue.push(Note { number: 1 }).await.unwrap();
        until_line(&service.log, "1").await;
        assert_eq!(service.status(unknown).await, Some(JobStatus::Pending));
        let touched = format!("SELECT attempts + claim + deaths FROM defer_jobs WHERE id = '{unknown}'");
        assert_eq!(service.place.number(&touched).await, 0);
        works.stop().await;
        service.queue.worker(service.runner.clone()).job::<Unknown>().run_until_empty().await.unwrap();
        assert_eq!(service.log.lines(), ["1", "unknown"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_type_runs_the_jobs_of_its_old_name() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        service.queue.push(Unknown).await.unwrap();
        service.queue.push(Renamed).await.unwrap();
        service.queue.worker(service.runner.clone()).job::<Renamed>().run_until_empty().await.unwrap();
        assert_eq!(service.log.lines(), ["renamed", "renamed"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_be_read_is_put_aside_and_stops_nothing() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let [new, newer] = [
            service.queue.push(NewNote { text: "a".to_owned() }).await.unwrap(),
            service.queue.push(NewNote { text: "b".to_owned() }).await.unwrap(),
        ];
        service
            .place
            .execute("UPDATE defer_jobs SET created = created - 25 * 3600000 WHERE payload LIKE '%b%'")
            .await;
        service.queue.push(Note { number: 1 }).await.unwrap();
        let works = service.works();
        until_line(&service.log, "1").await;
        // A job that could not be read for a day has failed.
        until("one has failed", async || service.counts().await == [1, 0, 1, 1]).await;
        let failed = service.queue.failed(10).await.unwrap();
        assert_eq!(failed[0].id, newer);
        assert!(failed[0].error.contains("missing field `number`"), "{}", failed[0].error);
        assert_eq!(service.status(new).await, Some(JobStatus::Pending));
        works.stop().await;
        let attempts = format!("SELECT attempts + deaths FROM defer_jobs WHERE id = '{new}'");
        assert_eq!(service.place.number(&attempts).await, 0);
        let waits = format!("SELECT due - created FROM defer_jobs WHERE id = '{new}'");
        assert!(service.place.number(&waits).await >= 30_000);
        // A newer version of the program can read the other.
        service.place.execute("UPDATE defer_jobs SET due = 0").await;
        service.queue.worker(service.runner.clone()).job::<NewNote>().run_until_empty().await.unwrap();
        assert_eq!(service.log.lines(), ["1", "new a"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_no_process_takes_is_named_in_the_log() {
    static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    struct ToLog;
    impl Write for ToLog {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            LOG.lock().unwrap().write(text)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    tracing_subscriber::fmt()
        .with_writer(|| ToLog)
        .with_ansi(false)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .init();
    on_each(async |backend| {
        let service = Service::on(backend).await;
        // A separate type for each database, because they share one log.
        let name = format!("On{backend:?}");
        let job = Envelope::new(JobId::unique(), name.clone(), Policy::new(), b"{}".to_vec());
        service.queue.push_envelopes(vec![job]).await;
        service.place.execute("UPDATE defer_jobs SET due = due - 120000").await;
        let works = service.works();
        until("it is named", async || {
            let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
            log.lines().any(|line| line.contains(&name) && line.contains("no worker takes"))
        })
        .await;
        works.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_with_a_serial_key_run_one_at_a_time_and_in_order_in_all_processes() {
    on_each(async |backend| {
        let place = backend.place().await;
        let services = [Service::at(&place, "log").await, Service::at(&place, "log").await];
        for number in 0..40 {
            services[0].queue.push(InTurn { number }).serial("account:7").await.unwrap();
        }
        let works = [0, 1].map(|at: usize| services[at].works());
        until("all are done", async || services[0].counts().await == [0, 0, 40, 0]).await;
        let mut expected = Vec::new();
        for number in 0..40 {
            // One in four fails once, and keeps its turn.
            for _ in 0..if number % 4 == 0 { 2 } else { 1 } {
                expected.extend([format!("+{number}"), format!("-{number}")]);
            }
        }
        assert_eq!(place.log().lines(), expected);
        for works in works {
            works.stop().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_knows_the_status_of_a_job_by_its_id() {
    on_each(async |backend| {
        let place = backend.place().await;
        let [service, other] = [Service::at(&place, "log").await, Service::at(&place, "other").await];
        let note = service.queue.push(Note { number: 1 }).await.unwrap();
        let delayed = service.queue.push(Note { number: 2 }).delay(HOUR).await.unwrap();
        let fails = service.queue.push(Fails { error: "no luck".to_owned() }).await.unwrap();
        let waits =
            service.queue.push(Waits { number: 3, file: place.folder.path().join("go") }).await.unwrap();
        for id in [note, delayed, fails, waits] {
            assert_eq!(other.status(id).await, Some(JobStatus::Pending));
        }
        assert_eq!(other.status(JobId::unique()).await, None);
        let works = service.works();
        until_line(&service.log, "+3").await;
        until("others have ended", async || other.counts().await == [1, 1, 1, 1]).await;
        assert_eq!(other.status(note).await, Some(JobStatus::Succeeded));
        assert_eq!(other.status(delayed).await, Some(JobStatus::Pending));
        assert_eq!(other.status(fails).await, Some(JobStatus::failed("no luck")));
        assert_eq!(other.status(waits).await, Some(JobStatus::Running));
        let failed = other.queue.failed(10).await.unwrap();
        assert_eq!((failed[0].id, &*failed[0].name, &*failed[0].error), (fails, "Fails", "no luck"));
        place.touch("go");
        other.until_succeeded(waits).await;
        works.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_text_row_or_payload_stops_nothing_else() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let serves = Serves::new(&service).await;
        // A payload above the limit; a NUL in an error and in a captured extension.
        let bad = ["/big/2000000", "/fails/a%00b", "/tenant/a%00b"];
        let notes: Vec<String> = (0..30).map(|number| format!("/note/{number}")).collect();
        let paths = notes.iter().map(String::as_str).chain(bad);
        let answers = join_all(paths.map(async |path| client(&serves).await.post(path).await.unwrap())).await;
        assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
        until_lines(&service.log, 33).await;
        assert!(service.log.has("big 2000000") && service.log.has("for a\\0b"), "{:?}", service.log.lines());
        until("all others are done", async || service.counts().await == [0, 0, 31, 1]).await;
        let failed = service.queue.failed(1).await.unwrap();
        assert_eq!(&*failed[0].error, "a\u{fffd}b");
        // Values that another client may insert.
        let most = i64::MAX;
        let [a, b, c, d, e, f, g, h, i] = std::array::from_fn(|_| JobId::unique());
        let rows = [
            format!("(id, name, payload) VALUES ('{a}', 'Note', 'no json')"),
            format!("(id, name, payload) VALUES ('{b}', 'Note', '')"),
            "(id, name, payload) VALUES ('no id', 'Note', '{\"number\":100}')".to_owned(),
            "(id, name, payload) VALUES ('', 'Note', '{\"number\":100}')".to_owned(),
            format!("(id, name, payload, metadata) VALUES ('{c}', 'Note', '{{\"number\":101}}', '{{broken')"),
            format!("(id, name, payload, metadata) VALUES ('{d}', 'Note', '{{\"number\":102}}', '[1, 2]')"),
            format!("(id, name, payload, outcome, status) VALUES ('{e}', 'Note', '{{\"number\":103}}', 'odd', 30000)"),
            format!("(id, name, payload, attempts) VALUES ('{f}', 'Note', '{{\"number\":104}}', {most})"),
            format!("(id, name, payload, attempts) VALUES ('{g}', 'Note', '{{\"number\":105}}', 2147483647)"),
            format!("(id, name, payload, claim) VALUES ('{h}', 'Note', '{{\"number\":106}}', 9223372036854775807)"),
            format!("(id, name, payload, due) VALUES ('{i}', 'Note', '{{\"number\":107}}', 9223372036854775807)"),
        ];
        // A row that the table itself rejects does no harm either.
        let mut taken = 0;
        for row in &rows {
            taken += i64::from(service.place.try_execute(&format!("INSERT INTO defer_jobs {row}")).await.is_ok());
        }
        assert!(taken >= 5, "{taken}");
        let good = service.queue.push(Note { number: 110 }).await.unwrap();
        service.until_succeeded(good).await;
        until_line(&service.log, "110").await;
        // The readable jobs run, and the others do not hold them up.
        for number in [101, 102, 103] {
            until_line(&service.log, &number.to_string()).await;
        }
        // The process sends heartbeats, takes jobs and counts as before.
        assert_eq!(client(&serves).await.post("/note/111").await.unwrap(), 200);
        until_line(&service.log, "111").await;
        service.queue.counts().await.unwrap();
        let next = Service::at(&service.place, "next").await;
        let works = next.works();
        next.queue.push(Note { number: 112 }).await.unwrap();
        until("it runs in either", async || service.log.has("112") || next.log.has("112")).await;
        works.stop().await;
        serves.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_the_database_refuses_is_parted_from_the_others_of_its_commit() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        service.place.refuse(":13}").await;
        let lock = service.place.lock().await;
        let ids = tokio::join!(
            scope(&service.runner, async {
                (0..40_u32).map(|number| Note::defer(number).id()).collect::<Vec<_>>()
            }),
            lock.release()
        )
        .0;
        // Its row could not be written, so it exists only in this process.
        until_line(&service.log, "13").await;
        assert_eq!(service.log.lines(), ["13"]);
        assert_eq!(service.place.number("SELECT count(*) FROM defer_jobs").await, 39);
        assert_eq!(service.status(ids[13]).await, None);
        // The others are pushed in a batch too, and only this one is rejected.
        let pushes =
            (40..80).chain([13]).map(async |number| service.queue.push(Note { number }).await.is_ok());
        let pushed = join_all(pushes).await;
        assert_eq!(pushed.iter().position(|pushed| !pushed), Some(40));
        service.worker().run_until_empty().await.unwrap();
        assert_eq!(service.log.lines().len(), 80);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_types_with_one_name_are_refused() {
    let service = Service::on(Backend::Sqlite).await;
    let worker = || service.queue.worker(service.runner.clone()).job::<Note>();
    drop(worker().job::<Note>());
    let twice = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker().job::<NewNote>()));
    assert!(twice.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_is_never_stored_twice() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let envelope = || Envelope::of(&Note { number: 1 }).unwrap();
        let first = envelope();
        let id = first.id;
        let again = || {
            let mut again = envelope();
            again.id = id;
            again
        };
        service.queue.push_envelopes(vec![first]).await;
        service.queue.push_envelopes(vec![again(), again()]).await;
        assert_eq!(service.counts().await[0], 1);
        service.worker().run_until_empty().await.unwrap();
        service.queue.push_envelopes(vec![again()]).await;
        service.worker().run_until_empty().await.unwrap();
        assert_eq!(service.log.lines(), ["1"]);
    })
    .await;
}

/// Pushes jobs as the engine does.
trait PushEnvelopes {
    async fn push_envelopes(&self, jobs: Vec<Envelope>);
}

impl PushEnvelopes for SqlxQueue {
    async fn push_envelopes(&self, jobs: Vec<Envelope>) {
        Queue::push(self, jobs).await.unwrap();
    }
}

/// Polls a future at most this many times, and then drops it.
async fn poll_at_most(mut future: Pin<Box<impl Future>>, polls: u32) {
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        if future.as_mut().poll(cx).is_ready() || left == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Drops transactions of a pool after each number of polls, and pushes jobs in them and outside, where they are visible at once.
macro_rules! drop_transactions {
    ($place:expr, $pool:expr, $queue:expr) => {{
        let (pool, queue) = ($pool, $queue);
        let mut pushed = 0;
        for polls in 1..=12 {
            for with_push in [false, true] {
                let (pool, of_other) = (pool.clone(), queue.clone());
                let dropped = async move {
                    let mut tx = pool.begin().await.unwrap();
                    if with_push {
                        of_other.push_in(&mut tx, Note { number: 999_999 }).await.unwrap();
                    }
                    std::future::pending::<()>().await;
                };
                let dropped =
                    tokio::time::timeout(Duration::from_secs(1), poll_at_most(Box::pin(dropped), polls));
                let _ = dropped.await;
                let id = queue.push(Note { number: pushed }).await.unwrap();
                pushed += 1;
                let seen = format!("SELECT count(*) FROM defer_jobs WHERE id = '{id}'");
                assert_eq!($place.number(&seen).await, 1, "after {polls} polls, {with_push}");
            }
        }
        pool.close().await;
        (pushed as usize, queue)
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_a_handler_dropped_loses_no_job() {
    on_each(async |backend| {
        let place = backend.place().await;
        let log = place.log();
        let (pushed, queue) = match backend {
            Backend::Sqlite => {
                let options = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
                let pool = options.connect(&format!("{}?mode=rwc", place.url)).await.unwrap();
                let queue = SqlxQueue::connect(&place.url).await.unwrap();
                drop_transactions!(place, pool, queue)
            }
            Backend::Postgres => {
                let options = sqlx::postgres::PgPoolOptions::new().max_connections(1);
                let pool = options.connect(&place.url).await.unwrap();
                let queue = SqlxQueue::connect(&place.url).await.unwrap();
                drop_transactions!(place, pool, queue)
            }
        };
        let runner = defer_queue_tests::service::runner(&queue, &log).build();
        queue.worker(runner).job::<Note>().run_until_empty().await.unwrap();
        let ran: BTreeSet<String> = log.lines().into_iter().collect();
        assert_eq!((ran.len(), log.lines().len()), (pushed, pushed));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_dropped_at_any_moment_strand_no_job() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let mut number = 0;
        for round in 0..40 {
            for _ in 0..5 {
                service.queue.push(Note { number }).await.unwrap();
                number += 1;
            }
            let worker = tokio::spawn(service.worker().run_until(std::future::pending()));
            // A different moment in each round.
            tokio::time::sleep(Duration::from_micros(round * 331 % 8_000)).await;
            worker.abort();
        }
        let works = service.works();
        until("all are done", async || service.counts().await == [0, 0, 200, 0]).await;
        assert_eq!(service.log.lines().len(), 200, "some ran twice");
        works.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_looks_is_held_up_by_nobody_and_counts_no_further_than_it_says() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let id = service.queue.push(Note { number: 1 }).await.unwrap();
        // A user's write that stays open.
        let lock = service.place.lock().await;
        assert_eq!(service.counts().await[0], 1);
        assert!(service.queue.failed(10).await.unwrap().is_empty());
        assert_eq!(service.status(id).await, Some(JobStatus::Pending));
        lock.release().await;
        // More rows than one count reads.
        let values = match backend {
            Backend::Sqlite => {
                "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 30000) \
                SELECT printf('%026d', n), 'Note', '{}', 3, 0 FROM n"
            }
            Backend::Postgres => {
                "SELECT lpad(n::text, 26, '0'), 'Note', '{}', 3, 0 FROM generate_series(1, 30000) AS n"
            }
        };
        service
            .place
            .execute(&format!("INSERT INTO defer_jobs (id, name, payload, state, ended) {values}"))
            .await;
        service.place.execute("UPDATE defer_jobs SET ended = created WHERE state = 3").await;
        assert_eq!(service.counts().await[2], 10_000);
        service.worker().run_until_empty().await.unwrap();
        assert_eq!(service.log.lines(), ["1"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unique_keys_in_opposite_order_in_two_processes_are_nobody_s_deadlock() {
    on_each(async |backend| {
        let place = backend.place().await;
        let [one, other] = [Service::at(&place, "log").await, Service::at(&place, "log").await];
        let push = async |service: &Service, round: u32, key: u32| {
            service.queue.push(Note { number: key }).unique(format!("{round}:{key}")).await.unwrap()
        };
        let defers = async |service: &Service, round: u32, keys: Vec<u32>| {
            scope(&service.runner, async {
                for key in keys {
                    Note::defer(key).unique(format!("deferred {round}:{key}"));
                }
            })
            .await;
        };
        for round in 0..20 {
            let up = (0..20).map(|key| push(&one, round, key));
            let down = (0..20).rev().map(|key| push(&other, round, key));
            tokio::join!(
                join_all(up),
                join_all(down),
                defers(&one, round, (0..20).collect()),
                defers(&other, round, (0..20).rev().collect()),
            );
        }
        one.runner.idle().await;
        other.runner.idle().await;
        let ready = "SELECT count(*) FROM defer_jobs WHERE state = 1";
        place.until_number("SELECT count(*) FROM defer_jobs WHERE state IN (0, 2)", 0).await;
        assert_eq!(place.number(ready).await, 800);
        let duplicates = "SELECT count(*) FROM defer_jobs WHERE state = 7 AND duplicate_of IS NOT NULL";
        assert_eq!(place.number(duplicates).await, 800);
        one.worker().run_until_empty().await.unwrap();
        assert_eq!(one.log.lines().len(), 800);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_job_is_taken_before_a_backlog_of_another_type() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let file = service.place.folder.path().join("go");
        for number in 0..20 {
            service.queue.push(Waits { number, file: file.clone() }).await.unwrap();
        }
        let works = Runs::new(service.worker().concurrency(1));
        until_lines(&service.log, 1).await;
        service.queue.push(Urgent { number: 1 }).await.unwrap();
        service.queue.push(Note { number: 2 }).priority(10).await.unwrap();
        service.place.touch("go");
        until_line(&service.log, "urgent 1").await;
        assert_eq!(service.log.lines()[1..4], ["-0", "2", "urgent 1"].map(str::to_owned));
        service.until_idle().await;
        works.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_transaction_is_there_with_the_user_s_row_or_not_at_all() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let place = &service.place;
        place.execute("CREATE TABLE users (n BIGINT)").await;
        let works = service.works();
        for (number, commits) in [(1, true), (2, false), (3, true)] {
            match backend {
                Backend::Sqlite => {
                    let pool = sqlx::SqlitePool::connect(&place.url).await.unwrap();
                    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
                    sqlx::query("INSERT INTO users VALUES (1)").execute(&mut *tx).await.unwrap();
                    service.queue.push_in(&mut tx, Note { number }).await.unwrap();
                    assert_eq!(seen(place).await, service.log.lines().len() as i64 * 11);
                    if commits { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
                }
                Backend::Postgres => {
                    let pool = sqlx::PgPool::connect(&place.url).await.unwrap();
                    let mut tx = pool.begin().await.unwrap();
                    sqlx::query("INSERT INTO users VALUES (1)").execute(&mut *tx).await.unwrap();
                    service.queue.push_in(&mut tx, Note { number }).await.unwrap();
                    assert_eq!(seen(place).await, service.log.lines().len() as i64 * 11);
                    if commits { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
                }
            }
            if commits {
                until_line(&service.log, &number.to_string()).await;
            }
        }
        service.until_idle().await;
        assert_eq!(service.log.lines(), ["1", "3"]);
        works.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_jobs_are_read_back_with_their_payload_and_those_of_a_transaction_once_it_is_committed() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let (queue, place) = (&service.queue, &service.place);
        let hour = Duration::from_secs(3600);
        let id = queue.push(Note { number: 1 }).delay(hour).serial("s").unique("u").await.unwrap();
        queue.push(Urgent { number: 7 }).await.unwrap();
        let seen = async || {
            let stored = queue.stored::<Note>(10).await.unwrap();
            stored.iter().map(|stored| stored.job.number).collect::<Vec<_>>()
        };
        match backend {
            Backend::Sqlite => {
                let pool = sqlx::SqlitePool::connect(&place.url).await.unwrap();
                let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
                queue.push_in(&mut tx, Note { number: 2 }).await.unwrap();
                assert_eq!(seen().await, [1]);
                tx.commit().await.unwrap();
            }
            Backend::Postgres => {
                let pool = sqlx::PgPool::connect(&place.url).await.unwrap();
                let mut tx = pool.begin().await.unwrap();
                queue.push_in(&mut tx, Note { number: 2 }).await.unwrap();
                assert_eq!(seen().await, [1]);
                tx.commit().await.unwrap();
            }
        }
        assert_eq!(seen().await, [1, 2]);
        let [first] = &queue.stored::<Note>(1).await.unwrap()[..] else { panic!("at most one") };
        assert_eq!((first.id, &first.status), (id, &JobStatus::Pending));
        assert_eq!((first.serial.as_deref(), first.unique.as_deref()), (Some("s"), Some("u")));
        assert!(first.due_in > hour / 2 && first.due_in <= hour, "{:?}", first.due_in);

        place.execute("UPDATE defer_jobs SET payload = '{\"number\":\"secret\"}' WHERE name = 'Note'").await;
        let unreadable = queue.stored::<Note>(10).await.unwrap_err();
        assert!(
            matches!(unreadable, defer_sqlx::Error::Unreadable { id: of, .. } if of == id),
            "{unreadable}"
        );
        assert!(!unreadable.to_string().contains("secret"), "{unreadable}");
        service.close().await;
    })
    .await;
}

/// Returns the number of committed rows of the user, plus ten times the number of committed jobs.
async fn seen(place: &Place) -> i64 {
    place.number("SELECT (SELECT count(*) FROM users) + 10 * (SELECT count(*) FROM defer_jobs)").await
}

#[tokio::test(flavor = "multi_thread")]
async fn run_until_empty_runs_what_is_tried_again_and_what_jobs_defer_too() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        service.place.touch("go");
        service.queue.push(FailsFirst { times: 2 }).await.unwrap();
        service.queue.push(Note { number: 1 }).delay(Duration::from_millis(700)).await.unwrap();
        service.queue.push(Big { text: "x".repeat(10) }).await.unwrap();
        service.queue.push(Unknown).await.unwrap();
        scope(&service.runner, async { drop(defer_queue_tests::jobs::DefersAndWaits::defer(2_u32)) }).await;
        service.worker().run_until_empty().await.unwrap();
        let expected = ["1", "2", "attempt 1", "attempt 2", "attempt 3", "big 10", "deferred"];
        assert_eq!(service.log.sorted(), expected);
        assert_eq!(service.counts().await, [1, 0, 5, 0]);
    })
    .await;
}
