//! Whether a runner is shut down, or soon will be.

use tokio::sync::watch;

/// How far the shutdown of a runner has got.
#[derive(Debug)]
pub(crate) struct Shutdown {
    phase: watch::Sender<Phase>,
}

/// Each follows the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    Announced,
    Begun,
}

impl Shutdown {
    pub(super) fn new() -> Self {
        Self { phase: watch::Sender::new(Phase::Open) }
    }

    pub(crate) fn announce(&self) {
        self.enter(Phase::Announced);
    }

    pub(crate) fn begin(&self) {
        self.enter(Phase::Begun);
    }

    pub(crate) fn is_announced(&self) -> bool {
        *self.phase.borrow() >= Phase::Announced
    }

    pub(crate) fn has_begun(&self) -> bool {
        *self.phase.borrow() >= Phase::Begun
    }

    pub(crate) async fn announced(&self) {
        self.reached(Phase::Announced).await;
    }

    pub(crate) async fn begun(&self) {
        self.reached(Phase::Begun).await;
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let is_later = phase > *now;
            *now = phase.max(*now);
            is_later
        });
    }

    async fn reached(&self, phase: Phase) {
        // An error means that the sender is gone, and it is borrowed here.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }
}
