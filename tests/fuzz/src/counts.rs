//! Counts of the events that were played.

use std::{
    fmt::{self, Display, Formatter},
    ops::AddAssign,
};

macro_rules! counts {
    ($($name:ident $label:literal,)*) => {
        /// Counts of the events that were played.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counts {
            $(
                #[doc = $label]
                pub $name: u64,
            )*
        }

        impl Counts {
            fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![$(($label, self.$name)),*]
            }
        }

        impl AddAssign for Counts {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counts! {
    cases "cases",
    steps "steps",
    requests "requests",
    responses "responses that ended",
    jobs "jobs",
    sent "jobs told: sent",
    finished "jobs told: finished",
    disconnected "jobs told: disconnected",
    failed "jobs told: failed",
    cancelled "jobs told: cancelled",
    panicked "jobs told: panicked",
    unfinished "jobs told: unfinished",
    failing "jobs that failed or panicked",
    bytes "bytes written",
    blocked_flushes "times flushes were held",
    breaks "connections broken or left",
    shutdowns "graceful shutdowns",
    waits "times of more than a close timeout",
    resets "streams reset",
    window_updates "window updates",
    misuses "violations of the protocol",
}

/// The counts of each protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByProtocol {
    /// The counts of HTTP/1.
    pub http1: Counts,
    /// The counts of HTTP/2.
    pub http2: Counts,
}

/// Formats the counts as a Markdown table.
impl Display for ByProtocol {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {:30} | {:>15} | {:>15} |", "", "HTTP/1", "HTTP/2")?;
        writeln!(f, "|:{0:-<30}-|-{0:->15}:|-{0:->15}:|", "")?;
        for ((label, http1), (_, http2)) in self.http1.rows().into_iter().zip(self.http2.rows()) {
            writeln!(f, "| {label:30} | {http1:>15} | {http2:>15} |")?;
        }
        Ok(())
    }
}
