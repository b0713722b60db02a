//! Shows a job in the messages of tests.

use std::{
    fmt::{self, Debug},
    marker::PhantomData,
};

/// Writes a job.
pub type Show<J> = fn(&J, &mut fmt::Formatter<'_>) -> fmt::Result;

/// How a job type is written, if it is `Debug`: the inherent constant takes precedence over the trait's. Used by the derive.
#[derive(Debug)]
pub struct Shown<J>(PhantomData<J>);

impl<J: Debug> Shown<J> {
    /// How it is written.
    pub const SHOW: Option<Show<J>> = Some(J::fmt);
}

/// The fallback for a job type that is not `Debug`.
pub trait Unshown<J> {
    /// How it is written.
    const SHOW: Option<Show<J>> = None;
}

impl<J> Unshown<J> for Shown<J> {}

/// Expands to [`Shown::SHOW`] of a type that is `Debug`, and to `None` for others.
#[doc(hidden)]
#[macro_export]
macro_rules! __show {
    ($job:ty) => {{
        use $crate::__private::Unshown as _;
        $crate::__private::Shown::<$job>::SHOW
    }};
}
