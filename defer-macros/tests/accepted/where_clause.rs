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

#[test]
fn a_where_clause_holds_for_the_functions() {
    let _ = || Greet::<&'static str, 2>::defer(["ada", "bob"]);
}
