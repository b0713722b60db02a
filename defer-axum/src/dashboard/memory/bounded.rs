//! User texts of any length, bounded.

use std::{
    fmt::{self, Write as _},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// The number of bytes of a text to keep.
const LENGTH: usize = 500;

/// Formats a user's value, up to some length.
pub(crate) fn bounded(what: impl fmt::Display) -> String {
    let mut text = Bounded(String::new());
    let written = catch_unwind(AssertUnwindSafe(|| write!(text, "{what}")));
    if let Err(panic) = written {
        // Dropping it may panic too.
        mem::forget(panic);
        return "the error panicked while it was formatted".to_owned();
    }
    text.0
}

/// Text of a bounded length. Writing more returns an error.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_kept_as_it_is_or_cut_between_two_of_its_letters(
            parts in proptest::collection::vec(".{0,200}", 0..6),
        ) {
            struct InParts(Vec<String>);
            impl fmt::Display for InParts {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.iter().try_for_each(|part| f.write_str(part))
                }
            }
            let whole = parts.concat();
            let kept = bounded(InParts(parts));
            match kept.strip_suffix('…') {
                Some(cut) if whole.len() > LENGTH => {
                    prop_assert!(whole.starts_with(cut) && cut.len() <= LENGTH && cut.len() + 4 > LENGTH);
                }
                _ => prop_assert_eq!(kept, whole),
            }
        }
    }
}
