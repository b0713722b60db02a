use std::convert::Infallible;

use askama::Template;
use axum::response::sse::Event;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;

use crate::{
    page::{RECENT, Row},
    signups::SignUps,
};

/// Tells every open page which sign-ups have changed.
///
/// It carries only their numbers. Each stream reads the row when it sends it, so a row on the page
/// never goes back to an older state.
#[derive(Clone, Debug)]
pub struct Feed {
    changed: broadcast::Sender<i64>,
}

impl Feed {
    /// Creates a feed without readers.
    pub fn new() -> Self {
        let (changed, _) = broadcast::channel(256);
        Self { changed }
    }

    /// Tells every reader that this sign-up has changed.
    pub fn publish(&self, id: i64) {
        // An error means that no page is open.
        let _ = self.changed.send(id);
    }

    /// Returns a stream of the recent rows, oldest first, and then of every row that changes, until `stop`.
    ///
    /// It ends early when its reader is slow and has missed a change; the browser connects again
    /// and begins with the recent rows.
    pub(crate) async fn rows(
        &self,
        signups: SignUps,
        stop: CancellationToken,
    ) -> Result<impl Stream<Item = Result<Event, Infallible>> + use<>, sqlx::Error> {
        // Subscribe first, then read: a change in between is sent twice, but not lost.
        let changed = BroadcastStream::new(self.changed.subscribe());
        let mut recent = signups.recent(RECENT).await?;
        recent.reverse();

        let changed = changed.take_while(|id| std::future::ready(id.is_ok())).filter_map(move |id| {
            let signups = signups.clone();
            async move { signups.get(id.ok()?).await.ok().flatten() }
        });
        Ok(stream::iter(recent)
            .chain(changed)
            .filter_map(|signup| std::future::ready(event(Row { signup: &signup })))
            .map(Ok)
            .take_until(stop.cancelled_owned()))
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the row's HTML as a JSON string, which has no line breaks that would end the event.
fn event(row: Row<'_>) -> Option<Event> {
    Event::default().json_data(row.render().ok()?).ok()
}
