//! Creates timers, on a runtime that may have none.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    time::Duration,
};

use tokio::time::Sleep;

use super::panic::drop_quietly;

/// The runtime has no timer.
#[derive(Debug, thiserror::Error)]
#[error(
    "the runtime has no timer, which a job with a timeout, a backoff or a delay needs: build it with `enable_time` or \
     `enable_all`"
)]
pub(crate) struct NoTimer;

/// Creates a timer. Returns an error on a runtime without timers, where Tokio panics.
pub(crate) fn timer(duration: Duration) -> Result<Pin<Box<Sleep>>, NoTimer> {
    boxed_timer(|| tokio::time::sleep(duration))
}

/// Creates a value that contains a timer, like [`timer`].
pub(crate) fn boxed_timer<T>(new: impl FnOnce() -> T) -> Result<Pin<Box<T>>, NoTimer> {
    catch_unwind(AssertUnwindSafe(|| Box::pin(new()))).map_err(|panic| {
        drop_quietly(panic);
        NoTimer
    })
}
