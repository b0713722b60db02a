//! Says in a few sentences whether anything is wrong.

use std::time::{Duration, SystemTime};

use askama::Template;
use serde::Serialize;

use super::{
    format::{Formatted, Span},
    moment::Moment,
    now::Now,
    section::Section,
};
use crate::dashboard::{memory::refused::Refused, queue::inspected::Inspected};

/// The time for which a job may be due before that is a warning, and before it is a problem.
const LATE: Duration = Duration::from_secs(10);
const TOO_LATE: Duration = Duration::from_secs(60);
/// The time for which an outage of the queue is still reported after its end.
const TOLD_FOR: Duration = Duration::from_secs(900);

/// The most important findings, the worst first.
#[derive(Serialize)]
pub(crate) struct Health {
    level: Level,
    facts: Vec<Fact>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Fact {
    level: Level,
    text: String,
    /// The start, or the last occurrence.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Bad,
    Warning,
    Good,
}

#[derive(Template)]
#[template(path = "dashboard/health.html")]
struct Html<'a> {
    health: &'a Health,
}

impl Health {
    pub(super) fn new(
        now: &Now,
        queue: Option<&Inspected>,
        refused: Option<Refused>,
        failing: &[&'static str],
    ) -> Self {
        let mut facts = Vec::new();
        of_runner(now, failing, &mut facts);
        if let Some(queue) = queue {
            match queue.unreachable {
                Some((since, why)) => facts.extend(of_outage(since, why, refused)),
                None => of_queue(queue, refused, &mut facts),
            }
        }
        // The sort is stable, so equally bad facts stay in this order.
        facts.sort_by_key(|fact| fact.level);
        let level = facts.first().map_or(Level::Good, |fact| fact.level);
        Self { level, facts }
    }

    pub(super) fn section(&self) -> askama::Result<Section> {
        Section::new("health", &Html { health: self }, [])
    }
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warning => "warning",
            Self::Good => "good",
        }
    }

    /// Returns the word in front of a fact, for readers who cannot see its color.
    fn word(self) -> &'static str {
        match self {
            Self::Bad => "Problem",
            Self::Warning => "Warning",
            Self::Good => "OK",
        }
    }
}

fn fact(level: Level, text: impl Into<String>) -> Fact {
    Fact { level, text: text.into(), at: None }
}

fn of_runner(now: &Now, failing: &[&'static str], facts: &mut Vec<Fact>) {
    if now.shutdown_announced {
        facts.push(fact(
            Level::Warning,
            "The service is shutting down. It takes no new requests, and finishes its jobs.",
        ));
    }
    if now.held_responses > 0 {
        let held = now.held_responses.whole();
        facts.push(fact(Level::Bad, format!("Too many jobs wait: responses are held back, now {held}.")));
    }
    if !failing.is_empty() {
        let names = listed(failing.iter().copied());
        facts.push(fact(Level::Warning, format!("Jobs failed for good in the last five minutes: {names}.")));
    }
}

fn of_queue(queue: &Inspected, refused: Option<Refused>, facts: &mut Vec<Fact>) {
    if !queue.unclaimed.is_empty() {
        let names = listed(queue.unclaimed.iter().map(String::as_str));
        facts.push(fact(
            Level::Bad,
            format!("Due for more than a minute, and no worker takes them: {names}."),
        ));
    }
    facts.push(match queue.counts.oldest_due {
        Some(due) => {
            let level = if due > TOO_LATE {
                Level::Bad
            } else if due > LATE {
                Level::Warning
            } else {
                Level::Good
            };
            let ready: u64 = queue.names.iter().map(|of_name| of_name.ready).sum();
            let due = Span(due.as_secs_f64());
            match ready {
                0 => fact(level, format!("The queue's oldest due job has waited for {due}.")),
                _ => fact(level, format!("{} due in the queue, the oldest for {due}.", ready.counted())),
            }
        }
        None => fact(Level::Good, "Nothing is due in the queue."),
    });
    if !queue.paused.is_empty() {
        let names = listed(queue.paused.iter().map(String::as_str));
        facts.push(fact(Level::Warning, format!("Paused: {names}.")));
    }
    facts.extend(of_workers(queue));
    let is_recent = |outage: &Refused| outage.last.elapsed().is_ok_and(|over| over < TOLD_FOR);
    if let Some(outage) = refused.filter(is_recent) {
        let text = format!("{} could not be queued and ran in memory, the last at", jobs(outage.jobs));
        facts.push(Fact { level: Level::Warning, text, at: Some(Moment(outage.last)) });
    }
}

fn of_workers(queue: &Inspected) -> Option<Fact> {
    if queue.holders.is_empty() {
        return None;
    }
    let (silent, alive): (Vec<_>, Vec<_>) = queue.holders.iter().partition(|holder| holder.is_silent());
    let workers = alive.iter().filter(|holder| !holder.names.is_empty()).count();
    let has: u64 = alive.iter().map(|holder| holder.jobs).sum();
    let has = if has == 0 { "no job".to_owned() } else { jobs(has) };
    Some(match (workers, silent.len()) {
        (0, _) => fact(Level::Bad, "No worker is alive."),
        (1, 0) => fact(Level::Good, format!("1 worker is alive, and has {has}.")),
        (workers, 0) => fact(Level::Good, format!("{workers} workers are alive, and have {has}.")),
        (workers, silent) => {
            let silent = if silent == 1 { "1 process".to_owned() } else { format!("{silent} processes") };
            fact(Level::Warning, format!("{workers} alive, {silent} silent for too long."))
        }
    })
}

/// Returns the facts about a queue that has been unreachable since then.
fn of_outage(since: SystemTime, why: &'static str, refused: Option<Refused>) -> [Fact; 2] {
    // Jobs may have noticed it before the page did.
    let outage = refused.filter(|outage| outage.last + TOLD_FOR > since);
    let since = outage.map_or(since, |outage| since.min(outage.since));
    let meanwhile = match outage {
        Some(outage) => format!("{} ran in memory meanwhile.", jobs(outage.jobs)),
        None => "No job ran in memory meanwhile.".to_owned(),
    };
    [
        Fact {
            level: Level::Bad,
            text: format!("{why} Its figures may be old. Unreachable since"),
            at: Some(Moment(since)),
        },
        fact(Level::Bad, meanwhile),
    ]
}

fn jobs(count: u64) -> String {
    if count == 1 { "1 job".to_owned() } else { format!("{} jobs", count.whole()) }
}

/// Returns the first names, and the number of others.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 5;
    let names: Vec<_> = names.map(shortened).collect();
    let mut listed = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        listed.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    listed
}

/// Returns the start of a long name. The table of types has the whole name.
fn shortened(name: &str) -> String {
    const LONGEST: usize = 60;
    match name.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_job_that_is_due_for_long_is_worse_than_one_that_is_not() {
        for (due, expected) in [(1, Level::Good), (11, Level::Warning), (61, Level::Bad)] {
            let mut queue = Inspected::default();
            queue.counts.oldest_due = Some(seconds(due));
            let mut facts = Vec::new();
            of_queue(&queue, None, &mut facts);
            assert_eq!(facts[0].level, expected, "{facts:?}");
        }
    }

    #[test]
    fn an_outage_began_when_the_first_job_noticed_it() {
        let at = |ago| SystemTime::now() - seconds(ago);
        let refused = Refused { jobs: 40, since: at(100), last: at(1) };
        let [since, meanwhile] = of_outage(at(50), "It is away.", Some(refused));
        assert_eq!(since.at, Some(Moment(refused.since)));
        assert_eq!(meanwhile.text, "40 jobs ran in memory meanwhile.");
        let before = Refused { jobs: 40, since: at(9_000), last: at(8_000) };
        let [since, meanwhile] = of_outage(at(50), "It is away.", Some(before));
        assert!(since.at > Some(Moment(at(60))), "that was another");
        assert_eq!(meanwhile.text, "No job ran in memory meanwhile.");
    }

    #[test]
    fn many_names_and_long_ones_are_cut_short() {
        let long = "ä".repeat(61);
        assert_eq!(listed([&*long, "B"].into_iter()), format!("{}…, B", "ä".repeat(60)));
        assert_eq!(listed(["A", "B"].into_iter()), "A, B");
        assert_eq!(listed(["A", "B", "C", "D", "E", "F", "G"].into_iter()), "A, B, C, D, E and 2 more");
    }
}
