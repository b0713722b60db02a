//! Pushes that wait at the same time share a commit, and so one write to the disk.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use defer_core::{BoxError, queue::Envelope};
use tokio::sync::oneshot;

use crate::{error::Error, store::Store};

/// How many jobs are stored by one commit, unless one push brings more.
const MOST: usize = 1_000;

/// The pushes that wait for a commit.
#[derive(Debug, Default)]
pub(crate) struct Commits(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Push>,
    /// A task is committing, and takes what waits next.
    is_active: bool,
}

#[derive(Debug)]
struct Push {
    jobs: Vec<Envelope>,
    done: oneshot::Sender<Result<(), Arc<Error>>>,
}

impl Commits {
    /// Stores jobs, with those of others.
    ///
    /// Dropped, it does not take back what it has brought.
    pub(crate) async fn push(
        self: &Arc<Self>,
        store: &Arc<dyn Store>,
        jobs: Vec<Envelope>,
    ) -> Result<(), BoxError> {
        let (done, committed) = oneshot::channel();
        let begins = {
            let mut state = self.lock();
            state.waiting.push(Push { jobs, done });
            !mem::replace(&mut state.is_active, true)
        };
        if begins {
            let committing = Committing { commits: self.clone(), is_over: false };
            drop(tokio::spawn(committing.run(store.clone())));
        }
        match committed.await {
            Ok(result) => result.map_err(|error| error.to_string().into()),
            Err(_) => Err("the runtime stopped before the jobs were stored".into()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the pushes of the next commit. Without any, nobody commits any more.
    fn next(&self) -> Vec<Push> {
        let mut state = self.lock();
        let mut jobs = 0;
        let mut fits = |push: &Push| {
            jobs += push.jobs.len();
            jobs <= MOST
        };
        let count = state.waiting.iter().take_while(|push| fits(push)).count().max(1);
        let count = count.min(state.waiting.len());
        state.is_active = count > 0;
        state.waiting.drain(..count).collect()
    }
}

/// The task that commits. Dropped early, it fails those that wait, and lets another begin.
struct Committing {
    commits: Arc<Commits>,
    is_over: bool,
}

impl Committing {
    async fn run(mut self, store: Arc<dyn Store>) {
        loop {
            let pushes = self.commits.next();
            if pushes.is_empty() {
                break;
            }
            commit(&*store, pushes).await;
        }
        self.is_over = true;
    }
}

impl Drop for Committing {
    fn drop(&mut self) {
        if !self.is_over {
            let mut state = self.commits.lock();
            state.is_active = false;
            let waiting = mem::take(&mut state.waiting);
            drop(state);
            drop(waiting);
        }
    }
}

async fn commit(store: &dyn Store, mut pushes: Vec<Push>) {
    let jobs: Vec<Envelope> = pushes.iter_mut().flat_map(|push| mem::take(&mut push.jobs)).collect();
    let result = store.push(&jobs).await.map_err(Arc::new);
    for push in pushes {
        let _ = push.done.send(result.clone());
    }
}
