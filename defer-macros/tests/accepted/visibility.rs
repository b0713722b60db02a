#![allow(unreachable_pub, reason = "the functions of a job are as public as it says")]

use defer_axum::{Deferrable, Job, JobContext, JobResult};

mod jobs {
    use super::*;

    mod private {
        pub struct Hidden;
    }

    #[derive(Deferrable)]
    pub struct Public(private::Hidden);

    impl Job for Public {
        async fn run(&self, _cx: &JobContext) -> JobResult {
            Ok(())
        }
    }

    #[derive(Deferrable)]
    pub(crate) struct Crate(pub u32);

    impl Job for Crate {
        async fn run(&self, _cx: &JobContext) -> JobResult {
            Ok(())
        }
    }

    #[derive(Deferrable)]
    pub(super) struct Super(pub u32);

    impl Job for Super {
        async fn run(&self, _cx: &JobContext) -> JobResult {
            Ok(())
        }
    }

    #[derive(Deferrable)]
    struct Private(u32);

    impl Job for Private {
        async fn run(&self, _cx: &JobContext) -> JobResult {
            Ok(())
        }
    }

    pub fn defer_all() {
        Public::defer(private::Hidden);
        Private::defer(1);
    }
}

#[test]
fn the_functions_are_as_visible_as_their_struct() {
    let _ = || {
        jobs::Crate::defer(1);
        jobs::Super::defer(1);
        jobs::defer_all();
    };
}
