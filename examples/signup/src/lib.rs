//! A sign-up page that answers first and sends the welcome mail afterwards.
//!
//! ```text
//! form -> web::sign_up -> sign-up and SendWelcome in one transaction (SQLite) -> answer
//!                                        |                                         |
//!                      queue -> worker -> SendWelcome::run           sent -> NoteAnswer::run
//!                                        |                                         |
//!                          Mailer -> outbox or SMTP                                |
//!                                        +--> Feed -> GET /events -> the row <-----+
//! ```
//!
//! With `QUEUE_URL`, the queue is in another database. The mail is then deferred with `SendWelcome::defer(..)`, stored before
//! the answer and sent after it.
//!
//! [`Service::open`] puts the parts together; `main.rs` listens, serves and stops.

mod config;
mod feed;
mod form;
mod mail;
pub mod metrics;
mod outcomes;
mod page;
mod service;
mod signups;
mod web;

pub use config::{Config, ConfigError, MailRoute};
pub use feed::Feed;
pub use mail::{Mailer, NoteAnswer, SendWelcome};
pub use service::Service;
pub use signups::{Answer, Mail, SignUp, SignUps, StoreError};
pub use web::routes;
