use std::{fmt, time::Duration};

use askama::Template;

use crate::{
    form::{Field, Form, Mistake},
    signups::{Answer, Mail, SignUp},
};

/// The number of sign-ups on the page.
pub(crate) const RECENT: u32 = 50;

/// The whole page: the form, with what was typed and what is wrong with it, and the recent rows.
#[derive(Template)]
#[template(path = "page.html")]
pub(crate) struct Page {
    pub(crate) form: Form,
    pub(crate) mistakes: Vec<Mistake>,
    pub(crate) signups: Vec<SignUp>,
}

impl Page {
    fn mistake(&self, field: Field) -> Option<&str> {
        self.mistake_of(Some(field))
    }

    fn mistake_of(&self, field: Option<Field>) -> Option<&str> {
        let mistake = self.mistakes.iter().find(|mistake| mistake.field == field)?;
        Some(&mistake.message)
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.signups.iter().map(|signup| Row { signup })
    }
}

/// One sign-up. The page contains it, and the event stream sends it again when it changes.
#[derive(Template)]
#[template(path = "row.html")]
pub(crate) struct Row<'a> {
    pub(crate) signup: &'a SignUp,
}

impl Row<'_> {
    /// The state of the mail, for the style sheet and for tests.
    fn state(&self) -> &'static str {
        match self.signup.mail {
            Mail::Waiting { .. } => "waiting",
            Mail::Retrying { .. } => "retrying",
            Mail::Sent { .. } => "sent",
            Mail::GivenUp { .. } => "given-up",
        }
    }

    fn answered_after(&self) -> Option<Span> {
        match self.signup.answer {
            Answer::Unknown => None,
            Answer::SentAfter(after) => Some(Span(after)),
        }
    }

    fn mail_took(&self) -> Span {
        Span(self.signup.mail_took().unwrap_or_default())
    }
}

/// Formats a duration for people: 0.8 ms, 43 ms, 1.5 s, 62 s.
struct Span(Duration);

impl Span {
    fn micros(&self) -> u128 {
        self.0.as_micros()
    }

    fn millis(&self) -> u128 {
        self.0.as_millis()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        match seconds {
            ..0.00995 => write!(f, "{:.1} ms", seconds * 1e3),
            ..0.9995 => write!(f, "{:.0} ms", seconds * 1e3),
            ..9.995 => write!(f, "{seconds:.1} s"),
            _ => write!(f, "{seconds:.0} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_short() {
        for (micros, text) in [
            (0, "0.0 ms"),
            (840, "0.8 ms"),
            (9_940, "9.9 ms"),
            (43_200, "43 ms"),
            (999_400, "999 ms"),
            (1_500_000, "1.5 s"),
            (62_000_000, "62 s"),
        ] {
            assert_eq!(Span(Duration::from_micros(micros)).to_string(), text);
        }
    }

    #[test]
    fn what_was_typed_is_text_and_never_markup() {
        let signup = SignUp {
            id: 1,
            name: "<script>alert(1)</script>".to_owned(),
            email: "\"<b>\"@example.com".to_owned(),
            created_at: "2026-01-31T12:00:00Z".to_owned(),
            answer: Answer::Unknown,
            mail: Mail::GivenUp { problem: "550 <img src=x>\r\n no".to_owned() },
        };
        let row = Row { signup: &signup }.render().unwrap();
        assert!(row.contains("alert(1)"), "{row}");
        for markup in ["<script", "<b>\"", "<img"] {
            assert!(!row.contains(markup), "{row}");
        }
    }
}
