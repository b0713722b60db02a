use defer_axum::{Deferrable, Job, JobContext, JobResult};

struct Address(String);

impl From<String> for Address {
    fn from(address: String) -> Self {
        Self(address)
    }
}

#[derive(Deferrable)]
struct SendWelcome {
    to: Address,
}

impl Job for SendWelcome {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

fn main() {
    SendWelcome::defer("ada@example.com");
}
