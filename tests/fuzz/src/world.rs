//! The state that the handlers, bodies and jobs of one case share: their gates, and the record of what they did.

use std::{
    future::poll_fn,
    panic::resume_unwind,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use axum::Router;
use bytes::Bytes;
use defer_axum::{Delivery, JobError, ResponseInfo, defer_fn};
use defer_tests::Pipe;

use crate::{
    case::{Exchange, Outcome},
    generate::MAX_SIZE,
};

/// The buffer that responses share.
static CACHED: LazyLock<Bytes> = LazyLock::new(|| vec![b'x'; MAX_SIZE].into());

/// The origin of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Handler,
    Stream,
    /// The handler of a request made within this process.
    Inner,
    /// A layer outside the handler's `DeferLayer`, within another one.
    Outer,
}

/// A job: the number of its request, where it was deferred, and its number among all jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JobKey {
    pub(crate) n: usize,
    pub(crate) place: Place,
    number: usize,
}

/// The response as a job saw it, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) job: JobKey,
    pub(crate) delivery: Delivery,
    pub(crate) status: Option<u16>,
    pub(crate) bytes: usize,
    /// The number of bytes that the connection had accepted and flushed.
    pub(crate) flushed: usize,
}

/// Clones share one world.
#[derive(Clone, Debug)]
pub(crate) struct World(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pipe: Pipe,
    exchanges: Vec<Exchange>,
    inner: Mutex<Option<Router>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) deferred: Vec<JobKey>,
    /// The jobs whose condition was checked.
    pub(crate) asked: Vec<Told>,
    /// The jobs that ran.
    pub(crate) ran: Vec<Told>,
    /// The number of jobs that were told to fail or to panic.
    pub(crate) failing: u64,
    /// How many more times the n-th request may pass its gate.
    passes: Vec<usize>,
    open: bool,
    wakers: Vec<Waker>,
}

impl World {
    pub(crate) fn new(pipe: &Pipe, exchanges: Vec<Exchange>) -> Self {
        let state = State { passes: vec![0; exchanges.len()], ..State::default() };
        Self(Arc::new(Shared {
            pipe: pipe.clone(),
            exchanges,
            inner: Mutex::default(),
            state: Mutex::new(state),
        }))
    }

    pub(crate) fn exchange(&self, n: usize) -> &Exchange {
        &self.0.exchanges[n]
    }

    /// Returns the number of requests in the case.
    pub(crate) fn requests(&self) -> usize {
        self.0.exchanges.len()
    }

    /// Returns the first bytes of the shared buffer.
    pub(crate) fn cached(&self, size: usize) -> Bytes {
        CACHED.slice(..size)
    }

    /// The router for requests made within this process. It holds this world, so it is removed in the end.
    pub(crate) fn inner(&self) -> MutexGuard<'_, Option<Router>> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Defers a job that records what it is told.
    pub(crate) fn defer(&self, n: usize, place: Place) {
        let answer = &self.exchange(n).answer;
        let job = {
            let mut state = self.state();
            let job = JobKey { n, place, number: state.deferred.len() };
            state.deferred.push(job);
            state.failing += u64::from(answer.outcome != Outcome::Succeeds);
            job
        };
        let (world, outcome) = (self.clone(), answer.outcome);
        let deferred = defer_fn(move |cx| async move {
            let told = world.told(job, cx.response().expect("a request's job"));
            world.state().ran.push(told);
            match outcome {
                Outcome::Succeeds => Ok(()),
                Outcome::Fails => Err(JobError::msg("no such address")),
                Outcome::Panics => resume_unwind(Box::new("a job")),
            }
        });
        if answer.conditional {
            let world = self.clone();
            deferred.when(move |response| {
                let told = world.told(job, response);
                world.state().asked.push(told);
                true
            });
        }
    }

    fn told(&self, job: JobKey, response: &ResponseInfo) -> Told {
        Told {
            job,
            delivery: response.delivery(),
            status: response.status().map(|status| status.as_u16()),
            bytes: response.bytes_sent() as usize,
            flushed: self.0.pipe.flushed(),
        }
    }

    /// Waits until the n-th request is fed.
    pub(crate) async fn pass(&self, n: usize) {
        poll_fn(|cx| self.poll_pass(n, cx)).await;
    }

    pub(crate) fn poll_pass(&self, n: usize, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.open {
            return Poll::Ready(());
        }
        if let Some(left) = state.passes[n].checked_sub(1) {
            state.passes[n] = left;
            return Poll::Ready(());
        }
        state.wakers.push(cx.waker().clone());
        Poll::Pending
    }

    /// Lets the n-th request pass its gate this many times more.
    pub(crate) fn feed(&self, n: usize, times: usize) {
        self.change(|state| {
            if let Some(passes) = state.passes.get_mut(n) {
                *passes += times;
            }
        });
    }

    /// Opens every gate from now on.
    pub(crate) fn open(&self) {
        self.change(|state| state.open = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}
