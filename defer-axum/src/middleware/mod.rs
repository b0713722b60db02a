//! The middleware: collects the jobs that a request defers, and releases them when its response is over.
//!
//! ```
//! use axum::{Router, routing::get};
//! use defer_axum::{DeferLayer, Runner, defer_fn};
//!
//! let runner = Runner::builder().state(String::from("what jobs need")).build();
//! let app: Router = Router::new()
//!     .route(
//!         "/",
//!         get(|| async {
//!             defer_fn(|cx| async move {
//!                 println!("{} was answered", cx.request().map_or("?", |request| request.uri().path()));
//!             });
//!             "hello"
//!         }),
//!     )
//!     .layer(DeferLayer::new(runner));
//! ```
//!
//! # When jobs are released
//!
//! Under [`serve`](crate::serve()) when the last byte of the response that finally goes out was accepted by the
//! operating system, whatever stands between this layer and the server. Under any other server, and for a request that
//! was made in this process, when this layer's response body has ended or was dropped. See
//! [`Delivery`](crate::Delivery) for how a response can end; jobs are released exactly once in each case.
//!
//! Where the service inside this layer fails with an error, a layer further out answers. Under [`serve`](crate::serve())
//! the jobs wait for that answer; elsewhere it cannot be seen, and they are released at once, as
//! [`Delivery::Cancelled`](crate::Delivery::Cancelled).
//!
//! # Bodies
//!
//! A body is polled inside the scope, so that jobs deferred while it streams count too. A request that has deferred
//! nothing gets its body back untouched if that is at its end or is short and of known length (up to 16 KiB): such
//! a body is complete, and wrapping it would cost an allocation. A body of one's own that announces such a length
//! *and* defers jobs while it is polled, in a request that had deferred none, is therefore outside of the scope;
//! extract [`Defer`](crate::Defer) in the handler and push to that.
//!
//! # Nested layers
//!
//! The innermost scope collects, and its runner runs.
//!
//! # Panics in handlers
//!
//! A panic passes through. The request's jobs are released as [`Delivery::Panicked`](crate::Delivery::Panicked).

mod body;
mod future;
mod layer;
mod service;

pub use self::{future::ResponseFuture, layer::DeferLayer, service::DeferService};
