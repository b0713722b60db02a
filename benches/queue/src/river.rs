//! The service that is measured, with its jobs worked by River.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{Router, routing::post};
use defer_axum::{DeferLayer, Runner};
use defer_river::RiverQueue;
use tokio::{net::TcpListener, sync::oneshot};

use crate::{
    client::load,
    place::Place,
    service::{LASTS, Through, through_the_queue},
};

/// A server with a worker of River's beside it.
pub(crate) struct Service {
    address: SocketAddr,
    runner: Runner,
    /// Dropped, the server and the worker stop.
    _stop: oneshot::Sender<()>,
}

impl Service {
    pub(crate) async fn start(place: &Place) -> Self {
        let queue = RiverQueue::connect(&place.url).await.unwrap();
        let runner = Runner::builder().queue(queue.clone()).build();
        let (stop, stopped) = oneshot::channel();
        let worker = queue.worker(runner.clone()).job::<Through>().concurrency(256);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new()
            .route("/through/{number}", post(through_the_queue))
            .layer(DeferLayer::new(runner.clone()));
        let serving = defer_axum::serve(listener, app)
            .with_graceful_shutdown(async { drop(stopped.await) })
            .with_worker(worker);
        tokio::spawn(async { drop(serving.await.unwrap()) });
        Self { address, runner, _stop: stop }
    }

    /// Returns how many requests are answered in a second, with their jobs run and settled.
    pub(crate) async fn rate(&self, connections: usize) -> f64 {
        let before = self.runner.stats().succeeded;
        let begun = Instant::now();
        let answered = load(self.address, "through", connections, LASTS, Duration::ZERO).await;
        while self.runner.stats().succeeded - before < answered.into() {
            // Polled: nobody tells that the last of so many has ended.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        f64::from(answered) / begun.elapsed().as_secs_f64()
    }
}
