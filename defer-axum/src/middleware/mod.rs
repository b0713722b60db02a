//! The middleware that collects the jobs of a request and releases them when its response is over.
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
//! Under [`serve`](crate::serve()), jobs are released when the operating system has accepted the last byte of the outgoing
//! response, regardless of the layers between this one and the server. Under any other server, and for a request made inside this
//! process, they are released when this layer's response body has ended or was dropped. [`Delivery`](crate::Delivery) lists the
//! ways in which a response can end. In each case, jobs are released exactly once.
//!
//! If the service inside this layer returns an error, a layer further out answers. Under [`serve`](crate::serve()) the jobs wait
//! for that answer. Elsewhere the layer cannot see it and releases the jobs immediately, as
//! [`Delivery::Cancelled`](crate::Delivery::Cancelled).
//!
//! # Bodies
//!
//! A body is polled inside the scope, so jobs that it defers while it streams are collected too. The exception is a body that is
//! empty, or short and of known length (up to 16 KiB). Wrapping it would cost an allocation, so it is passed on unchanged if the
//! request has deferred nothing, and under [`serve`](crate::serve()) in any case. A job that such a body defers while it is polled
//! runs immediately, on the global runner. If your own body type announces such a length *and* defers jobs, extract
//! [`Defer`](crate::Defer) in the handler and push the jobs to it.
//!
//! # Response extensions
//!
//! An extension of a response can defer jobs in its `Drop`. Under [`serve`](crate::serve()), which drops the extensions of the
//! outgoing response inside the scope, these jobs are collected. Other servers, and outer layers that drop a response, do so
//! outside the scope: the job then runs immediately, on the global runner.
//!
//! # Middleware outside the layer
//!
//! A middleware that wraps this layer is not in the scope of the request. A job that it defers runs immediately, on the global
//! runner, and a warning is logged. Layers added later wrap earlier ones, so add this layer after a middleware that defers.
//!
//! # Nested layers
//!
//! The innermost layer collects the jobs, and its runner runs them.
//!
//! # Panics in handlers
//!
//! The layer does not catch panics. It releases the request's jobs as [`Delivery::Panicked`](crate::Delivery::Panicked).

mod body;
mod future;
mod layer;
mod service;

pub use defer_core::middleware::Next;

pub use self::{future::ResponseFuture, layer::DeferLayer, service::DeferService};
