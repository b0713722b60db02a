use defer_axum::{job};

#[job]
async fn send_welcome(to: String) -> bool {
    println!("welcome, {to}");
    true
}

fn main() {
    send_welcome::defer("ada@example.com");
    send_welcome::try_defer("ada@example.com").unwrap();
}
