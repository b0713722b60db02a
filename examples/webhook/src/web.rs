//! The service's HTTP interface.

use axum::{
    Json, Router,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Deserialize;
use serde_json::json;

use crate::orders::{Order, Orders};

/// The routes. They defer, so they need a `DeferLayer` around them.
pub(crate) fn routes(orders: Orders) -> Router {
    Router::new().route("/orders", post(place).get(list)).fallback(nothing_here).with_state(orders)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrder {
    item: String,
    quantity: u32,
}

async fn place(
    State(orders): State<Orders>,
    new: Result<Json<NewOrder>, JsonRejection>,
) -> Result<(StatusCode, Json<Order>), Refusal> {
    let Json(new) = new?;
    let (item, quantity) = new.check()?;
    let mut order = orders.save(Order::new(item, quantity));
    if order.quantity >= 10 {
        // One item is free for every ten. The order is saved twice, yet the partner is told once.
        order.quantity += order.quantity / 10;
        order = orders.save(order);
    }
    Ok((StatusCode::CREATED, Json(order)))
}

async fn list(State(orders): State<Orders>) -> Json<Vec<Order>> {
    Json(orders.all())
}

async fn nothing_here() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, Json(json!({ "error": "there is nothing here: orders go to POST /orders" })))
}

impl NewOrder {
    fn check(self) -> Result<(String, u32), Refusal> {
        let item = self.item.trim();
        if item.is_empty() || item.chars().count() > 100 {
            return Err(Refusal::input("`item` must have 1 to 100 characters"));
        }
        if !(1..=1000).contains(&self.quantity) {
            return Err(Refusal::input("`quantity` must be a whole number from 1 to 1000"));
        }
        Ok((item.to_owned(), self.quantity))
    }
}

/// The order is not acceptable. Nothing was stored and nothing deferred.
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn input(message: impl Into<String>) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, message: message.into() }
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        match rejection {
            JsonRejection::JsonSyntaxError(_) => Self::input(rejection.body_text()),
            rejection => Self { status: rejection.status(), message: rejection.body_text() },
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.message }))).into_response()
    }
}
