use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
struct Braces {}

impl Job for Braces {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[derive(Deferrable)]
struct Parentheses();

impl Job for Parentheses {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[test]
fn empty_braces_and_parentheses_take_no_argument() {
    let _ = || (Braces::defer(), Parentheses::defer());
}
