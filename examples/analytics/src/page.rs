//! The page at `/stats`: computes the position of each bar and column. The template draws the charts as SVG.

use askama::Template;

use crate::visits::{Counts, Filter, Latency, Route};

/// The height of the highest column, in pixels.
const HIGHEST: f64 = 150.0;

/// The longest period that the page can show, in minutes.
const SPANS: [(u32, &str); 4] = [
    (5, "the last 5 minutes"),
    (60, "the last hour"),
    (24 * 60, "the last day"),
    (7 * 24 * 60, "the last week"),
];

#[derive(Template)]
#[template(path = "stats.html")]
pub(crate) struct Page {
    pub(crate) counts: Counts,
    pub(crate) filter: Filter,
    /// The routes that the page can be filtered by.
    pub(crate) routes: Vec<String>,
}

/// One bar of the first chart, its parts in percent of the chart's width.
struct Bar<'a> {
    route: &'a Route,
    succeeded: f64,
    refused: f64,
    failed: f64,
}

/// One column of the second chart: across in percent of the chart's width, up in pixels.
struct Column<'a> {
    latency: &'a Latency,
    left: f64,
    width: f64,
    height: f64,
}

impl Page {
    fn bars(&self) -> impl Iterator<Item = Bar<'_>> {
        let most = self.busiest().map_or(1, |route| route.requests);
        let share = move |requests| ratio(requests, most) * 100.0;
        self.counts.routes.iter().map(move |route| Bar {
            route,
            succeeded: share(route.succeeded),
            refused: share(route.refused),
            failed: share(route.failed),
        })
    }

    fn columns(&self) -> impl Iterator<Item = Column<'_>> {
        let latency = &self.counts.latency;
        let most = self.commonest().map_or(1, |latency| latency.requests.max(1));
        let width = 100.0 / latency.len() as f64;
        latency.iter().enumerate().map(move |(nth, latency)| Column {
            latency,
            left: width * nth as f64,
            width,
            height: HIGHEST * ratio(latency.requests, most),
        })
    }

    fn busiest(&self) -> Option<&Route> {
        self.counts.routes.iter().max_by_key(|route| route.requests)
    }

    fn commonest(&self) -> Option<&Latency> {
        self.counts.latency.iter().max_by_key(|latency| latency.requests)
    }

    fn unsuccessful(&self) -> i64 {
        self.counts.routes.iter().map(|route| route.refused + route.failed).sum()
    }
}

impl Latency {
    fn span(&self) -> String {
        match self.below_us {
            Some(below) if self.from_us == 0 => format!("under {}", duration(below)),
            Some(below) => format!("{} to {}", duration(self.from_us), duration(below)),
            None => format!("{} and more", duration(self.from_us)),
        }
    }
}

fn ratio(part: i64, whole: i64) -> f64 {
    part as f64 / whole as f64
}

/// Formats a duration for people: 0.8 ms, 43 ms, 1.5 s.
fn duration(micros: i64) -> String {
    in_units(micros as f64 / 1e3, "ms", &["s"])
}

/// Formats the number in the largest unit that leaves it above one. Each unit is a thousand of the one before.
fn in_units(mut number: f64, mut unit: &'static str, larger: &[&'static str]) -> String {
    for next in larger {
        if number >= 999.5 {
            (number, unit) = (number / 1e3, next);
        }
    }
    let digits = usize::from(number < 9.95 && number.fract() != 0.0);
    format!("{number:.digits$} {unit}")
}

/// The template's filters.
mod filters {
    use askama::{Result, Values};

    pub(super) fn duration(micros: &i64, _: &dyn Values) -> Result<String> {
        Ok(super::duration(*micros))
    }

    pub(super) fn size(bytes: &i64, _: &dyn Values) -> Result<String> {
        Ok(super::in_units(*bytes as f64, "B", &["kB", "MB", "GB", "TB"]))
    }

    pub(super) fn route(route: &Option<String>, _: &dyn Values) -> Result<String> {
        Ok(route.clone().unwrap_or_else(|| "(no route)".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_short() {
        for (micros, text) in [
            (0, "0 ms"),
            (840, "0.8 ms"),
            (1_000, "1 ms"),
            (43_200, "43 ms"),
            (999_600, "1.0 s"),
            (3_000_000, "3 s"),
            (62_400_000, "62 s"),
        ] {
            assert_eq!(duration(micros), text);
        }
    }
}
