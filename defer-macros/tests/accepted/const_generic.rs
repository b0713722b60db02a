#![allow(non_snake_case, non_upper_case_globals, reason = "a field and a parameter have the same name")]

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
struct SameName<const N: usize> {
    N: u32,
}

impl<const N: usize> Job for SameName<N> {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[derive(Deferrable)]
struct SameArgument<const arg0: usize>(u32);

impl<const LEN: usize> Job for SameArgument<LEN> {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[test]
fn a_const_parameter_may_have_the_name_of_a_field_or_an_argument() {
    let _ = || {
        Digest::<4>::defer([1, 2, 3, 4]);
        SameName::<1>::defer(7);
        SameArgument::<1>::defer(7);
    };
}
