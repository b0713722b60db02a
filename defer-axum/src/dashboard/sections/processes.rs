//! The processes that share the queue.

use askama::Template;
use defer_core::queue::Holder;
use serde::Serialize;

use super::{
    format::{Formatted, Measured},
    moment::Moment,
    process::is_this,
    section::{Row, Section},
};

/// A process that holds or runs jobs of the queue.
#[derive(Serialize)]
pub(crate) struct ProcessRow {
    id: String,
    host: String,
    pid: u32,
    version: String,
    since: Moment,
    seen_seconds_ago: f64,
    jobs: u64,
    takes: Vec<String>,
    is_this: bool,
    is_silent: bool,
}

#[derive(Template)]
#[template(path = "dashboard/processes.html")]
struct Frame;

#[derive(Template)]
#[template(path = "dashboard/processes_row.html")]
struct RowHtml<'a> {
    row: &'a ProcessRow,
}

impl ProcessRow {
    pub(super) fn new(holder: &Holder) -> Self {
        Self {
            id: holder.id.clone(),
            host: holder.process.host.clone(),
            pid: holder.process.pid,
            version: holder.version.clone(),
            since: Moment::ago(holder.age),
            seen_seconds_ago: holder.last_seen.as_secs_f64(),
            jobs: holder.jobs,
            takes: holder.names.clone(),
            is_this: is_this(&holder.process),
            is_silent: holder.is_silent(),
        }
    }

    fn takes(&self) -> String {
        self.takes.join(", ")
    }
}

pub(super) fn section(rows: &[ProcessRow]) -> askama::Result<Section> {
    if rows.is_empty() {
        return Section::absent("processes", "No other process");
    }
    Section::new("processes", &Frame, rows.iter().map(|row| Row::new(&*row.id, &RowHtml { row })))
}
