//! The operator who acts on the dashboard.

/// The name of the dashboard's user, for the log. Your authentication inserts it into the request's extensions.
///
/// ```
/// use axum::{extract::Request, http::StatusCode, middleware::Next, response::Response};
/// use defer_axum::dashboard::Operator;
///
/// async fn require_operator(mut request: Request, next: Next) -> Result<Response, StatusCode> {
///     // Your own authentication, in place of this.
///     let key = request.headers().get("x-operator").ok_or(StatusCode::UNAUTHORIZED)?;
///     let name = key.to_str().map_err(|_| StatusCode::UNAUTHORIZED)?.to_owned();
///     request.extensions_mut().insert(Operator(name));
///     Ok(next.run(request).await)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator(pub String);
