//! What jobs ask of each other and of their runner, on each storage.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use defer_apalis::ApalisQueue;
use defer_axum::{Defer, Deferred, Runner, event::JobEventKind, scope};
use defer_queue_tests::{
    backend::{Backend, Place},
    jobs::{Alone, Doomed, Hangs, Log, Note, Spans, Tenant},
    waiting::{PATIENCE, until, until_lines},
};
use tokio::{sync::mpsc, time::timeout};

struct Service {
    place: Place,
    queue: ApalisQueue,
    runner: Runner,
}

impl Service {
    async fn on(backend: Backend) -> Self {
        let place = backend.place().await;
        let queue = ApalisQueue::connect(&place.url).await.unwrap();
        let runner = Runner::builder().queue(queue.clone()).push_timeout(PATIENCE).build();
        Self { place, queue, runner }
    }

    fn log(&self) -> Log {
        self.place.log()
    }

    /// Runs jobs on a runner of their own, until so many have ended.
    async fn work(&self, jobs: u64, around: &'static str) {
        let (told, mut ended) = mpsc::unbounded_channel();
        let log = self.log();
        let runner = Runner::builder()
            .state(log.clone())
            .around(move |cx, next| {
                let log = log.clone();
                Box::pin(async move {
                    let result = next.await;
                    if !around.is_empty() {
                        log.note(format_args!("{around} {} {}", cx.name(), result.is_ok()));
                    }
                    result
                })
            })
            .on_event(move |event| {
                if let JobEventKind::Succeeded { .. } | JobEventKind::Failed { .. } = event.kind() {
                    told.send(()).unwrap();
                }
            })
            .build();
        let all = async {
            for _ in 0..jobs {
                timeout(PATIENCE, ended.recv()).await.expect("the next one ends").unwrap();
            }
        };
        // Their rows are written after their events, while the worker stops.
        let worker = self.queue.worker(runner);
        let worker = worker.job::<Note>().job::<Hangs>().job::<Spans>().job::<Alone>().job::<Doomed>();
        worker.run_until(all).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_left_out_while_another_with_its_unique_key_waits_on_the_queue() {
    for backend in Backend::ALL {
        let service = Service::on(*backend).await;
        for number in 1..=3_u32 {
            scope(&service.runner, async { drop(Note::defer(number).unique("sync:42")) }).await;
        }
        scope(&service.runner, async { drop(Note::defer(4_u32).unique("sync:43")) }).await;
        let (waiting, runs): (u64, &[&str]) =
            if backend.knows_unique_keys() { (2, &["1", "4"]) } else { (4, &["1", "2", "3", "4"]) };
        assert_eq!(service.queue.counts().await.unwrap().pending, waiting, "{backend:?}");
        service.work(waiting, "").await;
        let mut lines = service.log().lines();
        lines.sort();
        assert_eq!(lines, runs, "{backend:?}");
        // Those that have run are in nobody's way.
        scope(&service.runner, async { drop(Note::defer(5_u32).unique("sync:42")) }).await;
        service.work(1, "").await;
        assert_eq!(service.log().lines().last().unwrap(), "5", "{backend:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_a_worker_has_leaves_no_other_out() {
    for backend in Backend::ALL {
        let service = Service::on(*backend).await;
        scope(&service.runner, async { drop(Hangs::defer().unique("sync:42")) }).await;
        let passes = async {
            until("one hangs", async || service.log().lines() == ["hangs 1"]).await;
            scope(&service.runner, async { drop(Note::defer(1_u32).unique("sync:42")) }).await;
            let counts = service.queue.counts().await.unwrap();
            assert_eq!(counts.running + counts.pending + counts.done, 2, "{backend:?}: {counts:?}");
            until_lines(&service.log(), 2).await;
        };
        tokio::select! {
            () = service.work(2, "") => panic!("{backend:?}: both have ended, and one hangs"),
            () = passes => {}
        }
        assert_eq!(service.log().lines(), ["hangs 1", "1"], "{backend:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_queue_take_turns_on_their_worker() {
    for backend in Backend::ALL {
        for defers in [|number: u32| Alone::defer(number), |number: u32| serial(number)] {
            let service = Service::on(*backend).await;
            for number in 0..20 {
                scope(&service.runner, async { drop(defers(number)) }).await;
            }
            service.work(20, "").await;
            let lines = service.log().lines();
            assert_eq!(lines.len(), 40, "{backend:?}");
            for pair in lines.chunks(2) {
                assert_eq!(pair[0].replace('+', "-"), pair[1], "{backend:?}: {lines:?}");
            }
        }
    }
}

fn serial(number: u32) -> Deferred {
    Spans::defer(number).serial("account:7")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_job_has_its_tenant_and_what_is_around_it_and_hears_of_its_end() {
    for backend in Backend::ALL {
        let service = Service::on(*backend).await;
        scope(&service.runner, async {
            Defer::current().unwrap().insert_extension(Tenant("acme".into()));
            Doomed::defer();
        })
        .await;
        service.work(1, "around").await;
        assert_eq!(
            service.log().lines(),
            ["around Doomed false", "around Doomed false", "given up after 2: no luck for acme"],
            "{backend:?}"
        );
    }
}
