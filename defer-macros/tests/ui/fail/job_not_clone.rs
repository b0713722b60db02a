use defer_axum::{JobResult, job};

struct Address(String);

impl From<&str> for Address {
    fn from(to: &str) -> Self {
        Self(to.into())
    }
}

#[job]
async fn send_welcome(to: Address) -> JobResult {
    println!("welcome, {}", to.0);
    Ok(())
}

fn main() {
    send_welcome::defer("ada@example.com");
    send_welcome::try_defer("ada@example.com").unwrap();
}
