use defer_axum::{JobResult, job};

struct Mailer;

impl Mailer {
    #[job]
    async fn send_welcome(&self, to: String) -> JobResult {
        println!("welcome, {to}");
        Ok(())
    }
}

fn main() {
}
