use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
struct SendWelcome {
    to: String,
    cc: Option<String>,
    body: std::sync::Arc<str>,
    template: &'static str,
}

impl Job for SendWelcome {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[test]
fn a_named_field_takes_what_converts_into_it() {
    let _ = |to: String| {
        SendWelcome::defer("ada@example.com", None::<String>, "hello", "plain");
        SendWelcome::try_defer(to, String::from("bob@example.com"), "hello", "plain")
    };
}
