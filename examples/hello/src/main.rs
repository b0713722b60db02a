//! `cargo run -p hello`, then `curl localhost:3000` in another terminal. The answer comes immediately; the mail takes its time.

use std::{env, io, time::Duration};

use axum::{Router, routing::get};
use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult};
use tokio::{net::TcpListener, signal, time::sleep};

#[derive(Deferrable)]
#[defer(tries = 3, backoff = "500ms..30s", timeout = "10s")]
struct SendMail {
    to: String,
}

impl Job for SendMail {
    async fn run(&self, cx: &JobContext) -> JobResult {
        if let Some(response) = cx.response() {
            let (bytes, delivery) = (response.bytes_sent(), response.delivery());
            println!("2. the response was {delivery} ({bytes} bytes), now the mail goes out");
        }
        sleep(Duration::from_secs(1)).await; // a slow mail server
        println!("3. the mail to {} is out", self.to);
        Ok(())
    }
}

async fn hello() -> &'static str {
    println!("1. the handler defers a mail and answers");
    SendMail::defer("ada@example.com");
    "Hello! A mail is on its way to you.\n"
}

#[tokio::main]
async fn main() -> io::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init(); // logs failed jobs
    let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let app = Router::new().route("/", get(hello)).layer(DeferLayer::default());
    let ctrl_c = async { signal::ctrl_c().await.expect("Ctrl-C can be waited for") };

    // At Ctrl-C, waits for open requests and for their mails.
    let report = defer_axum::serve(listener, app).with_graceful_shutdown(ctrl_c).await?;
    for job in report.unfinished {
        println!("not done: {} {}", job.name, job.id);
    }
    println!("stopped");
    Ok(())
}
