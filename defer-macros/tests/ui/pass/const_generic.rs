use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
struct Digest<const LEN: usize> {
    bytes: [u8; LEN],
}

impl<const LEN: usize> Job for Digest<LEN> {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[derive(Deferrable)]
#[allow(non_snake_case)]
struct SameName<const N: usize> {
    N: u32,
}

impl<const N: usize> Job for SameName<N> {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[derive(Deferrable)]
#[allow(non_upper_case_globals)]
struct SameArgument<const arg0: usize>(u32);

impl<const LEN: usize> Job for SameArgument<LEN> {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

fn main() {
    let _ = || {
        Digest::<4>::defer([1, 2, 3, 4]);
        SameName::<1>::defer(7);
        SameArgument::<1>::defer(7);
    };
}
