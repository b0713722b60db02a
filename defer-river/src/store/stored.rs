//! A job as it is read from `river_job`.

use std::time::Duration;

use defer_core::{Delivery, JobId, ResponseInfo, queue::Metadata};
use serde::{Deserialize, Serialize};

use super::interval::millis;

/// What is ours in the metadata of a job, under the key `defer`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Defer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<JobId>,
    /// The process that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) holder: Option<String>,
    /// The metadata of the request, or its JSON as a text.
    pub(crate) request: Request,
    /// `success` or `when`, until it has been decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) condition: Option<String>,
    /// The status of the response, as the layer saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response: Option<Response>,
    /// `skipped` or `duplicate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<String>,
    /// The job of which this is a duplicate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<String>,
}

/// The metadata of a request. With a NUL somewhere, which Postgres' `jsonb` refuses, it is a text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Request {
    Plain(Metadata),
    Text(String),
}

impl Default for Request {
    fn default() -> Self {
        Self::Plain(Metadata::new())
    }
}

impl Defer {
    pub(super) fn new(id: JobId, metadata: &Metadata) -> Result<Self, serde_json::Error> {
        let has_nul = metadata.iter().any(|(key, value)| key.contains('\0') || value.contains('\0'));
        let request = if has_nul {
            Request::Text(serde_json::to_string(metadata)?)
        } else {
            Request::Plain(metadata.clone())
        };
        Ok(Self { id: Some(id), request, ..Self::default() })
    }

    /// Returns the metadata of the request.
    pub(crate) fn request(&self) -> Metadata {
        match &self.request {
            Request::Plain(metadata) => metadata.clone(),
            Request::Text(json) => serde_json::from_str(json).unwrap_or_default(),
        }
    }

    /// Returns how the response ended. If its process died before, the status may be known.
    pub(crate) fn response(&self) -> Option<ResponseInfo> {
        let Some(response) = &self.response else {
            let status = self.status?.try_into().ok();
            return Some(ResponseInfo::new(Delivery::Unknown).with_status(status));
        };
        Some(response.read())
    }
}

/// How a response ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Response {
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    delivery: String,
    #[serde(default)]
    bytes_sent: u64,
    #[serde(default)]
    elapsed_ms: u64,
}

impl Response {
    pub(crate) fn new(response: &ResponseInfo) -> Self {
        Self {
            status: response.status().map(|status| status.as_u16()),
            delivery: response.delivery().as_str().to_owned(),
            bytes_sent: response.bytes_sent(),
            elapsed_ms: millis(response.elapsed()),
        }
    }

    fn read(&self) -> ResponseInfo {
        ResponseInfo::new(Delivery::from_name(&self.delivery))
            .with_status(self.status.and_then(|status| status.try_into().ok()))
            .with_bytes_sent(self.bytes_sent)
            .with_elapsed(Duration::from_millis(self.elapsed_ms))
    }
}

/// A job in River's table. Times are in milliseconds, by the database's clock.
#[derive(Debug, Deserialize)]
pub(crate) struct Stored {
    /// River's id.
    pub(crate) row: i64,
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) attempt: u32,
    pub(crate) error: Option<String>,
    pub(crate) rescues: Option<u32>,
    #[serde(default)]
    pub(crate) defer: Defer,
    pub(crate) is_paused: Flag,
    /// How long until it is due. Negative if it has been.
    pub(crate) due: i64,
    pub(crate) age: i64,
    /// How long ago it ended.
    pub(crate) ended: Option<i64>,
}

/// SQLite's booleans are numbers.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Flag {
    Bool(bool),
    Number(i64),
}

impl Flag {
    pub(crate) fn is_set(self) -> bool {
        match self {
            Self::Bool(flag) => flag,
            Self::Number(number) => number != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_read_as_it_was_written_and_without_one_the_status_is_known() {
        let written = ResponseInfo::new(Delivery::Disconnected)
            .with_status(200_u16.try_into().ok())
            .with_bytes_sent(7)
            .with_elapsed(Duration::from_millis(9));
        assert_eq!(format!("{:?}", Response::new(&written).read()), format!("{written:?}"));
        let unknown = Defer { status: Some(502), ..Defer::default() }.response();
        let unknown = unknown.map(|read| (read.delivery(), read.status().map(|status| status.as_u16())));
        assert_eq!(unknown, Some((Delivery::Unknown, Some(502))));
        assert!(Defer::default().response().is_none());
    }

    #[test]
    fn metadata_with_a_nul_is_kept_in_a_text_without_one() -> Result<(), serde_json::Error> {
        let metadata = Metadata::from([("key".to_owned(), "a\0b".to_owned())]);
        let written = serde_json::to_string(&Defer::new(JobId::unique(), &metadata)?)?;
        assert!(!written.replace("\\\\", "").contains("\\u0000"), "Postgres would refuse {written}");
        assert_eq!(serde_json::from_str::<Defer>(&written)?.request(), metadata);
        Ok(())
    }
}
