//! Points in time.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Serialize, Serializer};

/// A point in time, serialized as in RFC 3339, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) SystemTime);

impl Moment {
    /// Returns the moment that long ago.
    pub(super) fn ago(time: Duration) -> Self {
        Self(SystemTime::now().checked_sub(time).unwrap_or(SystemTime::UNIX_EPOCH))
    }

    /// Formats it as a `time` element. The script shows it in the reader's time zone.
    pub(super) fn html(self) -> String {
        let second = humantime::format_rfc3339_seconds(self.0);
        format!("<time datetime=\"{second}\">{second}</time>")
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis(self.0).fmt(f)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
