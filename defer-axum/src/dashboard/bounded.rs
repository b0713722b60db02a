//! Texts of users, which may be of any length.

use std::{
    fmt::{self, Write as _},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// How many bytes of a text are kept.
const LENGTH: usize = 500;

/// Writes something of a user's, up to some length.
pub(super) fn bounded(what: impl fmt::Display) -> String {
    let mut text = Bounded(String::new());
    let written = catch_unwind(AssertUnwindSafe(|| write!(text, "{what}")));
    if let Err(panic) = written {
        // Its `Drop` may panic too.
        mem::forget(panic);
        return "the error panicked while it was formatted".to_owned();
    }
    text.0
}

/// Text of a bounded length. Writing more is an error.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = LENGTH - self.0.len().min(LENGTH);
        if more.len() <= room {
            self.0.push_str(more);
            return Ok(());
        }
        let end = (0..=room).rev().find(|end| more.is_char_boundary(*end)).unwrap_or_default();
        self.0.push_str(&more[..end]);
        self.0.push('…');
        Err(fmt::Error)
    }
}
