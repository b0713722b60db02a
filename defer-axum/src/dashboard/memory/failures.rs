//! Failed attempts, grouped by their type and the first line of their error.

use std::time::SystemTime;

use defer_core::JobId;

use super::outcome::{Group, Outcome};

/// The number of groups to keep.
const GROUPS: usize = 200;
/// The number of groups per type. Errors that contain a number each form a group of their own.
const OF_A_TYPE: usize = 20;
/// The longest first line, in bytes.
const LINE: usize = 200;

/// Failed attempts by their type and the first line of their error.
#[derive(Default)]
pub(crate) struct Failures {
    groups: Vec<Failure>,
}

/// Failed attempts of one type whose errors begin with the same line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) name: &'static str,
    /// `None` if errors are hidden.
    pub(crate) line: Option<Box<str>>,
    /// Jobs that failed permanently.
    pub(crate) failed: u64,
    /// Attempts that were followed by another.
    pub(crate) retried: u64,
    pub(crate) first: SystemTime,
    pub(crate) last: SystemTime,
    /// The latest job.
    pub(crate) example: JobId,
}

impl Failures {
    /// Counts an attempt, if it failed.
    pub(crate) fn add(&mut self, name: &'static str, id: JobId, outcome: Outcome, error: Option<&str>) {
        let (failed, retried) = match outcome.group() {
            Group::Failed => (1, 0),
            Group::Retrying => (0, 1),
            Group::Succeeded | Group::Other => return,
        };
        let now = SystemTime::now();
        let line = error.map(first_line);
        let known = self.groups.iter().position(|group| group.name == name && group.line.as_deref() == line);
        let index = known.unwrap_or_else(|| {
            self.make_room(name);
            let line = line.map(Box::from);
            self.groups.push(Failure {
                name,
                line,
                failed: 0,
                retried: 0,
                first: now,
                last: now,
                example: id,
            });
            self.groups.len() - 1
        });
        let group = &mut self.groups[index];
        group.failed += failed;
        group.retried += retried;
        (group.last, group.example) = (now, id);
    }

    /// Returns the groups, the latest failure first. Jobs that failed permanently come before those that are retried.
    pub(crate) fn latest(&self) -> Vec<Failure> {
        let mut groups = self.groups.clone();
        groups.sort_by_key(|group| (group.failed == 0, std::cmp::Reverse(group.last)));
        groups
    }

    pub(crate) fn clear(&mut self) {
        self.groups.clear();
    }

    /// Makes room if there are too many groups, by removing the one whose last failure is the oldest: one of this type, if the
    /// type has too many.
    fn make_room(&mut self, name: &'static str) {
        let of_type = self.groups.iter().filter(|group| group.name == name).count();
        if of_type < OF_A_TYPE && self.groups.len() < GROUPS {
            return;
        }
        let may_go = |group: &Failure| of_type < OF_A_TYPE || group.name == name;
        let groups = self.groups.iter().enumerate().filter(|(_, group)| may_go(group));
        if let Some((oldest, _)) = groups.min_by_key(|(_, group)| group.last) {
            self.groups.swap_remove(oldest);
        }
    }
}

/// Returns the first line that is not empty, cut to a number of bytes.
pub(crate) fn first_line(error: &str) -> &str {
    let line = error.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let longest = line.len().min(LINE);
    let cut = (0..=longest).rev().find(|at| line.is_char_boundary(*at)).unwrap_or_default();
    &line[..cut]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(failures: &mut Failures, name: &'static str, outcome: Outcome, error: &str) {
        failures.add(name, JobId::unique(), outcome, Some(error));
    }

    #[test]
    fn failures_with_the_same_first_line_are_one_group() {
        let mut failures = Failures::default();
        add(&mut failures, "A", Outcome::Retrying, "\n refused \nby one");
        add(&mut failures, "A", Outcome::Failed, "refused\nby another");
        add(&mut failures, "A", Outcome::Succeeded, "refused");
        add(&mut failures, "B", Outcome::Retrying, "refused");
        let groups = failures.latest();
        let seen: Vec<_> = groups
            .iter()
            .map(|group| (group.name, group.line.as_deref(), group.failed, group.retried))
            .collect();
        assert_eq!(seen, [("A", Some("refused"), 1, 1), ("B", Some("refused"), 0, 1)]);
    }

    #[test]
    fn a_type_whose_errors_all_differ_pushes_no_other_out() {
        let mut failures = Failures::default();
        add(&mut failures, "rare", Outcome::Failed, "refused");
        for number in 0..1_000 {
            add(&mut failures, "common", Outcome::Failed, &format!("number {number} failed"));
        }
        let groups = failures.latest();
        assert_eq!(groups.len(), OF_A_TYPE + 1);
        assert!(groups.iter().any(|group| group.name == "rare"));
        assert!(groups.iter().any(|group| group.line.as_deref() == Some("number 999 failed")));
    }

    #[test]
    fn a_long_line_is_cut_between_two_letters() {
        let line = first_line(&"ß".repeat(1_000)).to_owned();
        assert_eq!(line, "ß".repeat(LINE / 2));
        assert_eq!(first_line(" \n"), "");
    }
}
