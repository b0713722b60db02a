//! The queue on Postgres. `DEFER_TEST_POSTGRES` is the server's URL: `scripts/with-servers.sh` starts one.

#![allow(clippy::unwrap_used, reason = "clippy takes the helpers of a test for no test")]

mod support;

use std::env;

use defer_axum::JobId;
use defer_sqlx::sqlx::{AssertSqlSafe, Connection, PgConnection, query};
use support::{Service, eventually::eventually};

/// Creates a database, and returns its URL.
async fn database() -> String {
    let server =
        env::var("DEFER_TEST_POSTGRES").expect("DEFER_TEST_POSTGRES is set: run scripts/with-servers.sh");
    let name = format!("signup_{}", JobId::unique()).to_lowercase();
    let mut connection = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
    query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
    format!("{server}/{name}")
}

#[tokio::test]
async fn a_mail_is_sent_after_its_answer_and_a_crash_loses_none() {
    let url = database().await;
    let service = Service::start(&[("QUEUE_URL", &url)]).await;
    service.sign_up("Ada", "ada@example.com").await;
    eventually("the mail", async || (service.mail_states().await == ["sent"]).then_some(())).await;
    let folder = service.crash().await.folder;

    let service = Service::start_in(folder, &[("QUEUE_URL", &url), ("MAIL_DELAY_MS", "9000")]).await;
    service.sign_up("Grace", "grace@example.com").await;
    let folder = service.crash().await.folder;

    let service = Service::start_in(folder, &[("QUEUE_URL", &url)]).await;
    eventually("the mail", async || (service.mail_states().await == ["sent", "sent"]).then_some(())).await;
    assert_eq!(service.mails().len(), 2);
}
