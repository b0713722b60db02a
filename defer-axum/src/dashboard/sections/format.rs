//! Formats numbers for people.

use std::fmt;

use crate::dashboard::memory::window::Percentiles;

/// Formats a duration in seconds for people: 0.8 ms, 43 ms, 1.5 s, 62 s, 12 min.
pub(crate) struct Span(pub(crate) f64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0;
        match seconds {
            ..0.000_005 => f.write_str("0 ms"),
            ..0.000_995 => write!(f, "{:.2} ms", seconds * 1e3),
            ..0.009_95 => write!(f, "{:.1} ms", seconds * 1e3),
            ..0.999_5 => write!(f, "{:.0} ms", seconds * 1e3),
            ..9.95 => write!(f, "{seconds:.1} s"),
            ..119.5 => write!(f, "{seconds:.0} s"),
            ..7_170.0 => write!(f, "{:.0} min", seconds / 60.0),
            _ => write!(f, "{:.0} h", seconds / 3_600.0),
        }
    }
}

/// Formats percentiles: 12 / 43 ms / 1.5 s. Leaves out a unit that follows anyway.
pub(crate) fn times(times: Option<Percentiles>) -> String {
    let Some(Percentiles { p50, p95, p99 }) = times else { return "–".to_owned() };
    let [p50, p95, p99] = [p50, p95, p99].map(|seconds| Span(seconds).to_string());
    let short = |span: &str, next: &str| match (span.split_once(' '), next.split_once(' ')) {
        (Some((number, unit)), Some((_, next))) if unit == next => number.to_owned(),
        _ => span.to_owned(),
    };
    format!("{} / {} / {p99}", short(&p50, &p95), short(&p95, &p99))
}

/// Formats a whole number with separated thousands: 1 234 567, with narrow non-breaking spaces.
pub(crate) struct Whole(u64);

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_apart(f, &self.0.to_string())
    }
}

/// Writes digits with separated thousands.
fn write_apart(f: &mut fmt::Formatter<'_>, digits: &str) -> fmt::Result {
    for (n, digit) in digits.char_indices() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            f.write_str("\u{202f}")?;
        }
        write!(f, "{digit}")?;
    }
    Ok(())
}

/// Formats the number of jobs in a queue: 17, 10 000+. A queue may stop counting there.
pub(crate) struct Counted(u64);

impl Counted {
    /// The largest number that queues count to: see [`QueueCounts`](defer_core::queue::QueueCounts).
    const MOST: u64 = 10_000;
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Whole(self.0).fmt(f)?;
        f.write_str(if self.0 == Self::MOST { "+" } else { "" })
    }
}

/// Formats a rate: 0, 0.3, 12, 98 765.
pub(crate) struct Rate(f64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0.0 => f.write_str("0"),
            ..9.95 => write!(f, "{:.1}", self.0),
            _ => write_apart(f, &format!("{:.0}", self.0)),
        }
    }
}

/// Formats a part of a whole: 0 %, 0.3 %, 12 %.
pub(crate) struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        match percent {
            0.0 => f.write_str("0 %"),
            ..0.1 => f.write_str("< 0.1 %"),
            ..9.95 => write!(f, "{percent:.1} %"),
            _ => write!(f, "{percent:.0} %"),
        }
    }
}

/// Formats a number in a template.
pub(crate) trait Formatted {
    fn number(&self) -> u64;

    fn whole(&self) -> Whole {
        Whole(self.number())
    }

    fn counted(&self) -> Counted {
        Counted(self.number())
    }
}

impl Formatted for u64 {
    fn number(&self) -> u64 {
        *self
    }
}

impl Formatted for usize {
    fn number(&self) -> u64 {
        *self as u64
    }
}

/// Formats a measure in a template.
pub(crate) trait Measured {
    fn span(&self) -> Span;
    fn rate(&self) -> Rate;
    fn percent(&self) -> Percent;
}

impl Measured for f64 {
    fn span(&self) -> Span {
        Span(*self)
    }

    fn rate(&self) -> Rate {
        Rate(*self)
    }

    fn percent(&self) -> Percent {
        Percent(*self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        for (seconds, expected) in [
            (0.0, "0 ms"),
            (0.000_15, "0.15 ms"),
            (0.009_4, "9.4 ms"),
            (0.043, "43 ms"),
            (0.999_6, "1.0 s"),
            (1.54, "1.5 s"),
            (62.0, "62 s"),
            (600.0, "10 min"),
            (7_200.0, "2 h"),
        ] {
            assert_eq!(Span(seconds).to_string(), expected);
        }
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(|n| Whole(n).to_string()).join(" "),
            "0 999 1\u{202f}000 1\u{202f}234\u{202f}567"
        );
        assert_eq!(
            [17, 9_999, 10_000].map(|n| Counted(n).to_string()).join(" "),
            "17 9\u{202f}999 10\u{202f}000+"
        );
        assert_eq!(
            [0.0, 0.25, 12.4, 98_765.4].map(|rate| Rate(rate).to_string()).join(" "),
            "0 0.2 12 98\u{202f}765"
        );
        assert_eq!(
            [0.0, 0.000_1, 0.036, 0.5, 1.0].map(|part| Percent(part).to_string()).join(", "),
            "0 %, < 0.1 %, 3.6 %, 50 %, 100 %"
        );
        let of = |p50, p95, p99| times(Some(Percentiles { p50, p95, p99 }));
        assert_eq!(of(0.001, 0.02, 0.3), "1.0 / 20 / 300 ms");
        assert_eq!(of(0.02, 0.3, 10.0), "20 / 300 ms / 10 s");
        assert_eq!(of(0.02, 3.0, 10.0), "20 ms / 3.0 / 10 s");
    }
}
