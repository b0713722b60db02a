//! A type that has a `defer` of its own.

use defer_axum::{Deferrable, Job, JobContext, JobResult, Runner};

#[derive(Deferrable)]
#[defer(no_constructor, tries = 3)]
struct Transfer {
    from: u64,
    to: u64,
}

impl Transfer {
    fn defer(self, twice: bool) {
        if twice {
            defer_axum::defer(Transfer { ..self });
        }
        defer_axum::defer(self);
    }

    fn try_defer(&self) -> bool {
        false
    }
}

impl Job for Transfer {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        assert_eq!((self.from, self.to), (1, 2));
        Ok(())
    }
}

#[tokio::test]
async fn a_type_may_have_a_defer_of_its_own() {
    let runner = Runner::default();
    defer_axum::scope(&runner, async {
        let transfer = Transfer { from: 1, to: 2 };
        assert!(!transfer.try_defer());
        transfer.defer(true);
    })
    .await;
    runner.idle().await;
    assert_eq!(runner.stats().succeeded, 2);
    assert_eq!(Transfer::POLICY.tries(), 3);
}
