//! Databases, jobs and clients for the tests of jobs in a user's transaction.

#![allow(missing_docs, clippy::unwrap_used, clippy::missing_panics_doc, reason = "these are tests")]

pub mod client;
pub mod place;
pub mod rows;

use std::sync::{Arc, Mutex};

use defer_core::{Deferrable as _, Job, JobContext, JobResult};
use defer_macros::Deferrable;
use serde::{Deserialize, Serialize};

/// A job that is stored with an order.
#[derive(Clone, Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue)]
pub struct Ship {
    pub order: String,
}

impl Job for Ship {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Shipped>()?.0.lock().unwrap().push(self.order.clone());
        Ok(())
    }
}

/// The orders that were shipped.
#[derive(Clone, Debug, Default)]
pub struct Shipped(Arc<Mutex<Vec<String>>>);

impl Shipped {
    pub fn orders(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Ship {
    pub fn order(order: impl Into<String>) -> Self {
        Self { order: order.into() }
    }

    pub const NAME_IN_THE_QUEUE: &str = Self::NAME;
}

/// A job that runs before others.
#[derive(Clone, Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, priority = 9)]
pub struct Urgent;

impl Job for Urgent {
    async fn run(&self, _: &JobContext) -> JobResult {
        Ok(())
    }
}
