use defer_axum::{Deferrable, Job, JobContext, JobResult, defer, try_defer};

#[derive(Deferrable)]
#[defer(tries = 3)]
enum Mail {
    Welcome { to: String },
    Receipt,
}

impl Job for Mail {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

fn main() {
    Mail::defer(Mail::Receipt).delay(std::time::Duration::ZERO);
    let _ = Mail::try_defer(Mail::Receipt);
    defer(Mail::Welcome { to: "ada@example.com".into() });
    let _ = try_defer(Mail::Receipt);
}
