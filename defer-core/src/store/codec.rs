//! Serializes and deserializes jobs.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::model::error::BoxError;

/// Deserializes a job from a queue.
pub type Decode<J> = fn(&[u8]) -> Result<J, BoxError>;

/// Serializes a job for a queue.
pub type Encode<J> = fn(&J) -> Result<Vec<u8>, BoxError>;

/// Serializes a job. Used by the derive.
pub fn encode<J: Serialize>(job: &J) -> Result<Vec<u8>, BoxError> {
    Ok(serde_json::to_vec(job)?)
}

/// A job type that can be queued. The derive puts it into the bounds of a generic type.
pub trait Queued: Serialize {}

impl<J: Serialize> Queued for J {}

/// An argument of a job function whose job is durable.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a durable job: it does not implement `Serialize` and `Deserialize`",
    label = "the queue stores all arguments, and `{Self}` is one",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it"
)]
pub trait Stored: Serialize + DeserializeOwned {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Stored for T {}

/// Holds the function that deserializes a job type, if there is one: the inherent constant takes precedence over the trait's.
/// Used by the derive.
#[derive(Debug)]
pub struct Decoded<J>(PhantomData<J>);

impl<J: DeserializeOwned> Decoded<J> {
    /// The function that deserializes the type.
    pub const DECODE: Option<Decode<J>> = Some(|payload| Ok(decode(payload)?));
}

/// The fallback for a job type that cannot be deserialized.
pub trait Undecoded<J> {
    /// No function: the type cannot be deserialized.
    const DECODE: Option<Decode<J>> = None;
}

impl<J> Undecoded<J> for Decoded<J> {}

/// Expands to [`Decoded::DECODE`] of a type that can be deserialized, and to `None` for others.
#[doc(hidden)]
#[macro_export]
macro_rules! __decode {
    ($job:ty) => {{
        use $crate::__private::Undecoded as _;
        $crate::__private::Decoded::<$job>::DECODE
    }};
}

/// Deserializes a job from the payload of its [`Envelope`](super::Envelope).
///
/// # Errors
///
/// If the payload is not the JSON of a `J`.
pub fn decode<J: for<'de> Deserialize<'de>>(payload: &[u8]) -> Result<J, serde_json::Error> {
    serde_json::from_slice(payload)
}
