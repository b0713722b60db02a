#[test]
fn a_struct_in_a_function_is_a_job() {
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
