use defer_axum::{job};

struct Refused;

#[job]
async fn send_welcome(to: String) -> Result<(), Refused> {
    println!("welcome, {to}");
    Ok(())
}

fn main() {
    send_welcome::defer("ada@example.com");
    send_welcome::try_defer("ada@example.com").unwrap();
}
