//! The part of Tokio that `defer-core` uses, on shuttle's scheduler. A crate that depends on this one as `tokio` is compiled
//! against it.
//!
//! Tasks are shuttle's. `sync` is Tokio's own, and each call of it is one step. Time does not pass: a timer of less than
//! an hour fires after a random number of steps, so it may fire before or after anything else. A longer timer never
//! fires.

/// Tokio's own.
pub mod sync {
    pub use ::tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
}

/// The only runtime.
pub mod runtime {
    use std::future::Future;

    use crate::task::JoinHandle;

    /// A handle to the runtime.
    #[derive(Clone, Debug)]
    pub struct Handle(());

    /// The runtime's id.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Id(());

    /// Returns the handle. It always exists.
    #[derive(Debug)]
    pub enum TryCurrentError {}

    impl Handle {
        /// The runtime.
        pub fn current() -> Self {
            Self(())
        }

        /// The runtime.
        ///
        /// # Errors
        ///
        /// Never fails.
        pub fn try_current() -> Result<Self, TryCurrentError> {
            Ok(Self(()))
        }

        /// Returns the id of the runtime.
        pub fn id(&self) -> Id {
            Id(())
        }

        /// Spawns a task.
        pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
        where
            F: Future<Output: Send> + Send + 'static,
        {
            crate::task::spawn(future)
        }

        /// Runs a future on this thread.
        pub fn block_on<F: Future>(&self, future: F) -> F::Output {
            shuttle::future::block_on(future)
        }
    }
}

/// Tasks.
pub mod task {
    use std::{
        any::Any,
        error::Error,
        fmt::{self, Display, Formatter},
        future::Future,
        pin::Pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::{Context, Poll, ready},
    };

    pub use shuttle::future::{AbortHandle, yield_now};

    /// A handle to a task.
    #[derive(Debug)]
    pub struct JoinHandle<T>(shuttle::future::JoinHandle<T>);

    impl<T> JoinHandle<T> {
        /// Stops the task at its next `.await`.
        pub fn abort(&self) {
            self.0.abort();
        }

        /// A handle that can stop the task.
        pub fn abort_handle(&self) -> AbortHandle {
            self.0.abort_handle()
        }
    }

    impl<T> Future for JoinHandle<T> {
        type Output = Result<T, JoinError>;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).map_err(|_| JoinError(())))
        }
    }

    /// The task was stopped. A panic fails the whole schedule instead.
    #[derive(Debug)]
    pub struct JoinError(());

    impl JoinError {
        /// Returns false: a panic fails the whole schedule.
        pub fn is_panic(&self) -> bool {
            false
        }

        /// Returns the payload of the panic.
        pub fn into_panic(self) -> Box<dyn Any + Send> {
            Box::new(self)
        }
    }

    impl Display for JoinError {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            f.write_str("the task was stopped")
        }
    }

    impl Error for JoinError {}

    /// Returns the number of tasks. A schedule waits for them before its end, which drops what is left and cannot drop a task
    /// that holds a lock.
    pub fn alive() -> usize {
        ALIVE.load(Ordering::Relaxed)
    }

    static ALIVE: AtomicUsize = AtomicUsize::new(0);

    struct Alive;

    impl Alive {
        fn new() -> Self {
            ALIVE.fetch_add(1, Ordering::Relaxed);
            Self
        }
    }

    impl Drop for Alive {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Spawns a task.
    pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let alive = Alive::new();
        JoinHandle(shuttle::future::spawn(async move {
            // Dropped after the future, which the block around it holds.
            let _alive = alive;
            future.await
        }))
    }

    /// Spawns a task that does the work.
    pub fn spawn_blocking<F, T>(work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        spawn(async { work() })
    }

    /// Returns the future unchanged: nothing is constrained here.
    pub fn unconstrained<F: Future>(future: F) -> F {
        future
    }

    /// Lets others run first.
    pub async fn consume_budget() {
        yield_now().await;
    }
}

/// Timers.
pub mod time {
    use std::{
        error::Error,
        fmt::{self, Display, Formatter},
        future::{Future, poll_fn},
        pin::{Pin, pin},
        task::{Context, Poll},
        time::Duration,
    };

    use shuttle::rand::{Rng, thread_rng};

    pub use ::tokio::time::Instant;

    /// A timer that fires after some steps, or never.
    #[derive(Debug)]
    pub struct Sleep {
        steps: Option<usize>,
    }

    /// Creates a timer of this length.
    pub fn sleep(duration: Duration) -> Sleep {
        const NEVER: Duration = Duration::from_secs(3600);
        Sleep { steps: (duration < NEVER).then(|| thread_rng().gen_range(0..40)) }
    }

    impl Future for Sleep {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            match &mut self.steps {
                None => Poll::Pending,
                Some(0) => Poll::Ready(()),
                Some(steps) => {
                    *steps -= 1;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        }
    }

    /// The timer fired first.
    #[derive(Debug)]
    pub struct Elapsed(());

    impl Display for Elapsed {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            f.write_str("deadline has elapsed")
        }
    }

    impl Error for Elapsed {}

    /// Runs a future until a timer fires.
    ///
    /// # Errors
    ///
    /// If it fires first.
    pub async fn timeout<F: Future>(after: Duration, future: F) -> Result<F::Output, Elapsed> {
        let (mut future, mut timer) = (pin!(future), sleep(after));
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            Pin::new(&mut timer).poll(cx).map(|()| Err(Elapsed(())))
        })
        .await
    }
}
