//! The events of an open page: each second, the sections that have changed.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{Stream, unfold};
use tokio::time::{Instant, sleep_until};

use super::{page::SECTIONS, site::Site, snapshot::View};

/// How often an open page is told what has changed.
const EVERY: Duration = Duration::from_secs(1);
/// When a stream ends and the browser connects again, so that it holds no server for ever.
const LONGEST: Duration = Duration::from_secs(30);
/// How long the browser waits before it does.
const RECONNECT: Duration = Duration::from_millis(250);
const RECONNECT_AT_END: Duration = Duration::from_secs(5);

/// Returns the events of a page with this view.
pub(super) fn events(site: Site, view: View) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let page = OpenPage {
        site,
        view,
        sent: BTreeMap::new(),
        next: None,
        ends: Instant::now() + LONGEST,
        is_last: false,
    };
    Sse::new(unfold(page, |mut page| async { page.next().await.map(|event| (Ok(event), page)) }))
        .keep_alive(KeepAlive::default())
}

struct OpenPage {
    site: Site,
    view: View,
    /// What the page has of each section.
    sent: BTreeMap<&'static str, String>,
    /// When to look again. `None` before the first time.
    next: Option<Instant>,
    ends: Instant,
    /// The runner is closing, and the page was told.
    is_last: bool,
}

impl OpenPage {
    /// Waits for the next event. `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        if self.is_last {
            return None;
        }
        loop {
            let is_first = self.next.is_none();
            if let Some(next) = self.next {
                let runner = self.site.runner().clone();
                tokio::select! {
                    () = sleep_until(next) => {}
                    () = sleep_until(self.ends) => return None,
                    () = runner.shutdown_announced() => {}
                }
            }
            // The page is told of that, and comes back, if there is still a service, after a while.
            self.is_last = self.site.runner().load().shutdown_announced;
            self.next = Some(Instant::now() + EVERY);
            self.refresh_queue();
            let changed = self.changed()?;
            if changed.is_empty() && !self.is_last {
                continue;
            }
            // JSON has no line breaks, which would end the event.
            let event = Event::default().data(serde_json::to_string(&changed).ok()?);
            return Some(match (self.is_last, is_first) {
                (true, _) => event.retry(RECONNECT_AT_END),
                (false, true) => event.retry(RECONNECT),
                (false, false) => event,
            });
        }
    }

    /// Asks the queue meanwhile: the page does not wait for it.
    fn refresh_queue(&self) {
        let site = self.site.clone();
        tokio::spawn(async move { site.refresh_queue().await });
    }

    /// Returns the sections that have changed since they were sent. `None` if they cannot be written.
    fn changed(&mut self) -> Option<BTreeMap<&'static str, String>> {
        let page = self.site.page(&self.view);
        let mut changed = BTreeMap::new();
        for section in SECTIONS {
            let html = page.section(section).ok()?;
            if self.sent.get(section) != Some(&html) {
                self.sent.insert(section, html.clone());
                changed.insert(section, html);
            }
        }
        Some(changed)
    }
}
