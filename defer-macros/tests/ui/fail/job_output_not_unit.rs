use defer_axum::{JobError, job};

#[job]
async fn send_welcome(to: String) -> Result<usize, JobError> {
    Ok(to.len())
}

fn main() {
    send_welcome::defer("ada@example.com");
    send_welcome::try_defer("ada@example.com").unwrap();
}
