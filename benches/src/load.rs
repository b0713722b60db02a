//! Requests from several tasks at once, on a runtime of several threads.

use std::fmt;

use defer_axum::Runner;
use tokio::runtime::{Builder, Runtime};

use crate::{Case, Drive, driver::Sender};

const SENDERS_PER_WORKER: usize = 2;

/// A case, and the number of threads.
#[derive(Clone, Copy, Debug)]
pub struct Workers {
    /// The runtime's worker threads.
    pub workers: usize,
    /// The case of each request.
    pub case: Case,
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.case, self.workers)
    }
}

/// Two tasks per worker thread that send requests, each waiting for its own jobs. All tasks share a runner.
#[derive(Debug)]
pub struct Load {
    runtime: Runtime,
    senders: Vec<Sender>,
}

impl Load {
    /// Creates a load on its own runtime.
    pub fn new(Workers { workers, case }: Workers) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(workers)
            .build()
            .expect("a runtime without drivers can be built");
        let runner = Runner::default();
        let senders = (0..workers * SENDERS_PER_WORKER).map(|_| Sender::new(case, &runner)).collect();
        Self { runtime, senders }
    }
}

impl Drive for Load {
    /// Sends at least this many requests, the same number from each task.
    fn run(&mut self, requests: u64) {
        let Self { runtime, senders } = self;
        let each = requests.div_ceil(senders.len() as u64);
        runtime.block_on(async {
            let run = |mut sender: Sender| {
                tokio::spawn(async move {
                    sender.run(each).await;
                    sender
                })
            };
            let tasks: Vec<_> = senders.drain(..).map(run).collect();
            for task in tasks {
                senders.push(task.await.expect("a request does not panic"));
            }
        });
    }
}
