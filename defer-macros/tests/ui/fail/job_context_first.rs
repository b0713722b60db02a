use defer_axum::{JobContext, JobResult, job};

#[job]
async fn send_welcome(_cx: &JobContext, _to: String) -> JobResult {
    Ok(())
}

fn main() {
    send_welcome::defer("ada@example.com");
    send_welcome::try_defer("ada@example.com").unwrap();
}
