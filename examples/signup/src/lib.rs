//! A sign-up page that answers first and sends the welcome mail after.
//!
//! ```text
//! form -> web::sign_up -> Signups (SQLite) -> SendWelcome::defer(..) -> answer
//!                                                     |
//!                              the answer is sent -> SendWelcome::run -> Mailer -> outbox or SMTP
//!                                                     |
//!                                    Feed -> GET /events -> the row on the page
//! ```
//!
//! [`Service::open`] puts the parts together; `main.rs` listens, serves and stops.

mod config;
mod feed;
mod form;
mod mail;
mod outcomes;
mod page;
mod service;
mod signups;
mod web;

pub use config::{Config, ConfigError, MailRoute};
pub use feed::Feed;
pub use mail::{Mailer, SendWelcome};
pub use service::Service;
pub use signups::{Answer, Mail, SignUp, SignUps, StoreError};
pub use web::routes;
