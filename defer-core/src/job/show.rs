//! Shows a job in the messages of tests.

use std::{
    fmt::{self, Debug},
    marker::PhantomData,
};

/// Writes a job.
pub type Show<J> = fn(&J, &mut fmt::Formatter<'_>) -> fmt::Result;

/// Holds the function that writes a job type, if the type is `Debug`: the inherent constant takes precedence over the trait's.
/// Used by the derive.
#[derive(Debug)]
pub struct Shown<J>(PhantomData<J>);

impl<J: Debug> Shown<J> {
    /// The function that writes the type.
    pub const SHOW: Option<Show<J>> = Some(J::fmt);
}

/// The fallback for a job type that is not `Debug`.
pub trait Unshown<J> {
    /// No function: the type is not `Debug`.
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
