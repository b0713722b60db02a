//! The process that responds.

use std::{process, sync::LazyLock, time::SystemTime};

use serde::Serialize;

use super::moment::Moment;

/// The process that responds, to distinguish several behind one address.
#[derive(Clone, Serialize)]
pub(crate) struct Process {
    pub(super) host: &'static str,
    pub(super) pid: u32,
    /// The service's version, if it was set.
    pub(super) version: Option<String>,
    /// The time at which the dashboard was created.
    pub(super) since: Moment,
}

static HOST: LazyLock<String> = LazyLock::new(|| {
    let host = std::env::var("HOSTNAME").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    host.unwrap_or_default().trim().to_owned()
});

impl Process {
    pub(crate) fn new(version: Option<String>, since: SystemTime) -> Self {
        Self { host: &HOST, pid: process::id(), version, since: Moment(since) }
    }
}

/// Returns whether a process of the queue is this one. Containers may have equal process ids, so this compares hosts too.
pub(super) fn is_this(of_queue: &defer_core::queue::Process) -> bool {
    of_queue.pid == process::id() && of_queue.host == *HOST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_the_same_id_on_another_host_is_another() {
        let of_queue = defer_core::queue::Process::new;
        assert!(is_this(&of_queue(HOST.as_str(), process::id())));
        assert!(!is_this(&of_queue("another-host", process::id())));
        assert!(!is_this(&of_queue(HOST.as_str(), process::id() + 1)));
    }
}
