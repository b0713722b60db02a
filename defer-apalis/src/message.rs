//! What is stored of a job.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use apalis_core::task::{Task, builder::TaskBuilder, task_id::TaskId};
use defer_core::queue::Envelope;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::IgnoredAny};

use crate::error::Error;

/// The last second of the year 9999. Some storages cannot keep later times.
const LAST_SECOND: u64 = 253_402_300_799;

/// A job as it is stored: the arguments of an apalis task. Give your storage this type.
///
/// All fields have plain types, so that any codec of apalis can write them. In JSON, all but `id`, `name` and `payload` may be left
/// out. A task in JSON that is something else is read as a message without a name, which the handler gives up: apalis would end
/// the worker (1.0.0).
///
/// ```
/// # use defer_apalis::Message;
/// let json = r#"{
///     "id": "01JZ0G3V5K7Q8C4T1N6H2XW9RB",
///     "name": "SendWelcome",
///     "payload": "{\"to\":\"ada@example.com\"}",
///     "metadata": { "route": "POST /sign-up" },
///     "status": 200,
///     "serial": null,
///     "tries": 3,
///     "attempts": 0,
///     "pushed_at": 1767225600000,
///     "delay": 0,
///     "pushes": 0,
///     "unread": 0
/// }"#;
/// let message: Message = serde_json::from_str(json)?;
/// assert_eq!(message.name, "SendWelcome");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
#[non_exhaustive]
pub struct Message {
    /// The job's id, a ULID.
    pub id: String,
    /// The name of the job type.
    pub name: String,
    /// The job as JSON, in a string.
    pub payload: String,
    /// What the job knows of its request: see [`Metadata`](defer_core::queue::Metadata).
    pub metadata: BTreeMap<String, String>,
    /// The status of the request's response, if there was one when the job was pushed.
    pub status: Option<u16>,
    /// The job's serial key.
    pub serial: Option<String>,
    /// How many attempts the program that pushed the job allows. The program that runs it decides.
    pub tries: u32,
    /// How many attempts the job has had.
    pub attempts: u32,
    /// When this message was pushed, in milliseconds since the start of 1970.
    pub pushed_at: u64,
    /// How long the job has to wait from then, in milliseconds.
    pub delay: u64,
    /// How many messages of the job came before this one. Each attempt and each snooze after the first is a message of its own.
    pub pushes: u32,
    /// How often in a row no worker could read the job.
    pub unread: u32,
}

impl Message {
    /// Describes a job.
    ///
    /// # Errors
    ///
    /// [`Error::NotKept`] if the job has an option that apalis cannot keep, and [`Error::NotText`] if its payload is not UTF-8.
    pub fn new(job: &Envelope) -> Result<Self, Error> {
        let options = [
            ("unique", job.unique.is_some()),
            ("replace", job.replace.is_some()),
            ("at_most_every", job.at_most.is_some()),
        ];
        if let Some((option, _)) = options.into_iter().find(|(_, is_set)| *is_set) {
            return Err(Error::NotKept { name: job.name.clone(), option });
        }
        let payload =
            String::from_utf8(job.payload.clone()).map_err(|_| Error::NotText { name: job.name.clone() })?;
        Ok(Self {
            id: job.id.to_string(),
            name: job.name.clone(),
            payload,
            metadata: job.metadata.clone(),
            status: job.status.map(|status| status.as_u16()),
            serial: job.serial.clone(),
            tries: job.policy.tries(),
            attempts: 0,
            pushed_at: now(),
            delay: millis(job.delay),
            pushes: 0,
            unread: 0,
        })
    }

    /// Returns the next message of the same job, due after this delay.
    pub(crate) fn next(mut self, delay: Duration) -> Self {
        self.pushed_at = now();
        self.delay = millis(delay);
        self.pushes = self.pushes.saturating_add(1);
        self
    }

    /// Returns the task to push. Its id and its idempotency key are the message's own: a storage that looks at either stores a
    /// message once, however often it is pushed.
    pub fn into_task(self) -> Task<Self> {
        // Not the job's id alone, because some storages would read that as a ULID, and the next message needs another one.
        let id = format!("{}-{}", self.id, self.pushes);
        let due = (self.delay > 0).then(|| self.due() / 1000);
        let task = TaskBuilder::new(self).idempotency_key(&id).task_id(TaskId::from_string(id));
        match due {
            Some(second) => task.run_at_timestamp(second.min(LAST_SECOND)).build(),
            None => task.build(),
        }
    }

    /// Returns how long it has to wait. A job without a delay never waits, however wrong the clock of its process was.
    pub(crate) fn due_in(&self) -> Option<Duration> {
        let left = self.due().saturating_sub(now());
        (self.delay > 0 && left > 0).then(|| Duration::from_millis(left))
    }

    /// Returns how long it has been due.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_millis(now().saturating_sub(self.due()))
    }

    fn due(&self) -> u64 {
        self.pushed_at.saturating_add(self.delay)
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Stored {
            Job(#[serde(with = "Message")] Message),
            Other(IgnoredAny),
        }
        // Other formats may not tell what they hold.
        if !deserializer.is_human_readable() {
            return Self::deserialize(deserializer);
        }
        Ok(match Stored::deserialize(deserializer)? {
            Stored::Job(message) => message,
            Stored::Other(_) => Self::default(),
        })
    }
}

fn now() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Rounds up, so that nothing is early.
fn millis(time: Duration) -> u64 {
    let is_broken = time.subsec_nanos() % 1_000_000 > 0;
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).saturating_add(u64::from(is_broken))
}
