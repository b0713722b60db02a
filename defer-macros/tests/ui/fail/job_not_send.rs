use defer_axum::{JobResult, job};

use std::rc::Rc;

#[job]
async fn send_welcome(_to: String) -> JobResult {
    let local = Rc::new(());
    std::future::ready(()).await;
    drop(local);
    Ok(())
}

fn main() {
    send_welcome::defer("ada@example.com");
    send_welcome::try_defer("ada@example.com").unwrap();
}
