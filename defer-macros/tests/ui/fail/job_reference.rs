use defer_axum::{JobContext, JobResult, job};

#[job]
async fn send_welcome(_to: &str, _copies: u8, _cx: &JobContext) -> JobResult {
    Ok(())
}

fn main() {
    send_welcome::defer("ada@example.com", 2);
    send_welcome::try_defer("ada@example.com", 2).unwrap();
}
