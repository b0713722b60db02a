use std::time::Duration;

use defer_axum::{Condition, Deferrable, Job, JobContext, JobResult, Policy};

#[derive(Deferrable)]
struct Plain;

impl Job for Plain {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[derive(Deferrable, serde::Serialize)]
#[defer(
    name = "send-welcome",
    tries = 3,
    backoff = "500ms..30s",
    timeout = "2m 30s",
    on = "success",
    max_running = 4,
    concurrent,
    blocking,
    queue,
    priority = 10,
    at_shutdown = "run_now"
)]
struct Full;

impl Job for Full {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[derive(Deferrable)]
#[defer(tries = 4294967295)]
#[defer(backoff = "1s")]
#[defer(on = "always", at_shutdown = "wait")]
#[defer()]
struct Several;

impl Job for Several {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[derive(Deferrable)]
#[defer(tries = 1u32, backoff = " 1us .. 1us ", priority = -32768)]
struct Least;

impl Job for Least {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

macro_rules! prior {
    ($ident:ident, $priority:expr) => {
        #[derive(Deferrable)]
        #[defer(priority = $priority)]
        struct $ident;

        impl Job for $ident {
            async fn run(&self, _cx: &JobContext) -> JobResult {
                Ok(())
            }
        }
    };
}

prior!(Before, 1i16);
prior!(After, -1);

#[test]
fn the_policy_is_what_the_attributes_say() {
    let default = Policy::new();
    let plain = Plain::POLICY;
    assert_eq!(Plain::NAME, "Plain");
    assert_eq!(plain.tries(), default.tries());
    assert_eq!(plain.backoff(), default.backoff());
    assert_eq!(plain.timeout(), default.timeout());
    assert_eq!(plain.condition(), default.condition());
    assert_eq!(plain.max_running(), None);
    assert!(!plain.is_concurrent());
    assert!(!plain.is_blocking());
    assert!(!plain.is_queued());
    assert_eq!(plain.priority(), 0);
    assert!(!plain.runs_at_shutdown());

    let full = Full::POLICY;
    assert_eq!(Full::NAME, "send-welcome");
    assert_eq!(full.tries(), 3);
    assert_eq!(full.backoff(), (Duration::from_millis(500), Duration::from_secs(30)));
    assert_eq!(full.timeout(), Some(Duration::from_secs(150)));
    assert_eq!(full.condition(), Condition::Success);
    assert_eq!(full.max_running().map(u32::from), Some(4));
    assert!(full.is_concurrent());
    assert!(full.is_blocking());
    assert!(full.is_queued());
    assert_eq!(full.priority(), 10);
    assert!(full.runs_at_shutdown());

    let several = Several::POLICY;
    assert_eq!(several.tries(), u32::MAX);
    assert_eq!(several.backoff(), (Duration::from_secs(1), Duration::from_secs(1)));
    assert_eq!(several.condition(), Condition::Always);
    assert!(!several.runs_at_shutdown());

    let least = Least::POLICY;
    assert_eq!(least.tries(), 1);
    assert_eq!(least.backoff(), (Duration::from_micros(1), Duration::from_micros(1)));
    assert_eq!(least.priority(), i16::MIN);

    assert_eq!((Before::POLICY.priority(), After::POLICY.priority()), (1, -1));
}
