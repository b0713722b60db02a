//! The columns of the job types' figures.

use serde::Deserialize;

/// The column by which the types are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Column {
    /// Types that failed recently come first.
    #[default]
    #[serde(alias = "")]
    Failing,
    Name,
    Rate,
    Deferred,
    Taken,
    Unfinished,
    Succeeded,
    Failed,
    Retried,
    Skipped,
    Cancelled,
    Shed,
    Queued,
    Abandoned,
    Ran,
    Waited,
}

impl Column {
    /// Returns the name in a query, which is empty for the default.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "",
            Self::Name => "name",
            Self::Rate => "rate",
            Self::Deferred => "deferred",
            Self::Taken => "taken",
            Self::Unfinished => "unfinished",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Retried => "retried",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Shed => "shed",
            Self::Queued => "queued",
            Self::Abandoned => "abandoned",
            Self::Ran => "ran",
            Self::Waited => "waited",
        }
    }
}
