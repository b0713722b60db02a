use defer_axum::{Deferrable, Job, JobContext, JobResult};
use std::fmt::Display;

#[derive(Deferrable)]
struct Greet<T: Clone, const N: usize>
where
    T: Display + Send + Sync + 'static,
{
    names: [T; N],
}

impl<T, const N: usize> Job for Greet<T, N>
where
    T: Clone + Display + Send + Sync + 'static,
{
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

fn main() {
    let _ = || Greet::<&'static str, 2>::defer(["ada", "bob"]);
}
