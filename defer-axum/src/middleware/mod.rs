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
//! Under [`serve`](crate::serve()), jobs are released when the operating system has accepted the last byte of the response
//! that goes out, whatever layers lie between this one and the server. Under any other server, and for a request that was
//! made in this process, they are released when this layer's response body has ended or was dropped.
//! [`Delivery`](crate::Delivery) lists how a response can end. In each case jobs are released exactly once.
//!
//! If the service inside this layer fails with an error, a layer further out answers. Under [`serve`](crate::serve()) the
//! jobs wait for that answer. Elsewhere the layer cannot see it and releases them at once, as
//! [`Delivery::Cancelled`](crate::Delivery::Cancelled).
//!
//! # Bodies
//!
//! A body is polled inside the scope, so jobs that it defers while it streams are collected too. The exception is a
//! body that is empty, or short and of known length (up to 16 KiB). If the request has deferred nothing, such a body is
//! passed on as it is, because wrapping it would cost an allocation; under [`serve`](crate::serve()), even if the
//! request has deferred jobs. A job that the body then defers while it is polled runs at once, on the global runner. If
//! your own body type announces such a length *and* defers jobs, extract [`Defer`](crate::Defer) in the handler and
//! push to that.
//!
//! # Extensions of a response
//!
//! What an extension of a response defers while it is dropped is collected under [`serve`](crate::serve()), which drops those of the
//! response that goes out. Another server, or a layer further out that drops the response, does so outside of the scope: such a job
//! runs at once, on the global runner.
//!
//! # Middleware outside of the layer
//!
//! A middleware that wraps this layer is not in the scope of the request: a job that it defers runs at once, on the global runner, and a
//! warning in the log says so. Layers that are added later wrap earlier ones, so add this layer after a middleware that defers.
//!
//! # Nested layers
//!
//! The innermost layer collects the jobs, and its runner runs them.
//!
//! # Panics in handlers
//!
//! A panic passes through. The request's jobs are released as [`Delivery::Panicked`](crate::Delivery::Panicked).

mod body;
mod future;
mod layer;
mod service;

pub use defer_core::middleware::Next;

pub use self::{future::ResponseFuture, layer::DeferLayer, service::DeferService};
