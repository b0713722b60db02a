//! Runs the statements that store and change jobs.

use std::{borrow::Cow, collections::HashMap};

use defer_core::JobId;
use sqlx::{
    PgConnection, Postgres, Row,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use super::{
    keys::{self, Claimant},
    tables::{Tables, query},
};
use crate::store::{
    interface::{Change, ChangeKind, Changed, NewJob, Write},
    state::{self, text},
};

type Result<T> = std::result::Result<T, sqlx::Error>;
type Sql = Query<'static, Postgres, PgArguments>;

/// Stores held jobs of a holder, and makes changes. Also returns whether jobs became ready.
pub(super) async fn write(
    connection: &mut PgConnection,
    tables: &Tables,
    Write { holder, held, changes }: &Write,
) -> Result<(Vec<Changed>, bool)> {
    let changes_of = Changes { connection, tables, holder, changes, made: HashMap::new(), made_ready: false };
    let (changed, made_ready) = changes_of.make().await?;
    let children = changes.iter().zip(&changed).filter(|(_, changed)| **changed == Changed::Made);
    let held: Vec<&NewJob> = children.flat_map(|(change, _)| &change.children).chain(held).collect();
    hold(connection, tables, holder, &held).await?;
    Ok((changed, made_ready))
}

/// Returns whether all changes are ends that need only [one statement](write_at_once).
pub(super) fn is_one_statement(changes: &[Change]) -> bool {
    let is_end = |change: &Change| {
        matches!(change.kind, ChangeKind::End(_)) && change.children.is_empty() && change.insert.is_none()
    };
    changes.iter().all(is_end)
}

/// Does the same as [`write`], in a statement that is its own transaction.
pub(super) async fn write_at_once(
    connection: &mut PgConnection,
    tables: &Tables,
    Write { holder, held, changes }: &Write,
) -> Result<(Vec<Changed>, bool)> {
    let held: Vec<&NewJob> = held.iter().collect();
    if changes.is_empty() {
        hold(connection, tables, holder, &held).await?;
        return Ok((Vec::new(), false));
    }
    let ends = Ends::new(changes);
    let rows = if held.is_empty() {
        ends.bind(query(&tables.write.end).bind(holder)).fetch_all(&mut *connection).await?
    } else {
        let sql = bind_held(query(&tables.write.hold_and_end), &tables.queue, holder, &held);
        ends.bind(sql).fetch_all(&mut *connection).await?
    };
    let mut changes =
        Changes { connection, tables, holder, changes, made: HashMap::new(), made_ready: false };
    // Everything is committed from here on, so an error must not look as if it were not.
    let broken = |error: sqlx::Error| sqlx::Error::Protocol(error.to_string());
    changes.note_ended(&rows).map_err(broken)?;
    changes.find_made().await.map_err(broken)?;
    Ok(changes.results())
}

async fn hold(connection: &mut PgConnection, tables: &Tables, holder: &str, jobs: &[&NewJob]) -> Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    let sql = bind_held(query(&tables.write.hold), &tables.queue, holder, jobs);
    sql.execute(connection).await.map(drop)
}

/// Binds the values of rows to be stored.
fn bind_held(sql: Sql, queue: &str, holder: &str, jobs: &[&NewJob]) -> Sql {
    let texts = |of: fn(&NewJob) -> &str| jobs.iter().map(|job| text(of(job))).collect::<Vec<_>>();
    let keys = |of: fn(&NewJob) -> &Option<String>| -> Vec<_> {
        jobs.iter().map(|job| of(job).as_deref().map(text)).collect()
    };
    let status = |job: &&NewJob| job.status.and_then(|status| i16::try_from(status).ok());
    sql.bind(queue)
        .bind(holder)
        .bind(jobs.iter().map(|job| job.id.to_string()).collect::<Vec<_>>())
        .bind(texts(|job| &job.name))
        .bind(texts(|job| &job.payload))
        .bind(texts(|job| &job.metadata))
        .bind(jobs.iter().map(|job| job.priority).collect::<Vec<_>>())
        .bind(jobs.iter().map(|job| job.condition).collect::<Vec<_>>())
        .bind(jobs.iter().map(status).collect::<Vec<_>>())
        .bind(keys(|job| &job.serial))
        .bind(keys(|job| &job.unique))
}

/// The values of rows to be ended.
#[derive(Default)]
struct Ends<'a> {
    ids: Vec<String>,
    claims: Vec<i64>,
    states: Vec<i16>,
    attempts: Vec<Option<i64>>,
    errors: Vec<Option<Cow<'a, str>>>,
}

impl<'a> Ends<'a> {
    fn new(changes: &'a [Change]) -> Self {
        let mut ends = Self::default();
        for change in changes {
            let ChangeKind::End(end) = &change.kind else { continue };
            let (state, attempts, error) = state::of_end(end);
            ends.ids.push(change.id.to_string());
            ends.claims.push(change.claim);
            ends.states.push(state);
            ends.attempts.push(attempts.map(state::attempts));
            ends.errors.push(error.map(text));
        }
        ends
    }

    fn bind(self, sql: Sql) -> Sql {
        sql.bind(self.ids).bind(self.claims).bind(self.states).bind(self.attempts).bind(self.errors)
    }
}

/// Changes of jobs that a holder has.
struct Changes<'a> {
    connection: &'a mut PgConnection,
    tables: &'a Tables,
    holder: &'a str,
    changes: &'a [Change],
    made: HashMap<String, Changed>,
    made_ready: bool,
}

impl Changes<'_> {
    async fn make(mut self) -> Result<(Vec<Changed>, bool)> {
        self.insert_missing().await?;
        self.end().await?;
        self.retry().await?;
        self.pass().await?;
        self.progress().await?;
        self.make_ready().await?;
        self.find_made().await?;
        Ok(self.results())
    }

    /// Returns the result of each change, and whether jobs became ready.
    fn results(&self) -> (Vec<Changed>, bool) {
        let of = |change: &Change| self.made.get(&change.id.to_string()).copied().unwrap_or(Changed::Refused);
        (self.changes.iter().map(of).collect(), self.made_ready)
    }

    /// Stores jobs whose own insert is in doubt: a change then finds them, and an insert that arrives later changes nothing.
    async fn insert_missing(&mut self) -> Result<()> {
        let missing: Vec<&NewJob> = self.changes.iter().filter_map(|change| change.insert.as_ref()).collect();
        hold(self.connection, self.tables, self.holder, &missing).await
    }

    async fn end(&mut self) -> Result<()> {
        let ends = Ends::new(self.changes);
        if ends.ids.is_empty() {
            return Ok(());
        }
        let sql = query(&self.tables.write.end).bind(self.holder);
        let rows = ends.bind(sql).fetch_all(&mut *self.connection).await?;
        self.note_ended(&rows)
    }

    fn note_ended(&mut self, rows: &[PgRow]) -> Result<()> {
        for row in rows {
            self.made.insert(row.try_get(0)?, Changed::Made);
            // The next job with its serial key may run.
            self.made_ready |= row.try_get::<bool, _>(1)?;
        }
        Ok(())
    }

    async fn retry(&mut self) -> Result<()> {
        let mut rows = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for change in self.changes {
            let ChangeKind::Retry { delay, attempts, error } = &change.kind else { continue };
            rows.0.push(change.id.to_string());
            rows.1.push(change.claim);
            rows.2.push(state::delay(*delay));
            rows.3.push(state::attempts(*attempts));
            rows.4.push(error.as_deref().map(text));
        }
        if rows.0.is_empty() {
            return Ok(());
        }
        let (ids, claims, delays, attempts, errors) = rows;
        let sql = query(&self.tables.write.retry).bind(self.holder).bind(ids).bind(claims).bind(delays);
        for row in sql.bind(attempts).bind(errors).fetch_all(&mut *self.connection).await? {
            self.made.insert(row.try_get(0)?, Changed::Made);
            self.made_ready = true;
        }
        Ok(())
    }

    async fn pass(&mut self) -> Result<()> {
        let passes = || self.changes.iter().filter(|change| matches!(change.kind, ChangeKind::Pass));
        let ids: Vec<String> = passes().map(|change| change.id.to_string()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let claims: Vec<i64> = passes().map(|change| change.claim).collect();
        let sql = query(&self.tables.write.pass).bind(self.holder).bind(ids).bind(claims);
        for row in sql.fetch_all(&mut *self.connection).await? {
            self.made.insert(row.try_get(0)?, Changed::Made);
        }
        Ok(())
    }

    async fn progress(&mut self) -> Result<()> {
        let mut rows = (Vec::new(), Vec::new(), Vec::new());
        for change in self.changes {
            let ChangeKind::Progress { json } = &change.kind else { continue };
            rows.0.push(change.id.to_string());
            rows.1.push(change.claim);
            rows.2.push(text(json));
        }
        if rows.0.is_empty() {
            return Ok(());
        }
        let sql = query(&self.tables.write.progress).bind(self.holder).bind(rows.0).bind(rows.1).bind(rows.2);
        for row in sql.fetch_all(&mut *self.connection).await? {
            self.made.insert(row.try_get(0)?, Changed::Made);
        }
        Ok(())
    }

    async fn make_ready(&mut self) -> Result<()> {
        let mut rows = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut throttles, mut every) = (Vec::new(), Vec::new());
        // In the order of their turns.
        let mut order = Vec::new();
        let mut turns: HashMap<&str, i64> = HashMap::new();
        let mut own_keys = HashMap::new();
        for change in self.changes {
            let ChangeKind::Ready { delay, serial, unique, replace, throttle, outcome } = &change.kind else {
                continue;
            };
            let id = change.id.to_string();
            order.push(id.clone());
            if unique.is_some() {
                own_keys.insert(id.clone(), *replace);
            }
            throttles.push(throttle.as_ref().map(|throttle| text(&throttle.key)));
            every.push(throttle.as_ref().map(|throttle| state::delay(throttle.every)));
            let turn = serial.as_deref().map(|key| turns.entry(key).and_modify(|nth| *nth += 1).or_default());
            rows.0.push(id);
            rows.1.push(change.claim);
            rows.2.push(state::delay(*delay));
            rows.4.push(turn.map_or(0, |nth| *nth));
            rows.3.push(serial.as_deref().map(text));
            rows.5.push(unique.as_deref().map(text));
            rows.6.push(outcome.as_deref().map(text));
        }
        if rows.0.is_empty() {
            return Ok(());
        }
        let (ids, claims, delays, serial, nth, keys, outcomes) = rows;
        let sql = query(&self.tables.write.ready).bind(self.holder).bind(&self.tables.queue).bind(ids);
        let sql = sql.bind(claims).bind(delays).bind(serial).bind(nth).bind(keys).bind(outcomes);
        let sql = sql.bind(throttles).bind(every);
        let mut claimants = HashMap::new();
        for row in sql.fetch_all(&mut *self.connection).await? {
            let id: String = row.try_get(0)?;
            self.made_ready = true;
            self.made.insert(id.clone(), Changed::Made);
            if let Some(key) = row.try_get(1)? {
                let own_key = own_keys.get(&id);
                let (may_be_duplicate, replace) = (own_key.is_some(), own_key.copied().flatten());
                claimants.insert(id.clone(), Claimant { id, key, may_be_duplicate, replace });
            }
        }
        let claimants: Vec<Claimant> = order.iter().filter_map(|id| claimants.remove(id)).collect();
        let duplicates = keys::claim(self.connection, self.tables, &claimants).await?;
        for (id, twin) in duplicates {
            if let Ok(twin) = twin.parse::<JobId>() {
                self.made.insert(id, Changed::Duplicate(twin));
            }
        }
        Ok(())
    }

    /// Marks changes that found nothing to change because an earlier try has made them.
    async fn find_made(&mut self) -> Result<()> {
        if self.made.len() == self.changes.len() {
            return Ok(());
        }
        let left: HashMap<String, &Change> = self
            .changes
            .iter()
            .map(|change| (change.id.to_string(), change))
            .filter(|(id, _)| !self.made.contains_key(id))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        let ids: Vec<&String> = left.keys().collect();
        let sql = query(&self.tables.write.found).bind(self.holder).bind(ids);
        let mut with_children = HashMap::new();
        for row in sql.fetch_all(&mut *self.connection).await? {
            let id: String = row.try_get(0)?;
            let Some(change) = left.get(&id) else { continue };
            let found = state::Found {
                state: row.try_get(1)?,
                is_ours: row.try_get(2)?,
                claim: row.try_get(3)?,
                duplicate_of: row.try_get(4)?,
            };
            if let Some(changed) = found.made(change) {
                self.made.insert(id, changed);
            } else if let Some(child) = change.children.first().filter(|_| change.again) {
                with_children.insert(child.id.to_string(), id);
            }
        }
        if with_children.is_empty() {
            return Ok(());
        }
        let children: Vec<&String> = with_children.keys().collect();
        let known = query(&self.tables.write.known).bind(children).fetch_all(&mut *self.connection).await?;
        for row in known {
            if let Some(id) = with_children.remove(&row.try_get::<String, _>(0)?) {
                self.made.insert(id, Changed::Made);
            }
        }
        Ok(())
    }
}
