//! Who serves: most promises hold whoever does.

use axum::Router;
use defer_axum::{DeferLayer, Delivery, Runner};

use crate::Server;

/// Who serves an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// `defer_axum::serve`.
    Defer,
    /// `axum::serve`.
    Axum,
}

impl By {
    /// The one and the other.
    pub const BOTH: [Self; 2] = [Self::Defer, Self::Axum];

    /// What a job is told of a response that went out whole.
    pub fn whole(self) -> Delivery {
        match self {
            Self::Defer => Delivery::Sent,
            Self::Axum => Delivery::Finished,
        }
    }

    /// Serves routes under a `DeferLayer`.
    pub async fn serve(self, routes: Router, runner: &Runner) -> Server {
        self.serve_app(routes.layer(DeferLayer::new(runner.clone())), runner).await
    }

    /// Serves an app that has its layers.
    pub async fn serve_app(self, app: Router, runner: &Runner) -> Server {
        match self {
            Self::Defer => Server::start_app(app, runner.clone()).await,
            Self::Axum => Server::start_plain_app(app, runner.clone()).await,
        }
    }
}
