//! The id of a job.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, Hasher},
    str::FromStr,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Identifies a job from its deferral to its end. A job keeps its id on a queue, and in every process. Use it as an idempotency
/// key if the other side must not act on the same job twice.
///
/// `Display` writes it as a [ULID]: 26 letters and digits. The first part combines the time of the process's first id with 40
/// random bits. The second part counts, so the ids of one process sort in the order in which its jobs were deferred.
///
/// [ULID]: https://github.com/ulid/spec
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId {
    // Not one `u128`, which would be aligned to 16 bytes.
    high: u64,
    low: u64,
}

/// The number of low bits that count the jobs of a process.
const COUNTER_BITS: u32 = 40;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 26;

impl JobId {
    /// Creates a new id, which no other job has or will get.
    pub fn unique() -> Self {
        Self::next()
    }

    pub(crate) fn next() -> Self {
        static PROCESS: LazyLock<JobId> = LazyLock::new(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            // Seeded by the operating system.
            let random = RandomState::new().build_hasher().finish();
            JobId::from((now.as_millis() << 80) | (u128::from(random >> (64 - 40)) << COUNTER_BITS))
        });
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let Self { high, low } = *PROCESS;
        Self { high, low: low.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) }
    }
}

impl From<u128> for JobId {
    fn from(id: u128) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "each is one half")]
        Self { high: (id >> 64) as u64, low: id as u64 }
    }
}

impl From<JobId> for u128 {
    fn from(id: JobId) -> Self {
        Self::from(id.high) << 64 | Self::from(id.low)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u128::from(*self);
        let mut text = [0; LENGTH];
        for (at, letter) in text.iter_mut().enumerate() {
            *letter = ALPHABET[(id >> (5 * (LENGTH - 1 - at)) & 31) as usize];
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({self})")
    }
}

/// The text is not a [`JobId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job's id has 26 letters and digits, like a ULID")]
#[non_exhaustive]
pub struct InvalidJobId;

impl FromStr for JobId {
    type Err = InvalidJobId;

    /// Parses an id in the form that [`Display`](fmt::Display) writes. Also accepts lowercase letters.
    fn from_str(text: &str) -> Result<Self, InvalidJobId> {
        // 26 letters have room for 130 bits.
        if text.len() != LENGTH || text.as_bytes()[0] > b'7' {
            return Err(InvalidJobId);
        }
        let id = text.bytes().try_fold(0_u128, |id, letter| {
            let value = ALPHABET.iter().position(|known| *known == letter.to_ascii_uppercase());
            value.map(|value| id << 5 | value as u128)
        });
        id.map(Self::from).ok_or(InvalidJobId)
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_id_is_read_as_it_is_written_also_as_json(id: u128) {
            let id = JobId::from(id);
            prop_assert_eq!(u128::from(id), u128::from(id.to_string().parse::<JobId>().unwrap()));
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<JobId>(&json).unwrap(), id);
        }

        /// A text as long as an id, something close to an id, or any text.
        #[test]
        fn any_text_is_an_id_that_is_written_so_or_is_refused(
            text in prop_oneof![".*", ".{26}", "[0-9a-zA-Z]{26}", "[0-7][0-9A-HJKMNP-TV-Z]{25}"],
        ) {
            match text.parse::<JobId>() {
                Ok(id) => prop_assert_eq!(id.to_string(), text.to_ascii_uppercase()),
                Err(InvalidJobId) => {
                    let is_short = text.len() != LENGTH;
                    let is_strange = !text.bytes().all(|c| ALPHABET.contains(&c.to_ascii_uppercase()));
                    prop_assert!(is_short || is_strange || text.as_bytes()[0] > b'7', "{}", text);
                }
            }
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(serde_json::from_str::<JobId>(&json).ok(), text.parse().ok());
        }

        #[test]
        fn ids_sort_as_their_texts_do(one: u128, other: u128) {
            let (one, other) = (JobId::from(one), JobId::from(other));
            prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
        }
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let (first, second) = (JobId::next(), JobId::next());
        assert!(first < second);
        for id in [first, second, JobId::from(0), JobId::from(u128::MAX)] {
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.to_string().to_lowercase().parse(), Ok(id));
        }
        assert_eq!(JobId::from(u128::MAX).to_string(), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in
            ["", "1", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "0000000000000000000000000U", "é000000000000000000000000"]
        {
            assert_eq!(text.parse::<JobId>(), Err(InvalidJobId), "{text}");
        }
    }
}
