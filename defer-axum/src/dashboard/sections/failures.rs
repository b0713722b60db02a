//! Failures: the failing types, since when, and why.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    time::SystemTime,
};

use askama::Template;
use defer_core::queue::FailureGroup;
use serde::Serialize;

use super::{
    button::Button,
    format::Formatted,
    moment::Moment,
    section::{Row, Section},
    view::View,
};
use crate::dashboard::{
    memory::failures::{Failure, first_line},
    queue::action::{Group, Verb},
};

/// The number of groups to show.
const GROUPS: usize = 50;

/// Failures of one type whose errors begin with the same line.
#[derive(Serialize)]
pub(crate) struct FailureRow {
    /// Identifies the group.
    pub(crate) key: String,
    name: String,
    /// `None` if errors are hidden.
    error: Option<String>,
    /// Jobs that failed permanently in this process.
    failed: u64,
    /// Attempts that were followed by another in this process.
    retried: u64,
    /// Failed jobs that the queue still has. `None` if it has none of this group.
    stored: Option<u64>,
    first: Moment,
    last: Moment,
    /// The latest job.
    example: String,
}

#[derive(Template)]
#[template(path = "dashboard/failures.html")]
struct Frame {
    is_empty: bool,
}

#[derive(Template)]
#[template(path = "dashboard/failures_row.html")]
struct RowHtml<'a> {
    row: &'a FailureRow,
    page: String,
    buttons: Vec<Button>,
}

/// Returns the groups of this process and of the queue. The same group appears once.
pub(super) fn rows(here: Vec<Failure>, stored: &[FailureGroup], hides_errors: bool) -> Vec<FailureRow> {
    let mut rows: Vec<_> = here.into_iter().map(FailureRow::of_process).collect();
    for group in stored {
        let line = Some(first_line(&group.error));
        let is_same = |row: &&mut FailureRow| row.name == group.name && row.error.as_deref() == line;
        match rows.iter_mut().filter(|row| row.stored.is_none()).find(is_same) {
            Some(row) => row.add_stored(group),
            None => rows.push(FailureRow::of_queue(group)),
        }
    }
    rows.sort_by_key(|row| (row.failed == 0 && row.stored.is_none(), std::cmp::Reverse(row.last)));
    rows.truncate(GROUPS);
    if hides_errors {
        rows.iter_mut().for_each(|row| row.error = None);
    }
    rows
}

/// Returns the identity of a group, which is the same in every process. It is a hash, because errors may be hidden.
fn key(name: &str, error: Option<&str>) -> String {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((name, error));
    format!("{hash:016x}")
}

/// Returns the key of a group of the queue. It covers the whole line, even if only its start is shown.
fn key_of(group: &FailureGroup) -> String {
    key(&group.name, Some(&group.error))
}

/// Returns the group with this key.
pub(crate) fn group(stored: &[FailureGroup], with_key: &str) -> Option<Group> {
    let group = stored.iter().find(|group| key_of(group) == with_key)?;
    Some(Group { name: group.name.clone(), error: group.error.clone() })
}

pub(super) fn section(rows: &[FailureRow], has_actions: bool) -> askama::Result<Section> {
    let html = rows.iter().map(|row| {
        let page = View::finding(&row.example);
        Row::new(&*row.key, &RowHtml { row, page, buttons: row.buttons(has_actions) })
    });
    Section::new("failures", &Frame { is_empty: rows.is_empty() }, html)
}

impl FailureRow {
    fn of_process(failure: Failure) -> Self {
        Self {
            key: key(failure.name, failure.line.as_deref()),
            name: failure.name.to_owned(),
            error: failure.line.map(String::from),
            failed: failure.failed,
            retried: failure.retried,
            stored: None,
            first: Moment(failure.first),
            last: Moment(failure.last),
            example: failure.example.to_string(),
        }
    }

    fn of_queue(group: &FailureGroup) -> Self {
        Self {
            key: key_of(group),
            name: group.name.clone(),
            error: Some(first_line(&group.error).to_owned()),
            failed: 0,
            retried: 0,
            stored: Some(group.count),
            first: Moment::ago(group.first),
            last: Moment::ago(group.last),
            example: group.example.to_string(),
        }
    }

    fn add_stored(&mut self, group: &FailureGroup) {
        self.key = key_of(group);
        self.stored = Some(group.count);
        self.first = self.first.min(Moment::ago(group.first));
        self.last = self.last.max(Moment::ago(group.last));
        // The queue still has this job.
        self.example = group.example.to_string();
    }

    fn buttons(&self, has_actions: bool) -> Vec<Button> {
        let Some(count) = self.stored.filter(|_| has_actions) else { return Vec::new() };
        let of = |verb| Button::of_group(verb, &self.name, &self.key, count);
        vec![of(Verb::RetryGroup), of(Verb::DiscardGroup)]
    }

    /// Returns the counts in words.
    fn counts(&self) -> String {
        let mut counts = Vec::new();
        if let Some(stored) = self.stored {
            counts.push(format!("{} in the queue", stored.whole()));
        }
        if self.failed > 0 {
            counts.push(format!("{} failed here", self.failed.whole()));
        }
        if self.retried > 0 {
            counts.push(format!("{} retried", self.retried.whole()));
        }
        counts.join(", ")
    }

    /// Returns whether nothing has failed permanently.
    fn is_mild(&self) -> bool {
        self.failed == 0 && self.stored.is_none()
    }

    fn is_recent(&self) -> bool {
        SystemTime::now().duration_since(self.last.0).is_ok_and(|ago| ago.as_secs() < 300)
    }
}

#[cfg(test)]
mod tests {
    use defer_core::JobId;

    use super::*;

    #[test]
    fn a_row_leads_to_its_group_as_the_queue_has_it() {
        let long = "ж".repeat(150);
        let errors = ["refused", "refused\r", &*long];
        let stored = errors.map(|error| FailureGroup::new("Mail", error, JobId::unique()));
        let rows = rows(Vec::new(), &stored, true);
        let groups = rows.iter().map(|row| group(&stored, &row.key).expect("it is there").error);
        let mut found: Vec<String> = groups.collect();
        found.sort();
        assert_eq!(found, errors);
    }
}
