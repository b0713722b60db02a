use defer_axum::{JobResult, job};

#[job]
async fn send_welcome(to: String) -> JobResult {
    println!("welcome, {to}");
    Ok(())
}

fn main() {
    send_welcome::defer(7);
}
