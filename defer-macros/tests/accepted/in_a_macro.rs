use defer_axum::{Deferrable, Job, JobContext, JobResult};

macro_rules! job {
    ($ident:ident, $tries:literal, $timeout:expr, { $($field:ident: $ty:ty),* }) => {
        #[derive(Deferrable)]
        #[defer(tries = $tries, timeout = $timeout)]
        struct $ident { $($field: $ty),* }

        impl Job for $ident {
            async fn run(&self, _cx: &JobContext) -> JobResult {
                Ok(())
            }
        }
    };
}

job!(SendWelcome, 3, "10s", { to: String });

#[test]
fn the_values_of_attributes_may_come_from_a_macro() {
    assert_eq!(SendWelcome::POLICY.tries(), 3);
    let _ = || SendWelcome::defer("ada@example.com");
}
