fn main() {
    use defer_axum::{Deferrable, Job, JobContext, JobResult};

    #[derive(Deferrable)]
    struct Local {
        to: String,
    }

    impl Job for Local {
        async fn run(&self, _cx: &JobContext) -> JobResult {
            Ok(())
        }
    }

    let _ = || Local::defer("ada@example.com");
}
