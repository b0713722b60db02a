//! The statements that hold and change jobs.

use std::collections::HashMap;

use defer_core::JobId;
use sqlx::{Row, SqliteConnection};

use super::{json::json, keys, now, raised, turn};
use crate::store::{
    interface::{Change, ChangeKind, Changed, NewJob, Write},
    state::{self, text},
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// `WHERE true` keeps SQLite from reading the conflict clause as that of a join.
pub(super) const HOLD: &str = concat!(
    "INSERT INTO defer_jobs (queue, holder, state, claim, due, turn, created, id, name, payload, metadata, priority, ",
    "condition, status, serial_key, unique_key) SELECT ?1, ?2, 0, 1, now, now, now, value ->> 0, value ->> 1, ",
    "value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8 ",
    "FROM json_each(?3), (SELECT ",
    now!(),
    " AS now) WHERE true ON CONFLICT (id) DO NOTHING"
);

/// A statement that changes the jobs of a JSON array (`?1`) that a holder (`?2`) has under their claims. Each `+` keeps SQLite
/// from looking at all of the holder's jobs for each of them.
macro_rules! change {
    ($set:expr) => {
        concat!(
            "UPDATE defer_jobs SET ",
            $set,
            " FROM json_each(?1) AS c, (SELECT ",
            now!(),
            " AS now) WHERE defer_jobs.id = c.value ->> 0 AND +holder = ?2 AND +claim = c.value ->> 1 ",
            "AND +state IN (0, 2) RETURNING id, state = 1 AND attempts = 0 AND unique_key IS NOT NULL"
        )
    };
}

pub(super) const END: &str = change!(
    "state = c.value ->> 2, attempts = coalesce(c.value ->> 3, attempts), error = c.value ->> 4, ended = now, \
     unique_claim = NULL"
);

pub(super) const PASS: &str = change!("condition = 0");

pub(super) const PROGRESS: &str = change!("progress = (c.value ->> 1) || ' ' || (c.value ->> 2)");

pub(super) const RETRY: &str = change!(concat!(
    "state = CASE cancel WHEN 0 THEN 1 ELSE 6 END, claim = ",
    raised!(),
    ", condition = 0, due = now + (c.value ->> 2), attempts = c.value ->> 3, error = coalesce(c.value ->> 4, error), unique_claim = NULL, ",
    "ended = CASE cancel WHEN 0 THEN NULL ELSE now END"
));

/// The new state of a job that is given back: cancelled if that was asked for. If its condition was not evaluated, its status
/// decides.
macro_rules! given_back {
    ($outcome:literal) => {
        concat!(
            "CASE WHEN cancel <> 0 THEN 6 WHEN state <> 0 OR outcome IS NOT NULL OR ",
            $outcome,
            " IS NOT NULL THEN 1 WHEN condition = 2 THEN 4 WHEN condition = 1 AND coalesce(status, 500) >= 400 THEN 5 ELSE 1 END"
        )
    };
}

/// The error of a job that gets this state.
macro_rules! error_of_given_back {
    ($outcome:literal) => {
        concat!(
            "CASE ",
            given_back!($outcome),
            " WHEN 4 THEN 'its process ended before its condition could be asked' ELSE error END"
        )
    };
}

pub(super) const READY: &str = change!(concat!(
    "state = ",
    given_back!("c.value ->> 3"),
    ", claim = ",
    raised!(),
    ", condition = 0, due = now + (c.value ->> 2), outcome = coalesce(c.value ->> 3, outcome), error = ",
    error_of_given_back!("c.value ->> 3"),
    ", ended = CASE ",
    given_back!("c.value ->> 3"),
    " WHEN 1 THEN NULL ELSE now END"
));

/// Changes one job, which may have a twin (`?5`) or may replace its twin (`?10`). A job that a worker gives back keeps its turn.
pub(super) const READY_WITH_KEYS: &str = concat!(
    "UPDATE defer_jobs SET state = CASE WHEN becomes = 1 AND ?5 IS NOT NULL THEN 7 ELSE becomes END, ",
    "duplicate_of = CASE becomes WHEN 1 THEN ?5 END, claim = CASE WHEN becomes = 1 AND ?5 IS NOT NULL THEN claim ELSE ",
    raised!(),
    " END, condition = 0, due = now + ?6, outcome = coalesce(?7, outcome), error = ",
    error_of_given_back!("?7"),
    ", serial_key = coalesce(?8, serial_key), unique_key = coalesce(?9, unique_key), ",
    "unique_claim = CASE WHEN becomes = 1 AND ?5 IS NULL AND NOT ?10 THEN ?9 END, ",
    "since = CASE WHEN ?9 IS NULL THEN since ELSE now END, throttle_key = coalesce(?11, throttle_key), throttle_every = coalesce(?12, throttle_every), ",
    "ended = CASE WHEN becomes = 1 AND ?5 IS NULL THEN NULL ELSE now END, ",
    "turn = CASE WHEN ?8 IS NULL OR (state = 2 AND serial_key IS ?8) THEN turn ELSE ",
    turn!("?1", "?8"),
    " END FROM (SELECT id AS this, ",
    given_back!("?7"),
    " AS becomes, ",
    now!(),
    " AS now FROM defer_jobs WHERE id = ?2) WHERE id = this AND +holder = ?3 AND +claim = ?4 AND +state IN (0, 2) RETURNING state"
);

pub(super) const FIND: &str = "SELECT state, holder, claim, duplicate_of FROM defer_jobs WHERE id = ?1";

/// Stores held jobs of a holder, and makes changes.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    queue: &str,
    Write { holder, held, changes }: &Write,
) -> Result<Vec<Changed>> {
    let changed = Changes { connection, queue, holder, changes }.make().await?;
    let children = changes.iter().zip(&changed).filter(|(_, changed)| **changed == Changed::Made);
    let held: Vec<&NewJob> = children.flat_map(|(change, _)| &change.children).chain(held).collect();
    hold(connection, queue, holder, &held).await?;
    Ok(changed)
}

/// Uses one statement for all jobs, because each statement is a trip to the connection's thread (sqlx 0.9).
async fn hold(connection: &mut SqliteConnection, queue: &str, holder: &str, jobs: &[&NewJob]) -> Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    let rows = rows_of(jobs.iter().copied())?;
    sqlx::query(HOLD).bind(queue).bind(holder).bind(rows).execute(connection).await.map(drop)
}

/// Converts jobs to the parameter of [`HOLD`].
pub(super) fn rows_of<'a>(jobs: impl Iterator<Item = &'a NewJob>) -> Result<String> {
    let row = |job: &NewJob| {
        let NewJob { id, priority, condition, status, serial, unique, .. } = job;
        let texts = (text(&job.name), text(&job.payload), text(&job.metadata));
        let (name, payload, metadata) = texts;
        let (serial, unique) = (serial.as_deref().map(text), unique.as_deref().map(text));
        json(&(id, name, payload, metadata, priority, condition, status, serial, unique))
    };
    array(jobs.map(row))
}

/// Changes of jobs that a holder has.
pub(super) struct Changes<'a> {
    pub(super) connection: &'a mut SqliteConnection,
    pub(super) queue: &'a str,
    pub(super) holder: &'a str,
    pub(super) changes: &'a [Change],
}

impl Changes<'_> {
    async fn make(mut self) -> Result<Vec<Changed>> {
        self.insert_missing().await?;
        let mut changed = vec![None; self.changes.len()];
        for (sql, row) in STATEMENTS {
            self.make_with(sql, row, &mut changed).await?;
        }
        // Changes with keys are made one by one, in order.
        for (change, changed) in self.changes.iter().zip(&mut changed) {
            if has_keys(&change.kind) {
                *changed = self.make_ready(change).await?;
            }
        }
        let mut all = Vec::with_capacity(changed.len());
        for (change, changed) in self.changes.iter().zip(changed) {
            all.push(match changed {
                Some(changed) => changed,
                None => self.found(change).await?,
            });
        }
        Ok(all)
    }

    /// Stores jobs whose own insert is in doubt: a change then finds them, and an insert that arrives later changes nothing.
    async fn insert_missing(&mut self) -> Result<()> {
        let missing: Vec<&NewJob> = self.changes.iter().filter_map(|change| change.insert.as_ref()).collect();
        hold(self.connection, self.queue, self.holder, &missing).await
    }

    /// Makes the changes that a statement is for.
    async fn make_with(
        &mut self,
        sql: &'static str,
        row: fn(&Change) -> Option<Result<String>>,
        made: &mut [Option<Changed>],
    ) -> Result<()> {
        let mut places = HashMap::new();
        let mut rows = Vec::new();
        for (at, change) in self.changes.iter().enumerate() {
            if let Some(row) = row(change) {
                places.insert(change.id.to_string(), at);
                rows.push(row);
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query(sql).bind(array(rows.into_iter())?).bind(self.holder);
        let mut claiming = Vec::new();
        for row in rows.fetch_all(&mut *self.connection).await? {
            let id: String = row.try_get(0)?;
            if let Some(at) = places.get(&id) {
                made[*at] = Some(Changed::Made);
                let is_ready = matches!(self.changes[*at].kind, ChangeKind::Ready { .. });
                if is_ready && row.try_get(1)? {
                    claiming.push(id);
                }
            }
        }
        keys::claim_where_free(self.connection, &claiming).await
    }

    async fn make_ready(&mut self, change: &Change) -> Result<Option<Changed>> {
        let ChangeKind::Ready { delay, serial, unique, replace, throttle, outcome } = &change.kind else {
            return Ok(None);
        };
        let id = change.id.to_string();
        let (serial, unique) = (serial.as_deref().map(text), unique.as_deref().map(text));
        let twin = match &unique {
            Some(key) if replace.is_none() => keys::twin(self.connection, self.queue, key, &id).await?,
            _ => None,
        };
        let made = sqlx::query(READY_WITH_KEYS)
            .bind(self.queue)
            .bind(&id)
            .bind(self.holder)
            .bind(change.claim)
            .bind(&twin)
            .bind(state::delay(*delay))
            .bind(outcome.as_deref().map(text))
            .bind(serial)
            .bind(&unique)
            .bind(replace.is_some())
            .bind(throttle.as_ref().map(|throttle| text(&throttle.key)))
            .bind(throttle.as_ref().map(|throttle| state::delay(throttle.every)))
            .fetch_optional(&mut *self.connection)
            .await?;
        let Some(row) = made else { return Ok(None) };
        let is_duplicate = row.try_get::<i16, _>(0)? == state::DUPLICATE;
        match (&unique, replace) {
            (Some(key), Some(replace)) => {
                keys::take_place(self.connection, self.queue, key, &id, *replace).await?;
            }
            (Some(_), None) => {}
            (None, _) => keys::claim_where_free(self.connection, &[id]).await?,
        }
        let twin = twin.filter(|_| is_duplicate);
        Ok(Some(match twin.and_then(|twin| twin.parse::<JobId>().ok()) {
            Some(twin) => Changed::Duplicate(twin),
            None => Changed::Made,
        }))
    }

    /// Returns the result of a change that found nothing to change. An earlier try may have made it.
    pub(super) async fn found(&mut self, change: &Change) -> Result<Changed> {
        if let Some(row) = self.find(change.id).await? {
            let found = state::Found {
                state: row.try_get(0)?,
                is_ours: row.try_get::<Option<String>, _>(1)?.as_deref() == Some(self.holder),
                claim: row.try_get(2)?,
                duplicate_of: row.try_get(3)?,
            };
            if let Some(changed) = found.made(change) {
                return Ok(changed);
            }
        }
        let Some(child) = change.children.first().filter(|_| change.again) else {
            return Ok(Changed::Refused);
        };
        let child = self.find(child.id).await?;
        Ok(if child.is_some() { Changed::Made } else { Changed::Refused })
    }

    async fn find(&mut self, id: JobId) -> Result<Option<sqlx::sqlite::SqliteRow>> {
        sqlx::query(FIND).bind(id.to_string()).fetch_optional(&mut *self.connection).await
    }
}

/// Converts a change to the parameter of a statement, as JSON. `None` if the statement is not for that change.
pub(super) type Parameters = fn(&Change) -> Option<Result<String>>;

/// Statements that change many jobs, each with the parameters of the changes that it is for.
pub(super) const STATEMENTS: [(&str, Parameters); 5] = [
    (END, |change| {
        let ChangeKind::End(end) = &change.kind else { return None };
        let (state, attempts, error) = state::of_end(end);
        Some(json(&(change.id, change.claim, state, attempts.map(state::attempts), error.map(text))))
    }),
    (RETRY, |change| {
        let ChangeKind::Retry { delay, attempts, error } = &change.kind else { return None };
        let (delay, attempts) = (state::delay(*delay), state::attempts(*attempts));
        Some(json(&(change.id, change.claim, delay, attempts, error.as_deref().map(text))))
    }),
    (PASS, |change| matches!(change.kind, ChangeKind::Pass).then(|| json(&(change.id, change.claim)))),
    (PROGRESS, |change| {
        let ChangeKind::Progress { json: progress } = &change.kind else { return None };
        Some(json(&(change.id, change.claim, progress)))
    }),
    (READY, |change| {
        let ChangeKind::Ready { delay, outcome, .. } = &change.kind else { return None };
        if has_keys(&change.kind) {
            return None;
        }
        Some(json(&(change.id, change.claim, state::delay(*delay), outcome.as_deref().map(text))))
    }),
];

pub(super) fn has_keys(kind: &ChangeKind) -> bool {
    let ChangeKind::Ready { serial, unique, throttle, .. } = kind else { return false };
    serial.is_some() || unique.is_some() || throttle.is_some()
}

/// Joins values into a JSON array.
pub(super) fn array(values: impl Iterator<Item = Result<String>>) -> Result<String> {
    let mut array = String::from("[");
    for value in values {
        if array.len() > 1 {
            array.push(',');
        }
        array.push_str(&value?);
    }
    array.push(']');
    Ok(array)
}
