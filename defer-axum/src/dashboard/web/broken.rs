//! The response if the dashboard itself fails.

use std::fmt;

use axum::response::{IntoResponse, Response};
use http::StatusCode;

pub(super) fn broken(error: &(impl fmt::Display + ?Sized)) -> Response {
    tracing::error!(target: "defer", %error, "the dashboard could not answer");
    (StatusCode::INTERNAL_SERVER_ERROR, "This did not work. The log says why.\n").into_response()
}
