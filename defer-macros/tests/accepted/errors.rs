//! What `?` makes the error of a job.

use std::{error::Error, fmt};

use defer_axum::{BoxError, IntoJobError, JobError, JobResult};

fn of<E: Into<BoxError>>(error: E) -> JobError {
    JobError::from(error)
}

fn also<E: IntoJobError>(result: Result<(), E>) -> JobResult {
    Ok(result?)
}

#[derive(Debug)]
struct Generic<T>(T);

impl<T: fmt::Debug> fmt::Display for Generic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<T: fmt::Debug> Error for Generic<T> {}

#[test]
fn the_question_mark_makes_the_error_of_a_job_from_any_other() {
    let boxed: Box<dyn Error + Send + Sync> = "boxed".into();
    for error in [
        of("a literal"),
        of(String::from("a string")),
        of(fmt::Error),
        of(boxed),
        also(Err(Generic(7))).unwrap_err(),
        also(Err("not a number".parse::<u8>().unwrap_err())).unwrap_err(),
        "into".into(),
    ] {
        assert!(!error.to_string().is_empty());
    }
}
