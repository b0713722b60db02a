use defer_axum::{JobResult, job};

#[job]
async fn send_welcome((_to, _copies): (String, u8)) -> JobResult {
    Ok(())
}

fn main() {
    send_welcome::defer(("ada@example.com".to_owned(), 2));
}
