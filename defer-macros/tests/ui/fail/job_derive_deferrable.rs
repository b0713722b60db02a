use defer_axum::{JobResult, job};

#[job(derive(Debug, Deferrable))]
async fn send_welcome(to: String) -> JobResult {
    println!("welcome, {to}");
    Ok(())
}

fn main() {
    send_welcome::defer("ada@example.com");
    send_welcome::try_defer("ada@example.com").unwrap();
}
