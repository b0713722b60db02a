//! Tests what was deferred. Requires the feature `testing`.
//!
//! [`check_queue`] checks a [queue](crate::queue::Queue) of your own.

use std::ops::Deref;

use defer_core::RunnerBuilder;
pub use defer_core::testing::{Note, Place, Recorded, Retried, TestQueue, TestWorker, Written, check_queue};

use crate::middleware::DeferLayer;

/// Records the jobs that handlers defer, instead of running them.
///
/// ```
/// use axum::{Router, body::Body, http::Request, routing::get};
/// use defer_axum::{Deferrable, Job, JobContext, JobResult, testing::Recorder};
/// use tower::ServiceExt;
///
/// #[derive(Deferrable)]
/// struct SendWelcome {
///     to: String,
/// }
///
/// impl Job for SendWelcome {
///     async fn run(&self, _cx: &JobContext) -> JobResult {
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let recorder = Recorder::new();
/// let app = Router::new()
///     .route("/", get(|| async { SendWelcome::defer("ada@example.com"); }))
///     .layer(recorder.layer());
///
/// app.oneshot(Request::new(Body::empty())).await.unwrap();
/// recorder.assert_deferred::<SendWelcome>(|job| job.to == "ada@example.com");
/// recorder.assert_deferred_times::<SendWelcome>(1);
/// recorder.run_all_ok().await;
/// recorder.assert_nothing_deferred();
/// # }
/// ```
///
/// Dereferences to [`defer_core::testing::Recorder`], which has the assertions and runs jobs.
#[derive(Clone, Debug, Default)]
pub struct Recorder(defer_core::testing::Recorder);

impl Recorder {
    /// Creates a recorder with a default runner.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a recorder from this builder, to run jobs with state, limits and hooks.
    pub fn with(runner: RunnerBuilder) -> Self {
        Self(defer_core::testing::Recorder::with(runner))
    }

    /// Returns a layer to use in place of the app's own.
    pub fn layer(&self) -> DeferLayer {
        DeferLayer::new(self.0.runner().clone())
    }
}

impl Deref for Recorder {
    type Target = defer_core::testing::Recorder;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
