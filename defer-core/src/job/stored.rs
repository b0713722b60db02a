//! Reads jobs that a queue has stored.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::job::Deferrable;
use crate::{model::error::BoxError, primitives::panic::drop_quietly};

/// Reads a stored job, for the worker of a queue.
///
/// # Errors
///
/// If the payload is not such a job, or if reading it panicked. The error says where, without any of its contents, which may be
/// secret.
pub fn read_stored<J: Deferrable>(payload: &[u8]) -> Result<J, String> {
    let Some(decode) = J::DECODE else { return Err("it cannot be read".to_owned()) };
    match catch_unwind(AssertUnwindSafe(|| decode(payload))) {
        Ok(Ok(job)) => Ok(job),
        Ok(Err(error)) => Err(unreadable(J::NAME, &error)),
        Err(panic) => {
            drop_quietly(panic);
            Err(format!("the stored job is not a `{}`: reading it panicked", J::NAME))
        }
    }
}

fn unreadable(name: &str, error: &BoxError) -> String {
    let why = match error.downcast_ref::<serde_json::Error>() {
        Some(error) => {
            let what = error.to_string();
            let is_ours = what.starts_with("missing field") || error.is_syntax() || error.is_eof();
            let (line, column) = (error.line(), error.column());
            if is_ours {
                what
            } else {
                format!("it does not fit the type at line {line} column {column} of its JSON")
            }
        }
        None => "it does not fit the type".to_owned(),
    };
    format!("the stored job is not a `{name}`: {why}")
}
