//! The progress that a job reports.

use std::{fmt, io, sync::Arc};

use serde::{Serialize, Serializer, de::DeserializeOwned};

/// The progress of a job, as set with [`JobContext::set_progress`](crate::JobContext::set_progress). It is kept as JSON, so a
/// reader does not need its type.
///
/// Cloning is cheap. It serializes as the value that was set.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Progress(Arc<str>);

impl Progress {
    /// The maximum size of the JSON, in bytes.
    pub const MAX_JSON: usize = 4096;

    /// Writes a value as JSON.
    pub(crate) fn of(value: &impl Serialize) -> Result<Self, ProgressError> {
        let mut json = Bounded(Vec::new());
        match serde_json::to_writer(&mut json, value) {
            Ok(()) => {
                let json = String::from_utf8(json.0).expect("JSON is text");
                Ok(Self(json.into()))
            }
            Err(error) if error.is_io() => Err(ProgressError::TooLarge),
            Err(error) => Err(ProgressError::Unserializable(error)),
        }
    }

    /// Creates a progress from JSON that a queue has stored. Returns `None` if it is not valid JSON, or is longer than
    /// [`MAX_JSON`](Self::MAX_JSON) bytes.
    pub fn from_json(json: &str) -> Option<Self> {
        let is_json = || serde_json::from_str::<serde::de::IgnoredAny>(json).is_ok();
        (json.len() <= Self::MAX_JSON && is_json()).then(|| Self(json.into()))
    }

    /// Deserializes the value as this type.
    ///
    /// # Errors
    ///
    /// If the JSON is not a valid `T`.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// Returns the value as JSON.
    pub fn json(&self) -> &str {
        &self.0
    }
}

/// Shows the JSON.
impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Progress({})", self.0)
    }
}

impl Serialize for Progress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: serde_json::Value = self.get().map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }
}

/// The error returned if the progress of a job cannot be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgressError {
    /// The value is too large.
    #[error("the progress is longer than {max} bytes as JSON: set a smaller value", max = Progress::MAX_JSON)]
    TooLarge,
    /// The value cannot be serialized as JSON.
    #[error("the progress cannot be written as JSON: {0}")]
    Unserializable(#[source] serde_json::Error),
}

/// Accepts as many bytes as a progress may have, and then fails, so that a large value is not written completely.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > Progress::MAX_JSON {
            return Err(io::Error::other("too large"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_reads_as_what_was_set() {
        let progress = Progress::of(&json!({"done": 3, "of": 10})).unwrap();
        assert_eq!(progress.json(), r#"{"done":3,"of":10}"#);
        assert_eq!(format!("{progress:?}"), r#"Progress({"done":3,"of":10})"#);
        assert_eq!(serde_json::to_string(&progress).unwrap(), progress.json());
        assert_eq!(progress.get::<serde_json::Value>().unwrap(), json!({"done": 3, "of": 10}));
        assert!(progress.get::<u32>().is_err());
        assert_eq!(Progress::of(&7).unwrap().get::<u32>().unwrap(), 7);
    }

    #[test]
    fn one_that_is_too_large_or_no_json_is_refused_and_why() {
        let text = |bytes| "x".repeat(bytes);
        assert!(Progress::of(&text(Progress::MAX_JSON - 2)).is_ok(), "with its quotes as long as it may be");
        let error = Progress::of(&text(Progress::MAX_JSON - 1)).unwrap_err();
        assert_eq!(error.to_string(), "the progress is longer than 4096 bytes as JSON: set a smaller value");
        let keys_are_no_text = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = Progress::of(&keys_are_no_text).unwrap_err();
        assert!(error.to_string().starts_with("the progress cannot be written as JSON: "), "{error}");
    }

    #[test]
    fn what_a_queue_stored_is_taken_only_if_it_is_json_of_that_length() {
        assert_eq!(Progress::from_json("[1]").unwrap().json(), "[1]");
        assert!(Progress::from_json("[1").is_none());
        assert!(Progress::from_json(&format!("\"{}\"", "x".repeat(Progress::MAX_JSON))).is_none());
    }
}
