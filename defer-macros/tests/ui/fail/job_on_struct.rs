use defer_axum::{job};

#[job(tries = 3)]
struct SendWelcome {
    to: String,
}

fn main() {
    let _ = SendWelcome { to: "ada@example.com".into() };
}
