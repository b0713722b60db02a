//! The view in the query string: which jobs to show, and in which order.

use std::{borrow::Borrow, fmt};

use serde::Deserialize;

use super::column::Column;
use crate::dashboard::memory::outcome::Group;

/// The view in the query string.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct View {
    /// Only runs of jobs with this name; empty for all.
    pub(crate) name: String,
    pub(crate) outcome: Shown,
    pub(crate) sort: Column,
    pub(crate) order: Option<Order>,
    /// Only types whose names contain this; empty for all.
    pub(crate) filter: String,
    /// All types, however many there are.
    pub(crate) all: bool,
    /// Only the job with this id, or the jobs of the request with this id; empty for the main page.
    pub(crate) find: String,
}

/// The runs to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shown {
    #[default]
    #[serde(alias = "")]
    All,
    Failed,
    Retrying,
    Succeeded,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    Ascending,
    Descending,
}

impl View {
    /// Returns the id to search for, if there is one.
    pub(crate) fn find(&self) -> Option<&str> {
        Some(self.find.trim()).filter(|find| !find.is_empty())
    }

    /// Returns whether a type with this name is shown.
    pub(super) fn has(&self, name: &str) -> bool {
        let filter = self.filter.trim();
        filter.is_empty() || name.to_lowercase().contains(&filter.to_lowercase())
    }

    pub(super) fn order(&self) -> Order {
        let by_text = matches!(self.sort, Column::Name | Column::Failing);
        self.order.unwrap_or(if by_text { Order::Ascending } else { Order::Descending })
    }

    /// Returns the query of this view with the types sorted by this column. If they already are, reverses the order.
    pub(super) fn sorted_by(&self, column: impl Borrow<Column>) -> String {
        let sort = *column.borrow();
        let order = match (self.sort == sort, self.order()) {
            (true, Order::Ascending) => Some(Order::Descending),
            (true, Order::Descending) => Some(Order::Ascending),
            (false, _) => None,
        };
        Self { sort, order, ..self.clone() }.query()
    }

    /// Returns the query of this view with the runs of this type.
    pub(super) fn of_type(&self, name: &str) -> String {
        Self { name: name.to_owned(), ..self.clone() }.query()
    }

    /// Returns the query of this view with the runs of this group.
    pub(super) fn showing(&self, outcome: impl Borrow<Shown>) -> String {
        Self { outcome: *outcome.borrow(), ..self.clone() }.query()
    }

    /// Returns the query of this view with all types.
    pub(super) fn with_all(&self) -> String {
        Self { all: true, ..self.clone() }.query()
    }

    /// Returns the query of the page of a job, or of a request's jobs.
    pub(super) fn finding(find: &str) -> String {
        Self { find: find.to_owned(), ..Self::default() }.query()
    }

    pub(super) fn shows(&self, outcome: impl Borrow<Shown>) -> bool {
        self.outcome == *outcome.borrow()
    }

    /// Returns the value of `aria-sort`.
    pub(super) fn sorting(&self, column: impl Borrow<Column>) -> &'static str {
        match (self.sort == *column.borrow(), self.order()) {
            (false, _) => "none",
            (true, Order::Ascending) => "ascending",
            (true, Order::Descending) => "descending",
        }
    }

    /// Returns the fields that a form must include, so that it changes only its own field.
    pub(super) fn fields_but_filter(&self) -> Vec<(&'static str, String)> {
        Self { filter: String::new(), ..self.clone() }.fields()
    }

    pub(crate) fn query(&self) -> String {
        let mut query = String::from("?");
        for (key, value) in self.fields() {
            if query.len() > 1 {
                query.push('&');
            }
            query.push_str(key);
            query.push('=');
            query.push_str(&encoded(&value));
        }
        query
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let order = match self.order {
            None => "",
            Some(Order::Ascending) => "ascending",
            Some(Order::Descending) => "descending",
        };
        let fields = [
            ("name", &*self.name),
            ("outcome", self.outcome.as_str()),
            ("sort", self.sort.as_str()),
            ("order", order),
            ("filter", &*self.filter),
            ("all", if self.all { "true" } else { "" }),
            ("find", &*self.find),
        ];
        let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
        fields.map(|(key, value)| (key, value.to_owned())).collect()
    }
}

/// Encodes a value for a query.
fn encoded(text: &str) -> String {
    use fmt::Write as _;
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

impl Shown {
    pub(super) const ALL: [Self; 5] = [Self::All, Self::Failed, Self::Retrying, Self::Succeeded, Self::Other];

    pub(super) fn group(self) -> Option<Group> {
        match self {
            Self::All => None,
            Self::Succeeded => Some(Group::Succeeded),
            Self::Failed => Some(Group::Failed),
            Self::Retrying => Some(Group::Retrying),
            Self::Other => Some(Group::Other),
        }
    }

    /// Returns the name in a query, which is empty for all.
    fn as_str(self) -> &'static str {
        match self {
            Self::All => "",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Retrying => "retrying",
            Self::Other => "other",
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Retrying => "Retried",
            Self::Other => "Other",
        }
    }
}
