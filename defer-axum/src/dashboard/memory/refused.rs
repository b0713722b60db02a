//! Jobs that the queue did not take, which ran in memory.

use std::time::{Duration, SystemTime};

/// How long after the last refusal the next one belongs to another outage.
const APART: Duration = Duration::from_secs(300);

/// The latest outage of the queue, as its jobs noticed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// How many jobs ran in memory meanwhile.
    pub(crate) jobs: u64,
    pub(crate) since: SystemTime,
    pub(crate) last: SystemTime,
}

impl Refused {
    /// Counts another job.
    pub(super) fn count(this: &mut Option<Self>, now: SystemTime) {
        match this {
            Some(outage) if now.duration_since(outage.last).is_ok_and(|quiet| quiet < APART) => {
                outage.jobs += 1;
                outage.last = now;
            }
            _ => *this = Some(Self { jobs: 1, since: now, last: now }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_that_follow_each_other_belong_to_one_outage() {
        let mut outage = None;
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for seconds in [0, 10, 200] {
            Refused::count(&mut outage, at(seconds));
        }
        assert_eq!(outage, Some(Refused { jobs: 3, since: at(0), last: at(200) }));
        Refused::count(&mut outage, at(500));
        assert_eq!(outage, Some(Refused { jobs: 1, since: at(500), last: at(500) }));
    }
}
