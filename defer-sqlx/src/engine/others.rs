//! The other holders of the queue, as seen by this process.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::identity::DEAD_AFTER;
use crate::store::HolderId;

/// The number of the judge's answered beats through which a count has to stay unchanged.
const BEATS: u32 = 4;

/// The other holders, as seen by this process's own beats.
#[derive(Default)]
pub(super) struct Others(Mutex<HashMap<HolderId, Seen>>);

/// The last observation of another holder.
struct Seen {
    count: i64,
    since: Instant,
    beats: u32,
}

impl Others {
    /// Records the counts that a beat returned. Returns the holders that are dead by the beats of this process.
    pub(super) fn judge(&self, now: Instant, counts: Vec<(HolderId, i64)>) -> Vec<(HolderId, i64)> {
        let mut others = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        others.retain(|holder, _| counts.iter().any(|(known, _)| known == holder));
        let mut dead = Vec::new();
        for (holder, count) in counts {
            let seen = others.entry(holder.clone()).or_insert(Seen { count, since: now, beats: 0 });
            if seen.count != count {
                *seen = Seen { count, since: now, beats: 0 };
            }
            seen.beats += 1;
            // The first beat saw the count. Each later one saw that it had not changed.
            if seen.beats > BEATS && now.saturating_duration_since(seen.since) >= DEAD_AFTER {
                dead.push((holder, count));
            }
        }
        dead
    }

    /// Returns how long this process has seen a holder's count at this value.
    pub(super) fn silent_for(&self, now: Instant, holder: &str, count: i64) -> Duration {
        let others = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = others.get(holder).filter(|seen| seen.count == count);
        seen.map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_dead_when_its_count_stood_still_through_four_beats_over_nine_seconds() {
        let start = Instant::now();
        let others = Others::default();
        let dead_at = |seconds: u64, count| {
            let now = start + Duration::from_secs(seconds);
            !others.judge(now, vec![("a".to_owned(), count)]).is_empty()
        };
        assert!(!dead_at(0, 1) && !dead_at(3, 1) && !dead_at(6, 2), "it counted");
        // Many beats within a short time are not enough, nor a long time with few.
        assert!(!dead_at(7, 2) && !dead_at(8, 2) && !dead_at(9, 2) && !dead_at(10, 2) && !dead_at(14, 2));
        assert!(dead_at(15, 2));
        let others = Others::default();
        let dead_at = |seconds: u64| {
            !others.judge(start + Duration::from_secs(seconds), vec![("a".to_owned(), 1)]).is_empty()
        };
        assert!(!dead_at(0) && !dead_at(60) && !dead_at(120) && !dead_at(180) && dead_at(240));
    }

    #[test]
    fn a_holder_is_silent_since_its_count_was_seen_to_stand_still() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let others = Others::default();
        others.judge(at(0), vec![("a".to_owned(), 1)]);
        others.judge(at(3), vec![("a".to_owned(), 2)]);
        others.judge(at(6), vec![("a".to_owned(), 2)]);
        assert_eq!(others.silent_for(at(7), "a", 2), Duration::from_secs(4));
        assert_eq!(others.silent_for(at(7), "a", 3), Duration::ZERO, "it has counted since the last beat");
        assert_eq!(others.silent_for(at(7), "b", 2), Duration::ZERO, "it was not seen before");
    }
}
