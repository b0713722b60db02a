//! The statements that insert one job, for any client of a database.
//!
//! All statements of a database take the same nine values, so a client binds them the same way for every job: `id`, `queue`,
//! `name`, `payload`, `metadata`, `priority`, the delay in milliseconds, `serial_key`, `unique_key`. Integers are 64-bit.

use std::{fmt, sync::Arc};

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

impl Database {
    /// Its name in errors.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "Postgres",
        }
    }
}

/// The parts of the statement that a job needs. A job that needs none is a plain insert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// The job has a serial key, and therefore a turn.
    pub(super) serial: bool,
    /// The job has a unique key, which it claims unless another job has claimed it.
    pub(super) unique: bool,
    /// Wakes the workers of other processes, if the database can.
    pub(super) notify: bool,
}

/// The statements of one table.
pub(super) struct Statements([Arc<str>; 8]);

impl Statements {
    pub(super) fn new(database: Database, table: &str) -> Self {
        Self(std::array::from_fn(|bits| {
            let needs = Needs { serial: bits & 1 != 0, unique: bits & 2 != 0, notify: bits & 4 != 0 };
            match database {
                Database::Sqlite => sqlite(table, needs).into(),
                Database::Postgres => postgres(table, needs).into(),
            }
        }))
    }

    pub(super) fn get(&self, needs: Needs) -> &Arc<str> {
        let Needs { serial, unique, notify } = needs;
        &self.0[usize::from(serial) | usize::from(unique) << 1 | usize::from(notify) << 2]
    }
}

impl fmt::Debug for Statements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Statements").field(self.get(Needs::default())).finish()
    }
}

/// Joins the lines of a statement.
fn joined(lines: &str) -> String {
    lines.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// SQLite has one writer at a time: between this statement and the end of its transaction, nobody can claim the key or take the
/// job that has it.
fn sqlite(table: &str, needs: Needs) -> String {
    // Every SQLite version has this function, unlike `unixepoch('subsec')`. It returns the same time throughout a statement.
    let now = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";
    let turn = match needs.serial {
        true => format!(
            "max(now, coalesce((SELECT max(turn) + 1 FROM {table} WHERE queue = ?2 AND serial_key = ?8 AND state IN (1, 2)), 0))"
        ),
        false => "now".to_owned(),
    };
    let (columns, values, twin) = match needs.unique {
        true => (
            ", unique_claim, state, duplicate_of, ended",
            ", CASE WHEN twin IS NULL THEN ?9 END, CASE WHEN twin IS NULL THEN 1 ELSE 7 END, twin,
               CASE WHEN twin IS NOT NULL THEN now END",
            format!(", (SELECT id FROM {table} WHERE queue = ?2 AND unique_claim = ?9) AS twin"),
        ),
        false => ("", "", String::new()),
    };
    joined(&format!(
        "INSERT INTO {table} (id, queue, name, payload, metadata, priority, due, serial_key, unique_key, turn, created{columns})
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, now + ?7, ?8, ?9, {turn}, now{values} FROM (SELECT {now} AS now{twin})"
    ))
}

/// The first insert stores a job with a unique key if the key is free. Otherwise, the second one stores it as a duplicate. No
/// transaction waits for a user's transaction, which may stay open for long:
///
/// - A transaction that claims a key holds a lock on it. Another one that does not get the lock stores its job without a claim,
///   and both jobs run.
/// - A job that has duplicates stays locked until their transactions have ended. If it were taken earlier, it would not see what
///   they changed. These transactions share the lock.
///
/// The claim may have been committed after the statement began. The conflict then locks that job and names it.
fn postgres(table: &str, needs: Needs) -> String {
    let now = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now";
    // Postgres keeps a volatile function below a select where it is, and calls it once.
    let at = match needs.notify {
        true => format!("SELECT {now}, pg_notify('defer_jobs', $2::text)"),
        false => format!("SELECT {now}"),
    };
    let turn = match needs.serial {
        true => format!(
            "greatest(now, (SELECT max(turn) + 1 FROM {table} WHERE queue = $2::text AND serial_key = $8::text AND state IN (1, 2)))"
        ),
        false => "now".to_owned(),
    };
    let columns = "id, queue, name, payload, metadata, priority, due, serial_key, unique_key, created, turn";
    // The casts are for a client that asks for the types of the parameters: it has to learn that these are 64-bit.
    let values = "$1::text, $2::text, $3::text, $4::text, $5::text, $6::bigint, now + $7::bigint, $8::text, $9::text, now";
    if !needs.unique {
        return joined(&format!("INSERT INTO {table} ({columns}) SELECT {values}, {turn} FROM ({at}) AS at"));
    }
    joined(&format!(
        "WITH at AS MATERIALIZED ({at}),
         twin AS MATERIALIZED (
             SELECT id FROM {table} WHERE queue = $2::text AND unique_claim = $9::text FOR SHARE SKIP LOCKED
         ),
         stored AS (
             INSERT INTO {table} ({columns}, unique_claim)
             SELECT {values}, {turn}, CASE WHEN {POSTGRES_CLAIM} THEN $9::text END
             FROM at WHERE NOT EXISTS (SELECT FROM twin)
             ON CONFLICT (queue, unique_claim) WHERE unique_claim IS NOT NULL
             DO UPDATE SET unique_claim = excluded.unique_claim
             RETURNING id
         )
         INSERT INTO {table} ({columns}, state, duplicate_of, ended)
         SELECT {values}, now, 7, other.id, now
         FROM at, (SELECT id FROM twin UNION ALL SELECT id FROM stored WHERE id <> $1::text) AS other"
    ))
}

/// Tests whether this transaction may claim a key. If so, it has locked the key, until it ends.
const POSTGRES_CLAIM: &str =
    "pg_try_advisory_xact_lock(hashtextextended('defer_jobs ' || $2::text || ' ' || $9::text, 0))";
