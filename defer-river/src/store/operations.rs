//! What is done in one transaction.

use std::collections::HashSet;

use defer_core::JobId;
use serde_json::{Value, json};

use super::{
    database::Target,
    end::{Change, To},
    refusal::contended,
    row::Row,
    statements::Statements,
    stored::Stored,
};

/// How often a transaction asks who has a unique key.
const KEY_TRIES: usize = 3;

/// Inserts rows whose ids are new, in one statement.
pub(crate) async fn insert(
    target: &mut Target<'_>,
    statements: &Statements,
    rows: &[&Row],
) -> Result<HashSet<String>, sqlx::Error> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let written: Value = rows.iter().map(|row| row.written()).collect();
    Ok(target.ask(statements.insert, &written).await?.into_iter().collect())
}

/// Inserts rows of jobs that wait, leaves out those whose unique key another job has, and tells the workers.
pub(crate) async fn insert_waiting(
    target: &mut Target<'_>,
    statements: &Statements,
    rows: &[&Row],
    queue: &str,
) -> Result<(), sqlx::Error> {
    let inserted = insert(target, statements, rows).await?;
    for row in rows.iter().filter(|row| !inserted.contains(&row.id.to_string())) {
        // One without a key was stored before: its answer was lost.
        if row.unique.is_some() {
            insert_or_leave_out(target, statements, row).await?;
        }
    }
    notify(target, statements, queue).await
}

/// Inserts a row whose unique key another job had a moment ago, or leaves it out.
async fn insert_or_leave_out(
    target: &mut Target<'_>,
    statements: &Statements,
    row: &Row,
) -> Result<(), sqlx::Error> {
    let Some(unique) = &row.unique else { return Ok(()) };
    for _ in 0..KEY_TRIES {
        let other = has_key(target, statements, unique).await?.filter(|other| *other != row.id.to_string());
        if let Some(other) = other {
            insert(target, statements, &[&row.clone().duplicate_of(other)]).await?;
        } else {
            // The other has ended meanwhile.
            insert(target, statements, &[row]).await?;
        }
        // It may have been stored before, when its answer was lost.
        if !target.ask(statements.find, &json!({ "id": row.id })).await?.is_empty() {
            return Ok(());
        }
    }
    Err(contended("jobs with this unique key come and go too fast"))
}

async fn has_key(
    target: &mut Target<'_>,
    statements: &Statements,
    unique: &str,
) -> Result<Option<String>, sqlx::Error> {
    Ok(target.ask(statements.has_key, &json!({ "unique": unique })).await?.pop())
}

/// Tells the workers of a queue that there are jobs.
pub(crate) async fn notify(
    target: &mut Target<'_>,
    statements: &Statements,
    queue: &str,
) -> Result<(), sqlx::Error> {
    let payload = json!({ "queue": queue }).to_string();
    target.ask(statements.notify, &json!({ "payload": payload })).await.map(drop)
}

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Made,
    /// The row was not what it must be.
    Refused,
    /// The job is a duplicate of this one.
    Duplicate(JobId),
}

/// Changes rows, and returns what became of each.
pub(crate) async fn settle(
    target: &mut Target<'_>,
    statements: &Statements,
    changes: &[&Change],
    queue: &str,
) -> Result<Vec<Changed>, sqlx::Error> {
    let mut made = HashSet::new();
    for is_running in [false, true] {
        let statement = if is_running { statements.change_running } else { statements.change };
        let plain = |change: &&&Change| change.unique.is_none() && change.is_running() == is_running;
        let written: Vec<_> = changes.iter().filter(plain).map(|change| change.written()).collect();
        if !written.is_empty() {
            made.extend(target.ask(statement, &written.into()).await?);
        }
    }
    let mut changed = Vec::with_capacity(changes.len());
    for change in changes {
        changed.push(match &change.unique {
            Some(unique) => claim(target, statements, change, unique).await?,
            None if made.contains(&change.key()) => Changed::Made,
            None if is_changed(target, statements, change).await? => Changed::Made,
            None => Changed::Refused,
        });
    }
    if changes.iter().any(|change| matches!(change.to, To::Due { .. } | To::Retry { .. } | To::Anew)) {
        notify(target, statements, queue).await?;
    }
    Ok(changed)
}

/// Returns whether a change was made before, when its answer was lost.
async fn is_changed(
    target: &mut Target<'_>,
    statements: &Statements,
    change: &Change,
) -> Result<bool, sqlx::Error> {
    Ok(!target.ask(statements.is_changed, &change.asked()).await?.is_empty())
}

/// Makes a job ready that claims a unique key.
async fn claim(
    target: &mut Target<'_>,
    statements: &Statements,
    change: &Change,
    unique: &str,
) -> Result<Changed, sqlx::Error> {
    let other = has_key(target, statements, unique).await?.filter(|other| *other != change.key());
    let change = match &other {
        Some(of) => Change { to: To::Duplicate { of: of.clone() }, unique: None, ..change.clone() },
        None => change.clone(),
    };
    let made = target.ask(statements.change, &vec![change.written()].into()).await?;
    let is_made = !made.is_empty() || is_changed(target, statements, &change).await?;
    Ok(match other.and_then(|other| other.parse().ok()) {
        _ if !is_made => Changed::Refused,
        Some(other) => Changed::Duplicate(other),
        None => Changed::Made,
    })
}

/// Returns jobs. What cannot be read is left out.
pub(crate) async fn list(
    target: &mut Target<'_>,
    statement: &'static str,
    parameter: Value,
) -> Result<Vec<Stored>, sqlx::Error> {
    let rows = target.ask(statement, &parameter).await?;
    Ok(rows.iter().filter_map(|row| serde_json::from_str(row).ok()).collect())
}

#[cfg(all(test, feature = "sqlite"))]
// With one database compiled in, the enum of databases has one variant.
#[allow(irrefutable_let_patterns, reason = "without the other database")]
mod tests {
    use defer_core::{Policy, queue::Envelope};

    use super::{super::database::Database, *};
    use crate::{error::Error, store::From};

    async fn held(database: &Database) -> Result<JobId, Error> {
        let job = Envelope::new(JobId::unique(), "Mail", Policy::new(), b"{}".to_vec());
        let row = Row::new(job, "default", 1000)?.held_by("me");
        let mut connection = database.open().await?;
        insert(&mut connection.target(), database.statements(), &[&row]).await?;
        Ok(row.id)
    }

    async fn made(database: &Database, change: &Change) -> Result<Changed, Error> {
        let mut connection = database.open().await?;
        let changed = settle(&mut connection.target(), database.statements(), &[change], "default").await?;
        Ok(changed[0])
    }

    #[tokio::test]
    async fn a_change_whose_answer_was_lost_can_be_made_again_and_no_other_can() -> Result<(), Error> {
        let folder = tempfile::tempdir().map_err(|error| Error::Store(error.into()))?;
        let database = Database::of_url(&format!("sqlite:{}/jobs.db", folder.path().display()))?;
        database.migrate().await?;
        let (first, second) = (held(&database).await?, held(&database).await?);
        let from = |id| From::Held { id, holder: "me".to_owned() };
        let due = |id| Change {
            unique: Some("00ff".to_owned()),
            ..Change::new(from(id), To::Due { after: Default::default() })
        };
        let (ready, duplicate) = (due(first), due(second));
        for _ in 0..2 {
            assert_eq!(made(&database, &ready).await?, Changed::Made);
            assert_eq!(made(&database, &duplicate).await?, Changed::Duplicate(first));
        }
        for change in [due(first), Change::new(from(second), To::Succeeded)] {
            assert_eq!(made(&database, &change).await?, Changed::Refused, "nobody holds them anymore");
        }
        Ok(())
    }

    #[tokio::test]
    async fn what_every_job_needs_is_found_by_an_index() -> Result<(), Error> {
        let folder = tempfile::tempdir().map_err(|error| Error::Store(error.into()))?;
        let database = Database::of_url(&format!("sqlite:{}/jobs.db", folder.path().display()))?;
        database.migrate().await?;
        let mut connection = database.open().await?;
        let Target::Sqlite(connection) = connection.target() else { return Ok(()) };
        let all = database.statements();
        for statement in
            [all.change, all.change_running, all.is_changed, all.has_key, all.find, all.orphans, all.unpark]
        {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(explain).bind("[]").fetch_all(&mut *connection).await?;
            let scans: Vec<_> = plan.iter().filter(|step| step.3.starts_with("SCAN river_job")).collect();
            assert!(scans.is_empty(), "each row is looked at: {scans:?}, by {statement}");
        }
        Ok(())
    }

    #[cfg(feature = "_servers")]
    #[tokio::test]
    async fn what_every_job_needs_is_found_by_an_index_on_postgres() -> Result<(), Box<dyn std::error::Error>>
    {
        use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
        let server = std::env::var("DEFER_TEST_POSTGRES").expect("run this by scripts/with-servers.sh");
        let name = format!("test_{}", JobId::unique()).to_lowercase();
        let mut postgres = PgConnection::connect(&format!("{server}/postgres")).await?;
        postgres.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
        let database = Database::of_url(&format!("{server}/{name}"))?;
        database.migrate().await?;
        let mut connection = database.open().await?;
        let Target::Postgres(connection) = connection.target() else { return Err("it is Postgres".into()) };
        let fill = "INSERT INTO river_job (args, kind, max_attempts, metadata, state, finalized_at)
            SELECT '{}', 'Mail', 1, jsonb_build_object('defer', jsonb_build_object('id', n::text)), 'completed', now()
            FROM generate_series(1, 20000) AS n";
        connection.execute(fill).await?;
        connection.execute("ANALYZE river_job").await?;
        // As a statement that is prepared once is planned in the end.
        connection.execute("SET plan_cache_mode = force_generic_plan").await?;
        let all = database.statements();
        for statement in
            [all.change, all.change_running, all.is_changed, all.has_key, all.find, all.orphans, all.unpark]
        {
            connection.execute(AssertSqlSafe(format!("PREPARE asked (text) AS {statement}"))).await?;
            let plan: Vec<String> =
                sqlx::query_scalar("EXPLAIN EXECUTE asked ('[]')").fetch_all(&mut *connection).await?;
            connection.execute("DEALLOCATE asked").await?;
            let is_scanned = plan.iter().any(|line| line.contains("Seq Scan on river_job"));
            assert!(!is_scanned, "each row is looked at: {plan:#?}, by {statement}");
        }
        Ok(())
    }
}
