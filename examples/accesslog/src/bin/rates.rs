//! `cargo run --release -p accesslog --bin rates`: measures how many rows per second are written one by one, and in batches.

use std::time::Instant;

use accesslog::{AccessLog, LogOne, LogRequest, Row};
use defer_axum::{Runner, defer, scope};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("accesslog-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let url = format!("sqlite:{}", folder.join("rates.db").display());
    let log = AccessLog::open(&url).await?;
    let runner = Runner::builder().state(log.clone()).build();
    for (what, rows, is_together) in [("one by one", 20_000_u32, false), ("in batches of 50", 200_000, true)]
    {
        let before = log.count().await?;
        let began = Instant::now();
        for number in 0..rows {
            let row = Row { at_ms: 0, method: "GET".to_owned(), path: format!("/{number}") };
            // Each is a separate request.
            scope(&runner, async {
                if is_together {
                    defer(LogRequest(row));
                } else {
                    defer(LogOne(row));
                }
            })
            .await;
            if number % 1_000 == 999 {
                while runner.stats().pending > 10_000 {
                    tokio::task::yield_now().await;
                }
            }
        }
        runner.idle().await;
        let elapsed = began.elapsed();
        assert_eq!(log.count().await? - before, i64::from(rows));
        println!("{what}: {:.0} rows a second", f64::from(rows) / elapsed.as_secs_f64());
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
