use std::error::Error;

use defer_axum::{job};

#[job]
async fn send_welcome(to: String) -> Result<(), Box<dyn Error>> {
    println!("welcome, {to}");
    Ok(())
}

fn main() {
    send_welcome::defer("ada@example.com");
    send_welcome::try_defer("ada@example.com").unwrap();
}
