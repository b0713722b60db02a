//! The shortest way through everything.

use axum::{Router, routing::get};
use defer_axum::{Runner, defer_fn};
use defer_tests::{Log, Server, Tcp};

#[tokio::test]
async fn a_job_runs_after_the_response() {
    let log = Log::new();
    let runner = Runner::builder().state(log.clone()).build();
    let routes = Router::new().route(
        "/",
        get(|| async {
            defer_fn(|cx| async move {
                let response = cx.response().expect("a request's job");
                let request = cx.request().expect("a request's job");
                let line = format!(
                    "{} {:?} {:?} {} {:?}",
                    request.uri(),
                    request.matched_path(),
                    response.delivery(),
                    response.bytes_sent(),
                    response.status()
                );
                cx.state::<Log>()?.add(line);
                Ok(())
            });
            "hello"
        }),
    );
    for server in [
        Server::start(routes.clone(), runner.clone()).await,
        Server::start_plain(routes, runner.clone()).await,
    ] {
        let mut client = Tcp::connect(server.addr).await;
        assert_eq!(client.get("/").await.text(), "hello");
        assert_eq!(client.get("/").await.text(), "hello");
    }
    runner.idle().await;
    println!("{:#?} {:?}", log.lines(), runner.stats());
    assert_eq!(log.wait_for(4).await.len(), 4);
}
