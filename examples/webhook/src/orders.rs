//! The orders, and whether the partner knows about each.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use defer_axum::JobId;
use serde::Serialize;
use uuid::Uuid;

use crate::notify::NotifyPartner;

/// The orders of this process. A clone is the same list.
#[derive(Clone, Default)]
pub(crate) struct Orders(Arc<Mutex<Vec<Order>>>);

/// One order, as `GET /orders` shows it.
#[derive(Clone, Serialize)]
pub(crate) struct Order {
    pub(crate) id: Uuid,
    pub(crate) item: String,
    pub(crate) quantity: u32,
    pub(crate) delivery: Delivery,
    /// The job that tells the partner.
    #[serde(skip)]
    job: Option<JobId>,
}

/// The progress of telling the partner about the order.
#[derive(Clone, Default, Serialize)]
pub(crate) struct Delivery {
    pub(crate) state: State,
    /// Attempts started so far.
    pub(crate) attempts: u32,
    /// The error of the last attempt.
    pub(crate) error: Option<String>,
}

#[derive(Clone, Copy, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Waiting for the first or the next attempt.
    #[default]
    Waiting,
    /// In an attempt.
    Trying,
    /// The partner accepted it.
    Delivered,
    /// Refused, or out of attempts.
    Failed,
}

impl Order {
    pub(crate) fn new(item: String, quantity: u32) -> Self {
        Self { id: Uuid::new_v4(), item, quantity, delivery: Delivery::default(), job: None }
    }
}

impl Orders {
    /// Stores a new or changed order, and defers the call to the partner. One request may do so several times: the key lets
    /// only the last of its jobs run, so the partner is told once, about the final order.
    pub(crate) fn save(&self, mut order: Order) -> Order {
        let job =
            NotifyPartner::defer(order.id, order.item.as_str(), order.quantity).key(order.id.to_string());
        order.job = Some(job.id());
        let mut orders = self.lock();
        match orders.iter_mut().find(|saved| saved.id == order.id) {
            Some(saved) => *saved = order.clone(),
            None => orders.push(order.clone()),
        }
        order
    }

    pub(crate) fn all(&self) -> Vec<Order> {
        self.lock().clone()
    }

    /// Stores the progress of this job, if it is the latest of an order.
    pub(crate) fn set_delivery(&self, job: JobId, delivery: Delivery) {
        if let Some(order) = self.lock().iter_mut().find(|order| order.job == Some(job)) {
            order.delivery = delivery;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Order>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
