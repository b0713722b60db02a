//! Jobs that the queue did not accept, and that ran in memory.

use std::time::{Duration, SystemTime};

/// The quiet time after which the next refusal starts another outage.
const APART: Duration = Duration::from_secs(300);

/// The latest outage of the queue, as seen by its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The number of jobs that ran in memory meanwhile.
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
