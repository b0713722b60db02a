//! Errors: of a job, of deferring one, and of a job that asks for state that is missing.

use std::{
    any::Any,
    borrow::Cow,
    error::Error,
    fmt::{self, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::panic::drop_quietly;

/// A boxed error of any type, as tower and axum use it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The result of [`Job::run`](crate::Job::run).
pub type JobResult = Result<(), JobError>;

/// Why one attempt of a job failed.
///
/// Any error converts into it, so `?` works in a job: errors of the standard library, boxed errors, `anyhow`'s, and
/// strings. After a failed attempt another follows, while the job's policy has attempts left. Mark an error as
/// [`fatal`](JobError::fatal) when another attempt would not help.
///
/// Like `anyhow::Error` it does not implement [`Error`] itself, which makes that conversion possible.
/// [`as_error`](JobError::as_error) returns the error inside. Cloning is cheap.
///
/// ```
/// use defer_core::{JobError, JobResult};
///
/// fn parse(port: &str) -> JobResult {
///     let port: u16 = port.parse()?;
///     if port == 0 {
///         return Err(JobError::msg("port 0 cannot be called").fatal());
///     }
///     Ok(())
/// }
///
/// assert!(!parse("http").unwrap_err().is_fatal());
/// assert!(parse("0").unwrap_err().is_fatal());
/// ```
#[derive(Clone)]
pub struct JobError {
    source: Source,
    fatal: bool,
}

/// A user's error, whose `Drop` may panic wherever the last clone is dropped.
#[derive(Clone)]
struct Source(Option<Arc<dyn Error + Send + Sync>>);

impl Source {
    fn get(&self) -> &(dyn Error + Send + Sync + 'static) {
        self.0.as_deref().expect("an error is there until it is dropped")
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        drop_quietly(self.0.take());
    }
}

impl JobError {
    /// Creates an error that is only a message.
    pub fn msg(message: impl Into<Cow<'static, str>>) -> Self {
        Self::from(Message(message.into()))
    }

    /// Creates an error with the message of a panic.
    pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Self {
        let message = if let Some(message) = panic.downcast_ref::<&'static str>() {
            Self::msg(format!("panicked: {message}"))
        } else if let Some(message) = panic.downcast_ref::<String>() {
            Self::msg(format!("panicked: {message}"))
        } else {
            Self::msg("panicked with a value that is not a string")
        };
        drop_quietly(panic);
        message
    }

    /// Marks the error as fatal: another attempt would not help, so the job gets none.
    #[must_use = "this returns the marked error"]
    pub fn fatal(mut self) -> Self {
        self.fatal = true;
        self
    }

    /// Returns whether the job gets no more attempts.
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }

    /// Returns the error inside, for its sources or a downcast.
    pub fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self.source.get()
    }
}

impl<E: Into<BoxError>> From<E> for JobError {
    fn from(error: E) -> Self {
        Self { source: Source(Some(Arc::from(error.into()))), fatal: false }
    }
}

/// Writes the error and its sources, separated by `: `. Many errors write their source themselves: what the text already ends
/// with is not repeated.
impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = self.source.get();
        let mut written = Written { to: f, end: String::new() };
        write!(written, "{error}")?;
        let mut source = error.source();
        while let Some(error) = source {
            let more = error.to_string();
            if !written.end.ends_with(&more) {
                write!(written, ": {more}")?;
            }
            source = error.source();
        }
        Ok(())
    }
}

/// Passes on what is written, and keeps the end of it.
struct Written<'a, 'b> {
    to: &'a mut fmt::Formatter<'b>,
    end: String,
}

/// How much of it is kept. The text of a longer source is repeated.
const END: usize = 1024;

impl fmt::Write for Written<'_, '_> {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        self.to.write_str(more)?;
        self.end.push_str(more);
        if self.end.len() > 2 * END {
            let cut = (self.end.len() - END..).find(|at| self.end.is_char_boundary(*at));
            self.end.drain(..cut.unwrap_or_default());
        }
        Ok(())
    }
}

impl fmt::Debug for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobError").field("source", &self.source.get()).field("fatal", &self.fatal).finish()
    }
}

/// Calls user code and converts its panic into an error.
pub(crate) fn caught<T>(f: impl FnOnce() -> T) -> Result<T, JobError> {
    catch_unwind(AssertUnwindSafe(f)).map_err(JobError::panicked)
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Message(Cow<'static, str>);

/// Why a job could not be deferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeferError {
    /// There is no Tokio runtime on this thread, so nothing could run the job.
    #[error(
        "there is no Tokio runtime here to run the job: defer it inside `#[tokio::main]`, a handler or \
         a task, or enter a runtime with `Handle::enter`"
    )]
    NoRuntime,
}

/// [`RunnerBuilder::install_global`](crate::RunnerBuilder::install_global) was called too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the global runner already exists: install it once, early in `main`, before anything is deferred outside of a \
     request and before `DeferLayer::default()` or `Runner::global()`"
)]
#[non_exhaustive]
pub struct GlobalRunnerExists;

/// A job asked for state of a type that its runner was not given.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no state of type `{type_name}`: give it to the runner with `Runner::builder().state(..)`")]
pub struct MissingState {
    pub(crate) type_name: &'static str,
}

impl MissingState {
    /// Returns the type that was asked for, as [`std::any::type_name`] writes it.
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }
}
