//! The layer, and what it captures.

use std::{fmt, time::Duration};

use defer_core::Runner;
use http::HeaderName;
use serde::{Serialize, de::DeserializeOwned};
use tower_layer::Layer;

use super::service::DeferService;
use crate::capture::LayerConfig;

/// Collects the jobs that a request defers, and hands them to its runner when the response is over.
///
/// Add it after layers that defer jobs, and before layers that set an [extension](Self::capture_extension) for jobs. The
/// [module](super) documents its guarantees.
#[derive(Clone)]
pub struct DeferLayer {
    config: LayerConfig,
}

impl DeferLayer {
    /// Creates a layer whose jobs this runner runs.
    pub fn new(runner: Runner) -> Self {
        Self { config: LayerConfig::new(runner) }
    }

    /// Lets jobs see these request headers, in [`RequestInfo::headers`](crate::RequestInfo::headers). By default they see none,
    /// because headers contain cookies and tokens.
    ///
    /// ```
    /// use axum::http::header::CONTENT_TYPE;
    /// use defer_axum::{DeferLayer, Runner, defer_fn};
    ///
    /// let layer = DeferLayer::new(Runner::default())
    ///     .capture_request_headers(["user-agent", "referer"])
    ///     .capture_response_headers([CONTENT_TYPE]);
    ///
    /// async fn handler() {
    ///     defer_fn(|cx| async move {
    ///         println!("{:?}", cx.request().and_then(|request| request.headers().get("user-agent")));
    ///     });
    /// }
    /// ```
    ///
    /// # Panics
    ///
    /// If a name is not a valid header name.
    #[must_use]
    pub fn capture_request_headers<I>(mut self, names: I) -> Self
    where
        I: IntoIterator<Item: TryInto<HeaderName, Error: fmt::Display>>,
    {
        self.config.request_headers = header_names(names);
        self
    }

    /// Lets jobs see these headers of the outgoing response, in [`ResponseInfo::headers`](crate::ResponseInfo::headers). By
    /// default they see none.
    ///
    /// # Panics
    ///
    /// If a name is not a valid header name.
    #[must_use]
    pub fn capture_response_headers<I>(mut self, names: I) -> Self
    where
        I: IntoIterator<Item: TryInto<HeaderName, Error: fmt::Display>>,
    {
        self.config.response_headers = header_names(names);
        self
    }

    /// Releases jobs at most this long after the handler has answered. If the response is not over by then, they see
    /// [`Delivery::Unfinished`](crate::Delivery::Unfinished). By default there is no limit: a client that does not read, or a
    /// stream that does not end, delays the jobs of its request indefinitely.
    ///
    /// The response goes on, and jobs that it defers later start immediately. Time for which a response is held until there is
    /// room for its jobs does not count. This needs a runtime with a timer: without one, nothing is released early.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use defer_axum::{DeferLayer, Runner};
    ///
    /// let layer = DeferLayer::new(Runner::default()).release_after(Duration::from_secs(60));
    /// ```
    #[must_use]
    pub fn release_after(mut self, timeout: Duration) -> Self {
        self.config.release_after = Some(timeout);
        self
    }

    /// Captures the extension of this type from each request, such as a tenant or user that a layer has set. Jobs get a clone
    /// of it with [`JobContext::extension`](crate::JobContext::extension). They see no other extensions. With a durable job, it
    /// is stored as JSON under the type's full path. If you rename or move the type, stored jobs no longer find it, and fail
    /// with an error that says so.
    ///
    /// Each request clones it, even if it defers nothing. If a value cannot be serialized as JSON, the durable jobs of its
    /// request run in memory, and an event says why.
    ///
    /// The extension is captured when the request arrives at this layer, so add the layer that sets it after this one. Inside
    /// this layer, use [`Defer::insert_extension`](defer_core::Defer::insert_extension).
    ///
    /// ```
    /// use axum::{Extension, Router, routing::post};
    /// use defer_axum::{DeferLayer, Runner, defer_fn};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Clone, Serialize, Deserialize)]
    /// struct Tenant(String);
    ///
    /// async fn order() {
    ///     defer_fn(|cx| async move {
    ///         let Tenant(name) = cx.extension()?;
    ///         println!("an order of {name}");
    ///         Ok(())
    ///     });
    /// }
    ///
    /// let app: Router = Router::new()
    ///     .route("/orders", post(order))
    ///     .layer(DeferLayer::new(Runner::default()).capture_extension::<Tenant>())
    ///     .layer(Extension(Tenant("acme".into()))); // in real life from the request
    /// ```
    #[must_use]
    pub fn capture_extension<T>(mut self) -> Self
    where
        T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        self.config.extensions.push(|extensions, captured| {
            if let Some(value) = extensions.get::<T>() {
                drop(captured.insert(value.clone()));
            }
        });
        self
    }
}

/// Creates a layer on [`Runner::global`].
impl Default for DeferLayer {
    fn default() -> Self {
        Self::new(Runner::global())
    }
}

impl<S> Layer<S> for DeferLayer {
    type Service = DeferService<S>;

    fn layer(&self, inner: S) -> DeferService<S> {
        DeferService::new(inner, self.config.clone())
    }
}

impl fmt::Debug for DeferLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferLayer").field("config", &self.config).finish()
    }
}

fn header_names<I>(names: I) -> Box<[HeaderName]>
where
    I: IntoIterator<Item: TryInto<HeaderName, Error: fmt::Display>>,
{
    names
        .into_iter()
        .map(|name| name.try_into().unwrap_or_else(|error| panic!("cannot capture a header: {error}")))
        .collect()
}
