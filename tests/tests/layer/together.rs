//! Jobs that run in batches.

use axum::{Router, extract::Path, routing::get};
use defer_axum::{BatchJob, Deferrable, JobContext, JobResult, Runner};
use defer_tests::{By, Feed, Log, Tcp, in_time, runner};

/// Starts in batches of three.
#[derive(Deferrable)]
#[defer(batch = 3, within = "1h")]
struct Visit {
    number: u32,
}

impl BatchJob for Visit {
    async fn run(visits: &[Self], cx: &JobContext) -> JobResult {
        let numbers: Vec<u32> = visits.iter().map(|visit| visit.number).collect();
        cx.state::<Log>()?.add(format!("{numbers:?}"));
        Ok(())
    }
}

async fn until_pending(runner: &Runner, jobs: u64) {
    in_time(async {
        while runner.stats().pending != jobs {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn jobs_of_three_requests_run_together_after_their_responses() {
    for by in By::BOTH {
        let (log, (feed, body)) = (Log::new(), Feed::new());
        let visit = async |Path(number): Path<u32>| Visit::defer(number).id().to_string();
        let last = async move || {
            Visit::defer(3_u32);
            body.take()
        };
        let app = Router::new().route("/visit/{number}", get(visit)).route("/last", get(last));
        let runner = runner(&log);
        let server = by.serve(app, &runner).await;
        let mut client = Tcp::connect(server.addr).await;
        client.get("/visit/1").await;
        client.get("/visit/2").await;
        let mut slow = Tcp::connect(server.addr).await;
        slow.send_get("/last").await;
        feed.send("first chunk");
        slow.read_until("first chunk").await;
        until_pending(&runner, 3).await;
        log.add("the response goes on");
        drop(feed);
        assert_eq!(log.wait_for(2).await, ["the response goes on", "[1, 2, 3]"], "{by:?}");
        in_time(runner.idle()).await;
        assert_eq!(runner.stats().succeeded, 3, "{by:?}");
    }
}
