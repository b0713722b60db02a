//! Three hundred job types. They are in a crate of their own, which is not optimized: that would take longer than to compile all of the
//! soak.

use defer_axum::{Deferrable, Job, JobContext, JobError, JobResult, Policy};

/// The number of types.
pub const TYPES: usize = 300;

/// A job of one of the types. Some fail, each with its own error.
struct Numbered<const N: usize> {
    /// The error to fail with. `None` succeeds.
    error: Option<String>,
}

impl<const N: usize> Job for Numbered<N> {
    async fn run(&self, _: &JobContext) -> JobResult {
        match &self.error {
            Some(error) => Err(JobError::msg(error.clone())),
            None => Ok(()),
        }
    }
}

impl<const N: usize> Numbered<N> {
    const BYTES: [u8; 18] = {
        let mut name = *b"SynchronizeCart000";
        name[15] += (N / 100) as u8;
        name[16] += (N / 10 % 10) as u8;
        name[17] += (N % 10) as u8;
        name
    };
}

impl<const N: usize> Deferrable for Numbered<N> {
    const NAME: &'static str = match std::str::from_utf8(&Self::BYTES) {
        Ok(name) => name,
        Err(_) => panic!("it is ASCII"),
    };
    const POLICY: Policy = Policy::new();
}

macro_rules! defer_hundred {
    ($hundred:literal, $error:expr, $($ten:literal)*) => {
        $(defer_hundred!(@ten $hundred, $ten, $error, 0 1 2 3 4 5 6 7 8 9);)*
    };
    (@ten $hundred:literal, $ten:literal, $error:expr, $($one:literal)*) => {
        $({
            const N: usize = $hundred * 100 + $ten * 10 + $one;
            drop(defer_axum::defer(Numbered::<N> { error: $error(N) }));
        })*
    };
}

/// Defers a job of each type. `error` returns the error that one fails with. Not generic, so that the jobs are compiled here.
pub fn defer_each(error: &dyn Fn(usize) -> Option<String>) {
    defer_hundred!(0, error, 0 1 2 3 4 5 6 7 8 9);
    defer_hundred!(1, error, 0 1 2 3 4 5 6 7 8 9);
    defer_hundred!(2, error, 0 1 2 3 4 5 6 7 8 9);
}
