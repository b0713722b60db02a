use defer_axum::{JobResult, job};

#[job]
async fn send_welcome(_to: impl Into<String>) -> JobResult {
    Ok(())
}

fn main() {
    send_welcome::defer("ada@example.com");
    send_welcome::try_defer("ada@example.com").unwrap();
}
