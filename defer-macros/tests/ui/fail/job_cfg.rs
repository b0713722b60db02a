use defer_axum::{JobResult, job};

#[job]
async fn send_welcome(_to: String, #[cfg(all())] _copies: u8) -> JobResult {
    Ok(())
}

fn main() {
    send_welcome::defer("ada@example.com", 2);
}
