//! Releases the jobs of a response that takes too long.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time,
};

use defer_core::{Delivery, JobList};
use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use crate::capture::{ResponseHead, response_info};

/// Returns how many bytes of a body the operating system has accepted, perhaps including some that follow it.
pub(crate) type Taken = Box<dyn Fn() -> u64 + Send>;

/// Releases jobs at an instant, unless this is dropped earlier.
pub(crate) struct Deadline {
    seen: Arc<Mutex<Seen>>,
    task: AbortHandle,
}

/// The parts of the response that are known so far.
struct Seen {
    head: Option<ResponseHead>,
    /// The number of bytes that the body has yielded.
    bytes: u64,
    taken: Option<Taken>,
}

impl Deadline {
    #[cold]
    pub(crate) fn new(
        at: Instant,
        list: &Arc<JobList>,
        received: time::Instant,
        head: Option<ResponseHead>,
    ) -> Option<Box<Self>> {
        // A request may be polled to its end outside a runtime.
        let runtime = Handle::try_current().ok()?;
        let seen = Arc::new(Mutex::new(Seen { head, bytes: 0, taken: None }));
        let (list, of_task) = (list.clone(), seen.clone());
        let task = runtime.spawn(async move {
            sleep_until(at).await;
            let response = {
                let seen = lock(&of_task);
                let taken = seen.taken.as_ref().map_or(u64::MAX, |taken| taken());
                let bytes = seen.bytes.min(taken);
                response_info(Delivery::Unfinished, seen.head.clone(), bytes, received)
            };
            list.release(Some(response));
        });
        Some(Box::new(Self { seen, task: task.abort_handle() }))
    }

    #[cold]
    pub(crate) fn saw_head(&self, head: Option<ResponseHead>) {
        lock(&self.seen).head = head;
    }

    /// Sets the function that counts how much of the body was accepted.
    #[cold]
    pub(crate) fn counts_with(&self, taken: impl FnOnce() -> Taken) {
        lock(&self.seen).taken.get_or_insert_with(taken);
    }

    #[cold]
    pub(crate) fn yielded(&self, bytes: u64) {
        lock(&self.seen).bytes = bytes;
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
