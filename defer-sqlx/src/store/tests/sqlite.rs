//! Runs the scenarios on SQLite, in a file and in memory.

use std::{sync::Arc, time::Duration};

use defer_core::JobStatus;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use super::*;
use crate::{
    error::Error,
    store::{
        interface::{Store, StoreError},
        sqlite::{Sqlite, statements},
    },
};

fn options(folder: &TempDir) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(folder.path().join("jobs.db"))
}

async fn connect(folder: &TempDir, queue: &str, migrate: bool) -> Result<Arc<dyn Store>, Error> {
    Ok(Arc::new(Sqlite::connect(options(folder), false, queue.to_owned(), migrate).await?))
}

async fn file() -> (Place, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    // All at once, like processes that are started together.
    let (a, b, other) = tokio::join!(
        connect(&folder, "jobs", true),
        connect(&folder, "jobs", true),
        connect(&folder, "other", true)
    );
    (Place { a: a.unwrap(), b: b.unwrap(), other: other.unwrap() }, folder)
}

/// Another client of the database.
async fn stranger(folder: &TempDir) -> SqliteConnection {
    options(folder).busy_timeout(Duration::from_secs(10)).connect().await.unwrap()
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

mod in_a_file {
    use super::*;

    crate::store::tests::scenarios!(file());
}

mod in_memory {
    use std::str::FromStr;

    use super::*;

    async fn place() -> (Place, ()) {
        let options = SqliteConnectOptions::from_str("sqlite::memory:").unwrap();
        let store = Sqlite::connect(options, true, "jobs".to_owned(), true).await.unwrap();
        let (b, other) = (store.of_queue("jobs"), store.of_queue("other"));
        (Place { a: Arc::new(store), b: Arc::new(b), other: Arc::new(other) }, ())
    }

    crate::store::tests::scenarios!(place());
}

#[tokio::test]
async fn no_statement_looks_at_all_jobs() {
    let (_place, folder) = file().await;
    let mut connection = stranger(&folder).await;
    for sql in statements::ALL {
        let plan = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
        let rows = plan.fetch_all(&mut connection).await.unwrap();
        let steps: Vec<String> = rows.iter().map(|row| row.get(3)).collect();
        println!("{sql}\n  {}", steps.join("\n  "));
        for step in &steps {
            let scanned = step.strip_prefix("SCAN ").and_then(|what| what.split(' ').next());
            assert!(!matches!(scanned, Some("defer_jobs" | "j" | "o")), "{step} in {sql}");
        }
        if sql.starts_with("UPDATE") || sql.starts_with("WITH") && sql.contains("UPDATE") {
            let by_id = steps.iter().any(|step| step.starts_with("SEARCH defer_jobs USING PRIMARY KEY"));
            assert!(by_id, "{steps:?} of {sql}");
        }
    }
}

#[tokio::test]
async fn any_client_can_insert_a_job() {
    let (Place { a, .. }, folder) = file().await;
    let holder = register(&a).await;
    let mut connection = stranger(&folder).await;
    execute(
        &mut connection,
        "INSERT INTO defer_jobs (id, queue, name, payload) VALUES ('01ARZ3NDEKTSV4RRFFQ69G5FAV', 'jobs', 'Mail', '{}')",
    )
    .await;
    let taken = take_one(&a, &holder, "Mail").await;
    assert_eq!((&*taken.payload, &*taken.metadata, taken.attempts, taken.claim), ("{}", "{}", 0, 1));
    assert!(taken.waited < 60_000 && taken.age < 60_000);
    for id in ["01arz3ndektsv4rrffq69g5fav", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "1", "01ARZ3NDEKTSV4RRFFQ69G5FAU"]
    {
        let insert = "INSERT INTO defer_jobs (id, queue, name, payload) VALUES (?1, 'jobs', 'Mail', '{}')";
        assert!(sqlx::query(insert).bind(id).execute(&mut connection).await.is_err(), "{id} is no job's id");
    }
}

#[tokio::test]
async fn an_odd_row_stops_nothing() {
    let (place, folder) = file().await;
    let (a, b) = (&place.a, &place.b);
    let mut connection = stranger(&folder).await;
    execute(
        &mut connection,
        "INSERT INTO defer_jobs (id, queue, name, payload, metadata, attempts, deaths, claim, status, serial_key, turn, due, created)
         VALUES ('00000000000000000000000001', 'jobs', 'Mail', CAST(x'ff00' AS TEXT), CAST(x'fe' AS TEXT), 2147483647, 1000000,
         9007199254740991, -7, 's', 9007199254740991, 0, 9007199254740991),
         ('00000000000000000000000002', 'jobs', CAST(x'ff' AS TEXT), 'null', 'x', 0, 0, 0, 99999, 's', 0, 9007199254740991, 0);",
    )
    .await;
    let good = [job("Mail"), serial("Mail", "s"), job("Mail")];
    a.push(&good).await.unwrap();
    let holder = register(a).await;
    assert_eq!(
        take(a, &holder, &["Mail"], 9).await.len(),
        3,
        "the odd one and those that need not wait for it"
    );
    let held = job("Mail");
    a.write(&holder, std::slice::from_ref(&held), &[]).await.unwrap();
    a.beat(holder.clone()).await.unwrap();
    a.counts().await.unwrap();
    assert!(a.next_due(vec!["Mail".to_owned()]).await.unwrap().is_some());
    a.unclaimed(0).await.unwrap();
    assert!(b.bury(holder.clone(), 1).await.unwrap());
    while b.recover().await.unwrap() {}
    let odd: JobId = "00000000000000000000000001".parse().unwrap();
    assert!(
        matches!(a.status(odd).await.unwrap(), Some(JobStatus::Failed { .. })),
        "its deaths are too many"
    );
    assert_eq!(a.failed(9).await.unwrap().len(), 1);
    assert!(b.retry(odd).await.unwrap());
    let other = register(b).await;
    let taken = take(b, &other, &["Mail"], 9).await;
    let mut ends: Vec<_> = taken
        .iter()
        .map(|taken| Change {
            id: taken.id.parse().unwrap(),
            ..change(&good[0], taken.claim, retry(i64::MAX))
        })
        .collect();
    ends[0].kind = ChangeKind::Retry { delay: -5, attempts: i64::MAX, error: None };
    let changed = b.write(&other, &[], &ends).await.unwrap();
    assert!(changed.iter().all(|changed| *changed == Changed::Made), "{changed:?}");
}

#[tokio::test]
async fn tables_are_created_only_if_they_may_and_nothing_is_locked_if_they_are_there() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(connect(&folder, "jobs", false).await, Err(Error::Unusable { .. })));
    drop(connect(&folder, "jobs", true).await.unwrap());
    let mut connection = stranger(&folder).await;
    execute(&mut connection, "INSERT INTO defer_migrations (version) VALUES (99); BEGIN IMMEDIATE").await;
    for migrate in [true, false] {
        let store = connect(&folder, "jobs", migrate).await.unwrap();
        // Reads block nobody, and nobody blocks them.
        store.counts().await.unwrap();
        assert_eq!(store.status(JobId::unique()).await.unwrap(), None);
        assert_eq!(take(&store, &"holder".to_owned(), &["Mail"], 9).await.len(), 0);
    }
}

#[tokio::test]
async fn a_write_waits_for_a_transaction_of_another_client_but_not_for_ever() {
    let (Place { a, b, .. }, folder) = file().await;
    let holder = register(&a).await;
    let mut connection = stranger(&folder).await;
    execute(&mut connection, "BEGIN IMMEDIATE").await;
    let (writer, of, first) = (a.clone(), holder.clone(), job("Mail"));
    let held = first.clone();
    let write = tokio::spawn(async move { writer.write(&of, &[held], &[]).await });
    // Long enough for the write, if nothing blocked it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!write.is_finished());
    execute(&mut connection, "COMMIT").await;
    write.await.unwrap().unwrap();
    execute(&mut connection, "BEGIN IMMEDIATE").await;
    let start = Instant::now();
    let late = [job("Mail")];
    let (first, second, third) =
        tokio::join!(a.push(&late), b.beat(holder.clone()), b.write(&holder, &late, &[]));
    for away in [first.err(), second.err(), third.err()] {
        assert!(matches!(away, Some(StoreError::Away(_))), "nothing is in doubt: {away:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    execute(&mut connection, "COMMIT").await;
    assert!(b.beat(holder.clone()).await.unwrap().is_alive);
    a.push(&[job("Mail")]).await.unwrap();
    assert_eq!(take(&b, &holder, &["Mail"], 9).await.len(), 1, "what was given up is not stored");
}

#[tokio::test]
async fn a_transaction_goes_on_when_nobody_waits_for_it() {
    let (Place { a, b, .. }, _folder) = file().await;
    let holder = register(&a).await;
    for _ in 0..50 {
        let job = job("Mail");
        let mut write = a.push(std::slice::from_ref(&job));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(write.as_mut().poll(&mut cx).is_pending());
        drop(write);
        eventually(|| async { b.status(job.id).await.unwrap() }).await;
    }
    assert_eq!(take(&a, &holder, &["Mail"], 99).await.len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_writes_all_the_time_lets_others_beat() {
    let (Place { a, b, .. }, _folder) = file().await;
    let (holder, other) = (register(&a).await, register(&b).await);
    let (writer, of) = (a.clone(), holder.clone());
    let writes = tokio::spawn(async move {
        loop {
            let jobs: Vec<NewJob> = (0..50).map(|_| job("Mail")).collect();
            writer.write(&of, &jobs, &[]).await.unwrap();
        }
    });
    for _ in 0..20 {
        let start = Instant::now();
        let (mine, theirs) = tokio::join!(a.beat(holder.clone()), b.beat(other.clone()));
        assert!(mine.unwrap().is_alive && theirs.unwrap().is_alive);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
    writes.abort();
}

#[tokio::test]
async fn a_bad_value_is_told_from_a_database_that_is_away() {
    let (Place { a, .. }, folder) = file().await;
    let holder = register(&a).await;
    let bad = NewJob { condition: 0, status: None, payload: "x".repeat(1 << 20), ..job("Mail") };
    let mut connection = stranger(&folder).await;
    execute(
        &mut connection,
        "CREATE TRIGGER refuse BEFORE INSERT ON defer_jobs WHEN NEW.payload = 'bad' BEGIN SELECT RAISE(ABORT, 'bad'); END",
    )
    .await;
    a.write(&holder, &[bad], &[]).await.unwrap();
    let bad = NewJob { payload: "bad".to_owned(), ..job("Mail") };
    let good = job("Mail");
    let refused = a.write(&holder, &[good.clone(), bad], &[]).await;
    assert!(matches!(refused, Err(StoreError::Data(_))), "{refused:?}");
    assert_eq!(a.status(good.id).await.unwrap(), None, "all of it or nothing");
    a.write(&holder, &[good], &[]).await.unwrap();
    connection.close().await.unwrap();
}
