use defer_axum::{JobResult, job};

#[derive(Clone)]
struct Address(String);

impl From<&str> for Address {
    fn from(to: &str) -> Self {
        Self(to.into())
    }
}

#[job(queue)]
async fn send_welcome(name: String, to: Address) -> JobResult {
    println!("welcome, {name} at {}", to.0);
    Ok(())
}

fn main() {
    send_welcome::defer("Ada", "ada@example.com");
    send_welcome::try_defer("Ada", "ada@example.com").unwrap();
}
