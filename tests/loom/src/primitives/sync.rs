//! The items of `defer-core/src/sync.rs`, built on loom.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use loom::sync::MutexGuard;

pub(crate) use loom::sync::Mutex;

pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread of a model panics")
}

/// The part of Tokio's `oneshot` that the sources use.
pub(crate) mod oneshot {
    use super::{Context, Future, Mutex, Pin, Poll, Waker, lock};
    use loom::sync::Arc;

    struct State<T> {
        value: Option<T>,
        waker: Option<Waker>,
        closed: bool,
    }

    pub(crate) struct Sender<T>(Arc<Mutex<State<T>>>);

    pub(crate) struct Receiver<T>(Arc<Mutex<State<T>>>);

    #[derive(Debug)]
    pub(crate) struct Closed;

    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let state = Arc::new(Mutex::new(State { value: None, waker: None, closed: false }));
        (Sender(state.clone()), Receiver(state))
    }

    impl<T> Sender<T> {
        pub(crate) fn send(self, value: T) -> Result<(), T> {
            let mut state = lock(&self.0);
            if state.closed {
                return Err(value);
            }
            state.value = Some(value);
            let waker = state.waker.take();
            drop(state);
            waker.into_iter().for_each(Waker::wake);
            Ok(())
        }
    }

    impl<T> Future for Receiver<T> {
        type Output = Result<T, Closed>;

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            let mut state = lock(&self.0);
            match state.value.take() {
                Some(value) => Poll::Ready(Ok(value)),
                None => {
                    state.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            let value = {
                let mut state = lock(&self.0);
                state.closed = true;
                state.value.take()
            };
            // Outside the lock: dropping what was sent may send again.
            drop(value);
        }
    }
}

/// The part of Tokio's `Notify` that the sources use. A future receives each notification sent after its creation, polled or not.
#[derive(Debug, Default)]
pub(crate) struct Notify(Mutex<Notifications>);

#[derive(Debug, Default)]
struct Notifications {
    sent: usize,
    wakers: Vec<Waker>,
}

impl Notify {
    pub(crate) fn notify_waiters(&self) {
        let wakers = {
            let mut state = lock(&self.0);
            state.sent += 1;
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn notified(&self) -> Notified<'_> {
        Notified { notify: self, seen: lock(&self.0).sent }
    }
}

pub(crate) struct Notified<'a> {
    notify: &'a Notify,
    seen: usize,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.notify.0);
        if state.sent > self.seen {
            return Poll::Ready(());
        }
        state.wakers.push(cx.waker().clone());
        Poll::Pending
    }
}
