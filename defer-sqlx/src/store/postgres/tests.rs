//! Behavior that only Postgres has, on the server of `DEFER_TEST_POSTGRES`.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::time::{Duration, Instant};

use defer_core::JobId;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

use super::{
    Postgres,
    database::{BEGIN, Server},
    tables::Tables,
};
use crate::{
    error::Error,
    store::{Change, ChangeKind, Changed, NewJob, Store, StoreError, StoredEnd, Taken, connection::Database},
};

/// Creates a database, and returns its URL.
async fn database() -> String {
    let server = std::env::var("DEFER_TEST_POSTGRES").expect("run this by scripts/with-servers.sh");
    let name = format!("test_{}", JobId::unique()).to_lowercase();
    execute(&format!("{server}/postgres"), &format!("CREATE DATABASE {name}")).await;
    format!("{server}/{name}")
}

async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn connect(url: &str) -> Result<Postgres, Error> {
    Postgres::connect(url.parse().unwrap(), "default".to_owned(), true).await
}

fn job(unique: Option<&str>) -> NewJob {
    NewJob { unique: unique.map(str::to_owned), ..NewJob::of_type("Mail") }
}

#[tokio::test]
async fn a_claim_of_an_open_transaction_holds_nobody_up() {
    let url = database().await;
    let store = connect(&url).await.unwrap();
    let mut user = PgConnection::connect(&url).await.unwrap();
    let statement = "INSERT INTO defer_jobs (id, name, payload, unique_key, unique_claim) SELECT $1, 'Mail', '{}', 'k', \
                     CASE WHEN pg_try_advisory_xact_lock(hashtextextended('defer_jobs default k', 0)) THEN 'k' END";
    let id = JobId::unique();
    let mut open = user.begin().await.unwrap();
    sqlx::query(statement).bind(id.to_string()).execute(&mut *open).await.unwrap();
    // By a push, and by making a job ready.
    let (pushed, held) = (job(Some("k")), job(Some("k")));
    assert_eq!(store.push(&[pushed]).await.unwrap(), [None]);
    store.write("a", std::slice::from_ref(&held), &[]).await.unwrap();
    let kind = ChangeKind::Ready {
        delay: 60_000,
        serial: None,
        unique: Some("k".into()),
        replace: None,
        throttle: None,
        outcome: None,
    };
    let change = Change { id: held.id, claim: 1, kind, children: Vec::new(), again: false, insert: None };
    assert_eq!(store.write("a", &[], &[change]).await.unwrap(), [Changed::Made]);
    open.commit().await.unwrap();
    assert_eq!(store.push(&[job(Some("k"))]).await.unwrap(), [Some(id)]);
}

#[tokio::test]
async fn processes_claim_keys_in_turn_however_long_one_takes() {
    let url = database().await;
    let store = connect(&url).await.unwrap();
    let mut other = PgConnection::connect(&url).await.unwrap();
    let mut open = other.begin().await.unwrap();
    let turn = "SELECT pg_advisory_xact_lock(hashtextextended('defer_jobs claims default', 0))";
    sqlx::query(turn).execute(&mut *open).await.unwrap();
    let statement = "INSERT INTO defer_jobs (id, name, payload, unique_key, unique_claim) SELECT $1, 'Mail', '{}', 'k', \
                     CASE WHEN pg_try_advisory_xact_lock(hashtextextended('defer_jobs default k', 0)) THEN 'k' END";
    let id = JobId::unique();
    sqlx::query(statement).bind(id.to_string()).execute(&mut *open).await.unwrap();
    let push = tokio::spawn(async move { store.push(&[job(Some("k"))]).await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut look = PgConnection::connect(&url).await.unwrap();
    while !push.is_finished() && sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut look).await.unwrap() == 0
    {
        // Polls, because nothing reports that it waits.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    open.commit().await.unwrap();
    assert_eq!(push.await.unwrap().unwrap(), [Some(id)]);
}

#[tokio::test]
async fn a_job_that_others_are_left_out_for_is_not_taken_before_they_are_committed() {
    let url = database().await;
    let store = connect(&url).await.unwrap();
    store.push(&[job(Some("k"))]).await.unwrap();
    let mut user = PgConnection::connect(&url).await.unwrap();
    let mut open = user.begin().await.unwrap();
    open.execute("SELECT id FROM defer_jobs WHERE unique_claim = 'k' FOR SHARE").await.unwrap();
    let take = || store.take("a".into(), vec!["Mail".into()], 9);
    assert!(take().await.unwrap().is_empty());
    open.rollback().await.unwrap();
    assert_eq!(take().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_bad_value_refuses_its_transaction_and_leaves_nothing() {
    let url = database().await;
    let store = connect(&url).await.unwrap();
    let long: String = (0..20_000).map(|_| fastrand::alphanumeric()).collect();
    let with_nul = NewJob { name: "Ma\0il".into(), metadata: r#"{"a":"\u0000"}"#.into(), ..job(None) };
    store.push(std::slice::from_ref(&with_nul)).await.unwrap();
    let (good, bad) = (job(None), NewJob { name: long, ..job(None) });
    let pushed = store.push(&[good.clone(), bad]).await;
    assert!(matches!(pushed, Err(StoreError::Data(_))), "{pushed:?}");
    assert!(store.status(good.id).await.unwrap().is_none());
    store.push(&[good]).await.unwrap();
}

#[tokio::test]
async fn no_statement_looks_at_all_jobs() {
    let url = database().await;
    drop(connect(&url).await.unwrap());
    let tables = Tables::new("default".to_owned(), "public".to_owned(), true);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(BEGIN).execute(&mut connection).await.unwrap();
    for (name, sql) in tables.all() {
        let values: Vec<_> =
            (1..20).take_while(|at| sql.contains(&format!("${at}::"))).map(|_| "NULL").collect();
        let values = if values.is_empty() { String::new() } else { format!("({})", values.join(", ")) };
        let explain = format!("PREPARE p AS {sql}; EXPLAIN EXECUTE p{values}; DEALLOCATE p");
        let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut connection).await.unwrap();
        let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        println!("{name}\n{}", lines.join("\n"));
        for (at, line) in lines.iter().enumerate() {
            let is_scan = line.contains(" Scan ") && line.contains(" on defer_jobs");
            let condition = lines.get(at + 1).is_some_and(|line| line.trim().starts_with("Index Cond"));
            // Only by its predicate does this index have just the jobs that processes have.
            let of_holders =
                line.contains("defer_jobs_holder") && matches!(name, "has_orphans" | "orphans" | "counts");
            // It is for tests and commands, as its documentation says.
            let may_look_at_all = name == "stored";
            assert!(!is_scan || condition || of_holders || may_look_at_all, "{name}: {line}");
        }
        // A change must not walk over all jobs that a holder has, or all that wait.
        if let Some(update) = lines.iter().position(|line| line.contains("Update on defer_jobs")) {
            let by_id = lines[update..].iter().any(|line| line.contains("defer_jobs_pkey on defer_jobs"));
            assert!(by_id, "{name}: {lines:?}");
        }
    }
}

#[tokio::test]
async fn an_odd_row_stops_nothing() {
    let url = database().await;
    let store = connect(&url).await.unwrap();
    execute(
        &url,
        "INSERT INTO defer_jobs (id, name, payload, metadata, attempts, deaths, claim, status, serial_key, turn, due, created)
         VALUES ('00000000000000000000000001', 'Mail', '{', 'x', 2147483647, 1000000, 9007199254740991, -7, 's',
         9007199254740991, 0, 9007199254740991), ('00000000000000000000000002', 'Mail', '{}', '', 0, 0, 0, 0, 's', 0,
         9007199254740991, 0)",
    )
    .await;
    for id in ["01arz3ndektsv4rrffq69g5fav", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "1"] {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let insert =
            sqlx::query("INSERT INTO defer_jobs (id, name, payload) VALUES ($1, 'Mail', '{}')").bind(id);
        assert!(insert.execute(&mut connection).await.is_err(), "{id} is no job's id");
    }
    let serial = NewJob { serial: Some("s".to_owned()), ..job(None) };
    store.push(&[job(None), serial, job(None)]).await.unwrap();
    let take = async |holder: &str| store.take(holder.to_owned(), vec!["Mail".into()], 9).await.unwrap();
    assert_eq!(take("a").await.len(), 3);
    while store.recover().await.unwrap() {}
    let odd: JobId = "00000000000000000000000001".parse().unwrap();
    assert_eq!(store.failed(9).await.unwrap().len(), 1, "its deaths are too many");
    assert!(store.retry(odd).await.unwrap());
    store.counts().await.unwrap();
    store.unclaimed(0).await.unwrap();
    let taken = take("b").await;
    assert_eq!(taken.len(), 3);
    let kind = ChangeKind::Retry { delay: i64::MAX, attempts: i64::MAX, error: None };
    let change = |taken: &Taken| Change {
        id: taken.id.parse().unwrap(),
        claim: taken.claim,
        kind: kind.clone(),
        children: Vec::new(),
        again: false,
        insert: None,
    };
    let changes: Vec<_> = taken.iter().map(change).collect();
    assert_eq!(store.write("b", &[], &changes).await.unwrap(), [Changed::Made; 3]);
}

#[tokio::test]
async fn a_row_that_a_stranger_has_locked_fails_its_transaction_soon_and_a_lost_connection_is_opened_again() {
    let url = database().await;
    let store = connect(&url).await.unwrap();
    let held = job(None);
    store.write("a", std::slice::from_ref(&held), &[]).await.unwrap();
    let mut user = PgConnection::connect(&url).await.unwrap();
    let mut open = user.begin().await.unwrap();
    open.execute("SELECT id FROM defer_jobs FOR UPDATE").await.unwrap();
    // In a transaction, and in a statement of its own.
    let retry = ChangeKind::Retry { delay: 0, attempts: 1, error: None };
    for kind in [retry.clone(), ChangeKind::End(StoredEnd::Done { attempts: 1 })] {
        let change = Change { id: held.id, claim: 1, kind, children: Vec::new(), again: false, insert: None };
        let began = Instant::now();
        let locked = store.write("a", &[], &[change]).await;
        assert!(matches!(locked, Err(StoreError::Locked(_))), "{locked:?}");
        assert!(began.elapsed() < Duration::from_secs(3));
    }
    open.rollback().await.unwrap();
    let change =
        Change { id: held.id, claim: 1, kind: retry, children: Vec::new(), again: false, insert: None };
    assert_eq!(store.write("a", &[], &[change]).await.unwrap(), [Changed::Made]);
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                  AND pid <> pg_backend_pid()";
    user.execute(others).await.unwrap();
    let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    while sqlx::query_scalar::<_, i64>(left).fetch_one(&mut user).await.unwrap() > 0 {
        // Polls, because the server ends them in its own time.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    store.push(&[job(None)]).await.unwrap();
}

#[tokio::test]
async fn settings_of_a_role_change_nothing() {
    let url = database().await;
    let name = url.rsplit('/').next().unwrap();
    let settings = [
        "enable_indexscan = off",
        "default_transaction_isolation = 'serializable'",
        "statement_timeout = 1",
        "default_transaction_read_only = on",
    ];
    let settings = settings.map(|setting| format!("ALTER DATABASE {name} SET {setting};")).concat();
    execute(&url, &settings).await;
    let store = connect(&url).await.unwrap();
    store.push(&[job(None), job(None)]).await.unwrap();
    assert_eq!(store.take("a".into(), vec!["Mail".into()], 9).await.unwrap().len(), 2);
}

/// This includes the setting that would lift the others.
#[tokio::test]
async fn no_statement_runs_under_a_limit_of_the_server() {
    let url = database().await;
    let mut server = Server::new(url.parse().unwrap());
    let first = server.open_first().await.unwrap();
    let later = server.open().await.unwrap();
    for mut connection in [first, later] {
        // The values at the start of the session.
        let ask = "SELECT reset_val FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout') ORDER BY name";
        let limits: Vec<String> = sqlx::query_scalar(ask).fetch_all(&mut connection).await.unwrap();
        assert_eq!(limits, ["1000", "4000"]);
    }
}

#[tokio::test]
async fn a_role_that_may_only_change_rows_uses_tables_of_any_schema() {
    let url = database().await;
    let role = format!("role_{}", JobId::unique()).to_lowercase();
    let name = url.rsplit('/').next().unwrap().to_owned();
    execute(&url, &format!("CREATE SCHEMA \"Our \"\"jobs\"; CREATE ROLE {role} LOGIN; ALTER DATABASE {name} SET search_path = other, \"Our \"\"jobs\"")).await;
    let limited = url.replace("postgres@", &format!("{role}@"));
    assert!(matches!(connect(&limited).await, Err(Error::Unusable { .. })), "it sees no schema");
    let owner = connect(&url).await.unwrap();
    assert_eq!(owner.schema(), Some("Our \"jobs"));
    execute(&url, &format!("GRANT USAGE ON SCHEMA \"Our \"\"jobs\" TO {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \"Our \"\"jobs\" TO {role}; CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO {role}")).await;
    let store = connect(&limited).await.unwrap();
    store.push(&[job(Some("k"))]).await.unwrap();
    assert_eq!(owner.take("a".into(), vec!["Mail".into()], 9).await.unwrap().len(), 1);
    assert_eq!(store.counts().await.unwrap().running, 1);
}

#[tokio::test]
async fn other_processes_are_told_of_each_job_though_a_process_notifies_only_once_in_a_while() {
    let url = database().await;
    let (store, other) = (connect(&url).await.unwrap(), connect(&url).await.unwrap());
    // Hearing the first shows that it listens.
    other.notified().await;
    // Most of these are too early to notify at once.
    for _ in 0..8 {
        store.push(&[job(None)]).await.unwrap();
        tokio::time::timeout(Duration::from_secs(60), other.notified()).await.unwrap();
        assert_eq!(other.take("a".into(), vec!["Mail".into()], 9).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn several_processes_create_the_tables_at_once() {
    let url = database().await;
    let connecting: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn({
                let url = url.clone();
                async move { connect(&url).await.map(drop) }
            })
        })
        .collect();
    for connected in connecting {
        connected.await.unwrap().unwrap();
    }
}
