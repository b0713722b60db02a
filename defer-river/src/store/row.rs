//! A job as it is written into `river_job`.

use std::time::Duration;

use defer_core::{BoxError, Condition, Deferrable, JobId, Policy, queue::Envelope};
use riverqueue::{UniqueOpts, jiff::Timestamp, protocol};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::to_raw_value};

use super::{interval::after, stored::Defer};
use crate::error::Error;

/// How many bytes of an error are stored.
const MAX_ERROR: usize = 4096;
/// How many times a job's process may die while it runs. River counts these attempts.
const DEATHS: u32 = 10;

/// A row to insert.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: JobId,
    kind: String,
    queue: String,
    /// JSON, as a text.
    args: String,
    defer: Defer,
    max_attempts: u32,
    priority: i16,
    /// Its state, if it is not the one of a job that waits.
    state: Option<&'static str>,
    delay: Duration,
    pub(super) unique: Option<String>,
}

impl Row {
    /// Returns the row of a job that is ready.
    pub(crate) fn new(job: Envelope, queue: &str, max_payload: usize) -> Result<Self, Error> {
        let refuse = |reason: &str| Err(Error::Encode(reason.into()));
        if job.serial.is_some() || job.at_most.is_some() || job.replace.is_some() {
            return refuse("River has neither serial keys, nor `at_most_every`, nor `replace`");
        }
        if job.name.is_empty() || job.name.len() > 127 || job.name.contains('\0') {
            return refuse("its name is not a kind of River's, which has 1 to 127 bytes and no NUL");
        }
        if job.payload.len() > max_payload {
            let (size, max) = (job.payload.len(), max_payload);
            return refuse(&format!("it has {size} bytes, and the queue takes {max}: see `max_payload`"));
        }
        let args = String::from_utf8(job.payload).map_err(|error| Error::Encode(error.into()))?;
        let mut defer = Defer::new(job.id, &job.metadata).map_err(|error| Error::Encode(error.into()))?;
        defer.condition = match job.condition {
            Condition::Success => Some("success".to_owned()),
            Condition::When => Some("when".to_owned()),
            _ => None,
        };
        defer.status = job.status.map(|status| status.as_u16());
        Ok(Self {
            id: job.id,
            kind: job.name,
            queue: queue.to_owned(),
            args: storable(args),
            defer,
            max_attempts: max_attempts(&job.policy),
            priority: priority(job.policy.priority()),
            state: None,
            delay: job.delay,
            unique: job.unique.as_deref().map(unique_key).transpose()?,
        })
    }

    /// Returns the row of a job that is not deferred.
    pub(crate) fn of_job<J: Deferrable + Serialize>(
        job: &J,
        queue: &str,
        max_payload: usize,
    ) -> Result<Self, Error> {
        let payload = serde_json::to_vec(job).map_err(|error| Error::Encode(error.into()))?;
        Self::new(Envelope::new(JobId::unique(), J::NAME, J::POLICY, payload), queue, max_payload)
    }

    /// Lets a process hold it: nobody takes it before that process says so, or is dead.
    pub(crate) fn held_by(mut self, holder: &str) -> Self {
        self.state = Some("pending");
        self.defer.holder = Some(holder.to_owned());
        // Held jobs leave nobody out: the key is claimed when the job becomes ready.
        self.unique = None;
        self
    }

    /// Leaves it out, because another job has its unique key.
    pub(super) fn duplicate_of(mut self, other: String) -> Self {
        self.state = Some("cancelled");
        self.defer.ended = Some("duplicate".to_owned());
        self.defer.of = Some(other);
        self.unique = None;
        self
    }

    /// Returns it as the statement reads it.
    pub(super) fn written(&self) -> serde_json::Value {
        let (after, is_scheduled) = after(self.delay);
        json!({
            "id": self.id,
            "kind": self.kind,
            "queue": self.queue,
            "args": self.args,
            "metadata": json!({ "defer": self.defer }).to_string(),
            "max_attempts": self.max_attempts,
            "priority": self.priority,
            "state": self.state,
            "after": after,
            "is_scheduled": is_scheduled,
            "unique": self.unique,
        })
    }

    /// Returns about how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        self.args.len() + 512
    }

    pub(crate) fn set_delay(&mut self, delay: Duration) {
        self.delay = delay;
    }

    pub(crate) fn set_priority(&mut self, of_policy: i16) {
        self.priority = priority(of_policy);
    }

    pub(crate) fn set_unique(&mut self, key: &str) -> Result<(), Error> {
        self.unique = Some(unique_key(key)?);
        Ok(())
    }
}

/// River's priorities go from 1, which is taken first, to 4. Ours go both ways from 0.
fn priority(of_policy: i16) -> i16 {
    2_i16.saturating_sub(of_policy).clamp(1, 4)
}

fn max_attempts(policy: &Policy) -> u32 {
    policy.tries().saturating_add(DEATHS).min(i16::MAX.unsigned_abs().into())
}

/// Returns the key that River stores for a unique key of ours, in hexadecimal.
pub(crate) fn unique_key(key: &str) -> Result<String, Error> {
    let encode = |error: BoxError| Error::Encode(error);
    let args = to_raw_value(&json!({ "unique": key })).map_err(|error| encode(error.into()))?;
    let input = protocol::UniqueKeyInput {
        encoded_args: &args,
        kind: "defer",
        now: Timestamp::UNIX_EPOCH,
        opts: &UniqueOpts::new().with_by_args(true),
        queue: "",
        scheduled_at: None,
        unique_fields: &[],
    };
    let key = protocol::unique_key(&input).map_err(|error| encode(error.into()))?.unwrap_or_default();
    Ok(key.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Returns a text that every database stores: Postgres has no NUL.
pub(crate) fn text(text: &str) -> String {
    let end = (0..=text.len().min(MAX_ERROR)).rev().find(|at| text.is_char_boundary(*at));
    text[..end.unwrap_or_default()].replace('\0', "\u{fffd}")
}

/// How a JSON text is stored that has a NUL somewhere, which Postgres' `jsonb` refuses.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    defer_json: String,
}

/// Returns JSON as both databases store it.
fn storable(json: String) -> String {
    // A text that only looks like it is wrapped too, so that whatever is wrapped is unwrapped.
    if !json.contains("\\u0000") && !json.contains("defer_json") {
        return json;
    }
    serde_json::to_string(&Wrapped { defer_json: json }).unwrap_or_default()
}

/// Returns the payload of a job from its `args`.
pub(crate) fn payload(args: &str) -> Vec<u8> {
    let wrapped = args.contains("defer_json").then(|| serde_json::from_str::<Wrapped>(args).ok()).flatten();
    wrapped.map_or_else(|| args.to_owned(), |wrapped| wrapped.defer_json).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_read_as_it_was_written_and_is_stored_without_a_nul() {
        let texts = [
            r#"{"to":"ada"}"#,
            r#"{"to":"a\u0000b"}"#,
            r#"{"to":"\\u0000"}"#,
            r#"{"defer_json":"1"}"#,
            "null",
        ];
        for text in texts {
            let stored = storable(text.to_owned());
            assert_eq!(payload(&stored), text.as_bytes(), "{text}");
            let unescaped = stored.replace("\\\\", "");
            assert!(!unescaped.contains("\\u0000"), "Postgres would refuse {stored}");
        }
        assert_eq!(storable(texts[0].to_owned()), texts[0], "others read it as it is");
    }

    #[test]
    fn a_long_error_is_cut_between_two_characters_and_has_no_nul() {
        let stored = text(&format!("\0{}", "ä".repeat(5_000)));
        assert!(stored.starts_with('\u{fffd}') && stored.len() <= MAX_ERROR + 2 && stored.ends_with('ä'));
    }

    #[test]
    fn a_higher_priority_of_ours_is_a_lower_number_of_rivers() {
        assert_eq!([i16::MIN, -1, 0, 1, i16::MAX].map(priority), [4, 3, 2, 1, 1]);
    }
}
