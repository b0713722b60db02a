//! Errors of jobs, of deferring a job, and of missing state or extensions.

use std::{
    any::Any,
    borrow::Cow,
    error::Error,
    fmt::{self, Write as _},
    num::NonZeroU32,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use crate::primitives::panic::{drop_quietly, take_place};

/// A boxed error of any type, as tower and axum use it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The result of [`Job::run`](crate::Job::run).
pub type JobResult = Result<(), JobError>;

/// The error of one attempt of a job.
///
/// Any error converts into it, so `?` works in a job: errors of the standard library, boxed errors, `anyhow`'s, and
/// strings. A failed attempt is followed by another as long as the job's policy has attempts left. Mark an error as
/// [`fatal`](JobError::fatal) if another attempt would not help.
///
/// Like `anyhow::Error`, it does not implement [`Error`] itself. This makes the conversion possible.
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
    panicked: bool,
    timed_out: bool,
    snoozes: bool,
    /// The wait before the next attempt, in milliseconds plus one. Small, because every result has room for it.
    retry_after: Option<NonZeroU32>,
}

/// A user's error. Its `Drop` may panic wherever the last clone is dropped.
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
    /// Creates an error from a message.
    pub fn msg(message: impl Into<Cow<'static, str>>) -> Self {
        Self::from(Message(message.into()))
    }

    /// Creates an error with the message of a panic that was just caught, and its place.
    pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Self {
        let panicked = match take_place() {
            Some(place) => format!("panicked at {place}"),
            None => "panicked".to_owned(),
        };
        let message = if let Some(message) = panic.downcast_ref::<&'static str>() {
            format!("{panicked}: {message}")
        } else if let Some(message) = panic.downcast_ref::<String>() {
            format!("{panicked}: {message}")
        } else {
            format!("{panicked} with a value that is not a string")
        };
        drop_quietly(panic);
        Self { panicked: true, ..Self::msg(message) }
    }

    /// Creates the error of an attempt that exceeded this limit.
    pub(crate) fn timed_out(limit: Duration) -> Self {
        Self { timed_out: true, ..Self::msg(format!("took longer than its limit of {limit:?}")) }
    }

    /// Marks the error as fatal: the job is not retried.
    #[must_use = "this returns the marked error"]
    pub fn fatal(mut self) -> Self {
        self.fatal = true;
        self
    }

    /// Allows another attempt after all.
    pub(crate) fn not_fatal(mut self) -> Self {
        // An error that was both fatal and a snooze has failed.
        self.snoozes &= !self.fatal;
        self.fatal = false;
        self
    }

    /// Returns whether the job gets no more attempts.
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }

    /// Sets the wait before the next attempt, in place of the policy's backoff. Use it if the other side says when to retry, as
    /// with HTTP's `Retry-After`. The delay has millisecond precision, and is at most 49 days. It has no effect if no attempt
    /// is left, or if the error is [`fatal`](Self::fatal).
    ///
    /// ```
    /// use defer_core::{JobError, JobResult};
    /// use std::time::Duration;
    ///
    /// fn answered(status: u16, retry_after: Option<u64>) -> JobResult {
    ///     match (status, retry_after) {
    ///         (200, _) => Ok(()),
    ///         (429 | 503, Some(seconds)) => {
    ///             Err(JobError::msg("the partner is busy").retry_after(Duration::from_secs(seconds)))
    ///         }
    ///         _ => Err(JobError::msg(format!("the partner answered {status}"))),
    ///     }
    /// }
    /// # let busy = answered(429, Some(120)).unwrap_err();
    /// # assert_eq!(busy.next_attempt(), Some(Duration::from_secs(120)));
    /// ```
    #[must_use = "this returns the changed error"]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        let millis = delay.as_millis().try_into().unwrap_or(u32::MAX);
        self.retry_after = Some(NonZeroU32::MIN.saturating_add(millis));
        self
    }

    /// Returns an error that reschedules the job after this delay, for work that cannot be done yet: a file is missing, or the
    /// other side is closed for the night. It does not use up an attempt, and is not logged as a failure.
    ///
    /// The delay has the precision and the maximum of [`retry_after`](Self::retry_after). With either, the job does not count
    /// toward [`max_pending`](crate::RunnerBuilder::max_pending) while it waits. A closure runs only once, so it fails if it
    /// returns this error.
    ///
    /// ```
    /// use defer_core::{Job, JobContext, JobError, JobResult};
    /// use std::{path::PathBuf, time::Duration};
    ///
    /// struct Import {
    ///     file: PathBuf,
    /// }
    ///
    /// impl Job for Import {
    ///     async fn run(&self, _cx: &JobContext) -> JobResult {
    ///         if !self.file.exists() {
    ///             return Err(JobError::snooze(Duration::from_secs(60)));
    ///         }
    ///         // ..
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn snooze(delay: Duration) -> Self {
        Self { snoozes: true, ..Self::msg("not now").retry_after(delay) }
    }

    /// Returns whether the error only [reschedules](Self::snooze) the job.
    pub fn is_snooze(&self) -> bool {
        self.snoozes && !self.fatal
    }

    /// Returns the wait before the next attempt, if the error sets one.
    pub fn next_attempt(&self) -> Option<Duration> {
        self.retry_after.map(|millis| Duration::from_millis((millis.get() - 1).into()))
    }

    /// Returns whether the job panicked. [Middleware](crate::RunnerBuilder::around) and [`Job::failed`](crate::Job::failed) see
    /// such errors.
    pub fn is_panic(&self) -> bool {
        self.panicked
    }

    /// Returns whether the attempt took longer than its [timeout](crate::Policy::with_timeout). [`Job::failed`](crate::Job::failed) and
    /// events see such errors.
    pub fn is_timeout(&self) -> bool {
        self.timed_out
    }

    /// Returns the error inside, for its sources or a downcast.
    pub fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self.source.get()
    }
}

/// Types that `?` converts into a [`JobError`]: everything that converts into a [`BoxError`], which means strings and every
/// error that is `Send` and `Sync`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a job",
    label = "a job's error implements `Error` and is `Send + Sync`, as `Box<dyn Error + Send + Sync>` is, and `Box<dyn Error>` is not",
    note = "or make a message of it: `.map_err(|error| JobError::msg(error.to_string()))?`"
)]
pub trait IntoJobError: Into<BoxError> {}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError>> IntoJobError for E {}

impl<E: IntoJobError> From<E> for JobError {
    fn from(error: E) -> Self {
        Self {
            source: Source(Some(Arc::from(error.into()))),
            fatal: false,
            panicked: false,
            timed_out: false,
            snoozes: false,
            retry_after: None,
        }
    }
}

/// Writes the error and its sources, separated by `: `. Many errors write their source themselves, so a source with which the
/// text already ends is not repeated.
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

/// Passes on the written text, and keeps the end of it.
struct Written<'a, 'b> {
    to: &'a mut fmt::Formatter<'b>,
    end: String,
}

/// The length that is kept. A source with a longer text is always repeated.
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

/// The error of a job that cannot be deferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeferError {
    /// There is no Tokio runtime on this thread to run the job.
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

/// The error returned if a job asks for an extension that its request does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtensionError {
    /// The request has no extension of this type.
    #[error(
        "the job has no extension `{type_name}` from its request: name the type with `DeferLayer::capture_extension`, inside of \
         the layer that sets it, or set it with `Defer::insert_extension`; if the job comes from a queue, the type may have been \
         renamed or moved"
    )]
    #[non_exhaustive]
    Missing {
        /// The type, as [`std::any::type_name`] writes it.
        type_name: &'static str,
    },
    /// The queue stored the extension in a different form.
    #[error("the extension `{type_name}` that the queue stored cannot be read: has the type changed?")]
    #[non_exhaustive]
    Unreadable {
        /// The type, as [`std::any::type_name`] writes it.
        type_name: &'static str,
    },
}

/// The error returned if a job asks for state that its runner does not have.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "no state of type `{type_name}`: give it to the runner with `Runner::builder().state(..)`; {}",
    Given(given)
)]
pub struct MissingState {
    pub(crate) type_name: &'static str,
    pub(crate) given: Box<[&'static str]>,
}

impl MissingState {
    /// Returns the requested type, as [`std::any::type_name`] writes it.
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// Returns the types of the runner's state, as [`std::any::type_name`] writes them, in alphabetical order.
    pub fn given(&self) -> &[&'static str] {
        &self.given
    }
}

/// Lists the state that a runner was given.
struct Given<'a>(&'a [&'static str]);

impl fmt::Display for Given<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.0.split_first() else {
            return f.write_str("this one was given none");
        };
        write!(f, "this one has `{first}`")?;
        others.iter().try_for_each(|other| write!(f, ", `{other}`"))
    }
}
