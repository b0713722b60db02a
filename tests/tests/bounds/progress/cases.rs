//! Random cases: in memory on one thread, and over sockets on several threads.

use std::{future::Future, sync::Arc, time::Duration};

use axum::serve::Listener;
use defer_axum::{Overflow, Runner};
use defer_tests::{By, Pipe, PipeClient, PipeListener, Tcp, http1_ends};
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::{io::AsyncReadExt, net::TcpListener, runtime::Builder, task::JoinSet};

use super::{
    plan::{Plan, Then, plan},
    world::{World, app},
};

/// A runner, an app on it, and simultaneous requests to it.
#[derive(Clone, Debug)]
struct Case {
    by: By,
    layers: usize,
    max_running: usize,
    max_pending: usize,
    overflow: Overflow,
    requests: Vec<Arc<Plan>>,
}

fn case() -> impl Strategy<Value = Case> {
    let by = prop_oneof![2 => Just(By::Defer), 1 => Just(By::Axum)];
    let overflow = prop_oneof![3 => Just(Overflow::Wait), 1 => Just(Overflow::Shed)];
    let requests = prop::collection::vec(plan(2), 1..6);
    let case = (by, 1..4_usize, 1..5_usize, 1..5_usize, overflow, requests);
    case.prop_map(|(by, layers, max_running, max_pending, overflow, requests)| Case {
        by,
        layers,
        max_running,
        max_pending,
        overflow,
        requests,
    })
}

impl Case {
    fn world(&self) -> Arc<World> {
        let runner = Runner::builder().max_running(self.max_running).max_pending(self.max_pending);
        let runner = runner.overflow(self.overflow).build();
        Arc::new(World { runner, layers: self.layers, requests: self.requests.clone() })
    }

    fn serve<L>(&self, listener: L, world: &Arc<World>)
    where
        L: Listener<Addr: std::fmt::Debug + Clone + Sync + 'static>,
    {
        self.by.serve_on(listener, app(world), &world.runner).detach();
    }

    /// In-memory connections. With a paused clock, an endless wait is detected at once.
    async fn play_in_memory(self) -> Result<(), TestCaseError> {
        let world = self.world();
        let (connect, listener) = PipeListener::new();
        self.serve(listener, &world);
        let mut clients = JoinSet::new();
        for n in 0..self.requests.len() {
            let pipe = Pipe::new(usize::MAX, true);
            pipe.allow(usize::MAX);
            connect.send(pipe.clone()).expect("the listener is there");
            clients.spawn(async move {
                pipe.send(format!("GET /{n} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes());
                let mut client = PipeClient(pipe.clone());
                while http1_ends(&pipe.accepted()).is_empty() {
                    let read = client.read(&mut [0; 4096]).await;
                    assert!(read.is_ok_and(|bytes| bytes > 0), "the connection does not break");
                }
                assert!(pipe.accepted().starts_with(b"HTTP/1.1 200 "), "request {n}");
            });
        }
        clients.join_all().await;
        self.check(&world.runner).await
    }

    /// Over sockets.
    async fn play_over_tcp(self) -> Result<(), TestCaseError> {
        let world = self.world();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound listener has an address");
        self.serve(listener, &world);
        let mut clients = JoinSet::new();
        for n in 0..self.requests.len() {
            clients.spawn(async move { Tcp::connect(addr).await.get(&format!("/{n}")).await.status });
        }
        prop_assert_eq!(clients.join_all().await, vec![200; self.requests.len()]);
        self.check(&world.runner).await
    }

    /// Checks the state that must hold once every request was answered.
    async fn check(&self, runner: &Runner) -> Result<(), TestCaseError> {
        runner.idle().await;
        let stats = runner.stats();
        let ended =
            stats.succeeded + stats.failed + stats.skipped + stats.cancelled + stats.shed + stats.queued;
        prop_assert_eq!(ended, stats.deferred, "{:?}", stats);
        prop_assert_eq!((stats.pending, stats.running, stats.abandoned), (0, 0, 0));
        let expected: u64 = self.requests.iter().map(|plan| plan.jobs_in_all(Then::Read, self.layers)).sum();
        let failing: u64 = self.requests.iter().map(|plan| plan.failing_in_all(Then::Read)).sum();
        if self.overflow == Overflow::Wait {
            prop_assert_eq!((stats.deferred, stats.failed, stats.shed), (expected, failing, 0));
        } else {
            // A job that is shed does not defer others.
            prop_assert!(stats.deferred <= expected && stats.failed <= failing, "{:?}", stats);
        }
        Ok(())
    }
}

/// Makes a deadlock fail instead of hanging.
async fn in_time(play: impl Future<Output = Result<(), TestCaseError>>) -> Result<(), TestCaseError> {
    let played = tokio::time::timeout(Duration::from_secs(120), play).await;
    played.unwrap_or_else(|_| Err(TestCaseError::fail("somebody waits for ever")))
}

fn check(config: ProptestConfig, play: impl Fn(Case) -> Result<(), TestCaseError>) {
    let config = ProptestConfig { failure_persistence: None, ..config };
    let checked = TestRunner::new(config).run(&case(), play);
    checked.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn everything_goes_on_at_every_bound_on_one_thread() {
    check(ProptestConfig::with_cases(1000), |case| {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(in_time(case.play_in_memory()))
    });
}

#[test]
fn everything_goes_on_at_every_bound_on_several_threads() {
    // A failure takes long here, and may not recur, so it is not shrunk.
    let config = ProptestConfig { max_shrink_iters: 0, ..ProptestConfig::with_cases(400) };
    check(config, |case| {
        let runtime = Builder::new_multi_thread().worker_threads(3).enable_all().build();
        runtime.expect("a runtime").block_on(in_time(case.play_over_tcp()))
    });
}
