//! A queue in memory, for tests and first steps.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    io::{Result, Write},
    sync::{Arc, Mutex},
};

use defer_sqlx::SqlxQueue;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_queue_in_memory_ends_without_a_warning() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).init();
    for _ in 0..20 {
        let queue = SqlxQueue::connect("sqlite::memory:").await.unwrap();
        assert_eq!(queue.counts().await.unwrap().pending, 0);
        queue.close().await;
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log, "");
}
