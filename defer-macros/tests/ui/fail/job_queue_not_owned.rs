use defer_axum::{JobResult, job};

#[job(queue)]
async fn send_welcome(to: &'static str) -> JobResult {
    println!("welcome, {to}");
    Ok(())
}

fn main() {
    send_welcome::defer("ada@example.com");
    send_welcome::try_defer("ada@example.com").unwrap();
}
