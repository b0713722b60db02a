//! The changes of an open page: every second, the parts of its sections that have changed.
//!
//! They are lines of JSON, because a compression layer of the app compresses those. It would leave server-sent events
//! uncompressed.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::site::Site;
use crate::dashboard::sections::{section::Section, view::View};

/// The interval at which an open page receives changes.
const EVERY: Duration = Duration::from_secs(1);
/// The time after which a stream ends and the page reconnects, so that it does not hold up a shutdown forever.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest silence, in case that a proxy closes silent connections.
const SILENT: Duration = Duration::from_secs(10);

/// Returns the changes for a page with this view.
pub(super) fn changes(site: Site, view: View) -> Body {
    let now = Instant::now();
    let page = OpenPage {
        site,
        view,
        sent: BTreeMap::new(),
        next: None,
        spoken: now,
        ends: now + LONGEST,
        is_last: false,
    };
    let lines = unfold(page, |mut page| async {
        let line = page.next().await?;
        Some((Ok::<_, Infallible>(line), page))
    });
    Body::from_stream(lines)
}

struct OpenPage {
    site: Site,
    view: View,
    /// The version of each section on the page.
    sent: BTreeMap<&'static str, Sent>,
    /// The time of the next check. `None` before the first.
    next: Option<Instant>,
    /// The time at which something was last sent.
    spoken: Instant,
    ends: Instant,
    /// The runner is shutting down, and the page was notified.
    is_last: bool,
}

/// A section's version on the page, as hashes.
#[derive(Default)]
struct Sent {
    frame: u64,
    order: u64,
    rows: BTreeMap<String, Vec<u64>>,
}

/// The changes to a section.
#[derive(Serialize)]
struct Change {
    /// The HTML before the rows, and the HTML after them.
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<[String; 2]>,
    /// The keys of the rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<Vec<String>>,
    /// The parts of the rows, by their numbers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    rows: BTreeMap<String, BTreeMap<usize, String>>,
}

impl OpenPage {
    /// Waits for the next line. Returns `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_last {
            return None;
        }
        loop {
            if let Some(next) = self.next {
                let runner = self.site.runner().clone();
                tokio::select! {
                    () = sleep_until(next) => {}
                    () = sleep_until(self.ends) => return None,
                    () = runner.shutdown_announced() => {}
                }
            }
            // The page sees the end of the stream, and reconnects if the service still exists.
            self.is_last = self.site.runner().load().shutdown_announced;
            let now = Instant::now();
            self.next = Some(now + EVERY);
            self.refresh_queue();
            let changed = self.changed()?;
            if changed.is_empty() && !self.is_last && now < self.spoken + SILENT {
                continue;
            }
            self.spoken = now;
            // Serialized JSON contains no line breaks.
            let mut line = serde_json::to_vec(&changed).ok()?;
            line.push(b'\n');
            return Some(line.into());
        }
    }

    /// Asks the queue in the background: the page does not wait for it.
    fn refresh_queue(&self) {
        let (site, view) = (self.site.clone(), self.view.clone());
        tokio::spawn(async move { site.refresh_queue(&view).await });
    }

    /// Returns what has changed since it was last sent. `None` if it cannot be rendered.
    fn changed(&mut self) -> Option<BTreeMap<&'static str, Change>> {
        let sections = self.site.page(&self.view).sections().ok()?;
        let changes = sections.into_iter().filter_map(|section| {
            let id = section.id;
            Some((id, self.sent.entry(id).or_default().take(section)?))
        });
        Some(changes.collect())
    }
}

impl Sent {
    /// Records a section. Returns its changes, if there are any.
    fn take(&mut self, section: Section) -> Option<Change> {
        let mut change = Change { frame: None, order: None, rows: BTreeMap::new() };
        let order: Vec<_> = section.rows.iter().map(|row| row.key.clone()).collect();
        let mut rows = BTreeMap::new();
        for row in section.rows {
            let hashes: Vec<u64> = row.parts.iter().map(hash).collect();
            let known = self.rows.get(&row.key).filter(|known| known.len() == hashes.len());
            let parts = row.parts.into_iter().enumerate();
            let parts: BTreeMap<_, _> =
                parts.filter(|(n, _)| known.is_none_or(|known| known[*n] != hashes[*n])).collect();
            if !parts.is_empty() {
                change.rows.insert(row.key.clone(), parts);
            }
            rows.insert(row.key, hashes);
        }
        self.rows = rows;
        if replace(&mut self.frame, hash(&section.frame)) {
            change.frame = Some(section.frame);
        }
        if replace(&mut self.order, hash(&order)) {
            change.order = Some(order);
        }
        let has_changed = change.frame.is_some() || change.order.is_some() || !change.rows.is_empty();
        has_changed.then_some(change)
    }
}

/// Returns whether the value has changed.
fn replace(known: &mut u64, new: u64) -> bool {
    std::mem::replace(known, new) != new
}

fn hash(what: impl std::hash::Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::sections::section::Row;

    fn section(frame: &str, rows: &[(&str, &[&str])]) -> Section {
        let row = |(key, parts): &(&str, &[&str])| Row {
            key: (*key).to_owned(),
            parts: parts.iter().map(ToString::to_string).collect(),
        };
        Section {
            id: "types",
            frame: [frame.to_owned(), String::new()],
            rows: rows.iter().map(row).collect(),
        }
    }

    #[test]
    fn only_what_has_changed_is_sent() {
        let mut sent = Sent::default();
        let mut take = |section| {
            let change: Option<Change> = sent.take(section);
            serde_json::to_value(change).unwrap()
        };
        let first = take(section("f", &[("a", &["1", "2"]), ("b", &["3", "4"])]));
        assert_eq!(
            first,
            serde_json::json!({
                "frame": ["f", ""], "order": ["a", "b"],
                "rows": { "a": { "0": "1", "1": "2" }, "b": { "0": "3", "1": "4" } },
            })
        );
        assert!(take(section("f", &[("a", &["1", "2"]), ("b", &["3", "4"])])).is_null());
        let part = take(section("f", &[("a", &["1", "2"]), ("b", &["3", "5"])]));
        assert_eq!(part, serde_json::json!({ "rows": { "b": { "1": "5" } } }));
        let gone = take(section("f", &[("b", &["3", "5"])]));
        assert_eq!(gone, serde_json::json!({ "order": ["b"] }));
        let again = take(section("g", &[("b", &["3", "5"]), ("a", &["1", "2"])]));
        let expected = serde_json::json!({
            "frame": ["g", ""], "order": ["b", "a"], "rows": { "a": { "0": "1", "1": "2" } },
        });
        assert_eq!(again, expected);
    }
}
