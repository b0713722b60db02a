//! The statements for SQLite.

use super::statements::Statements;

/// A time as River writes it, this long from now.
macro_rules! in_ {
    ($interval:expr) => {
        concat!("strftime('%Y-%m-%d %H:%M:%f', 'now', ", $interval, ")")
    };
}

/// How many milliseconds there are from a time to now.
macro_rules! since {
    ($time:expr) => {
        concat!("CAST(round((julianday('now') - julianday(", $time, ")) * 86400000) AS INTEGER)")
    };
}

/// Changes the rows that match.
macro_rules! change {
    ($matches:expr, $returning:expr) => {
        concat!(
            "UPDATE river_job SET
                 state = CASE
                     WHEN r ->> '$.to' <> 'due' THEN r ->> '$.to'
                     WHEN kind IN (SELECT name FROM defer_river_paused) THEN 'pending'
                     WHEN r ->> '$.is_scheduled' THEN 'scheduled'
                     ELSE 'available'
                 END,
                 attempt = CASE WHEN r ->> '$.is_anew' THEN 0 ELSE attempt + (r ->> '$.attempts') END,
                 errors = CASE
                     WHEN r ->> '$.error' IS NULL THEN errors
                     ELSE jsonb_insert(coalesce(errors, jsonb('[]')), '$[#]', jsonb(r ->> '$.error'))
                 END,
                 finalized_at = CASE WHEN r ->> '$.to' <> 'due' THEN ",
            in_!("'0 seconds'"),
            " END,
                 scheduled_at = CASE WHEN r ->> '$.to' = 'due' THEN ",
            in_!("r ->> '$.after'"),
            " ELSE scheduled_at END,
                 metadata = jsonb_patch(
                     CASE
                         WHEN r ->> '$.is_anew' THEN jsonb_remove(metadata, '$.\"river:rescue_count\"')
                         ELSE metadata
                     END,
                     jsonb(r ->> '$.metadata')
                 ),
                 unique_key = coalesce(unhex(r ->> '$.unique'), unique_key),
                 unique_states = CASE WHEN r ->> '$.unique' IS NULL THEN unique_states ELSE 241 END
             FROM (SELECT value AS r FROM json_each(?1))
             WHERE ",
            $matches,
            " RETURNING ",
            $returning
        )
    };
}

/// Returns the jobs that match.
macro_rules! jobs {
    ($matches:expr) => {
        concat!(
            "SELECT json_object(
                 'row', id, 'kind', kind, 'state', state, 'attempt', attempt,
                 'error', errors ->> '$[#-1].error',
                 'rescues', metadata ->> '$.\"river:rescue_count\"',
                 'defer', json(metadata -> '$.defer'),
                 'is_paused', kind IN (SELECT name FROM defer_river_paused),
                 'due', -",
            since!("scheduled_at"),
            ", 'age', ",
            since!("created_at"),
            ", 'ended', ",
            since!("finalized_at"),
            ")
             FROM river_job WHERE metadata ->> '$.defer.id' IS NOT NULL AND ",
            $matches
        )
    };
}

pub(crate) static STATEMENTS: Statements = Statements {
    // One that began to read could no longer write once another has written.
    begin: "BEGIN IMMEDIATE",
    hurry: None,
    begin_migration: "BEGIN IMMEDIATE",
    lock: None,
    is_migrated: "SELECT 'yes' WHERE ?1 IS NOT NULL AND 3 = (SELECT count(*) FROM sqlite_schema
        WHERE name IN ('defer_river_job_id', 'defer_river_holders', 'defer_river_paused'))",
    migrations: &[
        "CREATE TABLE IF NOT EXISTS defer_river_holders (id TEXT PRIMARY KEY NOT NULL, beat INTEGER NOT NULL)",
        "CREATE TABLE IF NOT EXISTS defer_river_paused (name TEXT PRIMARY KEY NOT NULL)",
        "CREATE UNIQUE INDEX IF NOT EXISTS defer_river_job_id ON river_job (metadata ->> '$.defer.id')",
    ],
    insert: concat!(
        "INSERT INTO river_job (args, kind, queue, metadata, max_attempts, priority, tags, created_at, scheduled_at,
             finalized_at, state, unique_key, unique_states)
         SELECT jsonb(value ->> '$.args'), value ->> '$.kind', value ->> '$.queue', jsonb(value ->> '$.metadata'),
             value ->> '$.max_attempts', value ->> '$.priority', jsonb('[]'), ",
        in_!("'0 seconds'"),
        ", ",
        in_!("value ->> '$.after'"),
        ", CASE WHEN value ->> '$.state' = 'cancelled' THEN ",
        in_!("'0 seconds'"),
        " END,
             CASE
                 WHEN value ->> '$.state' IS NOT NULL THEN value ->> '$.state'
                 WHEN value ->> '$.kind' IN (SELECT name FROM defer_river_paused) THEN 'pending'
                 WHEN value ->> '$.is_scheduled' THEN 'scheduled'
                 ELSE 'available'
             END,
             unhex(value ->> '$.unique'), CASE WHEN value ->> '$.unique' IS NOT NULL THEN 241 END
         FROM json_each(?1) WHERE true ORDER BY key
         ON CONFLICT DO NOTHING
         RETURNING metadata ->> '$.defer.id'"
    ),
    change: change!(
        "metadata ->> '$.defer.id' = r ->> '$.id' AND state = r ->> '$.from'
         AND metadata ->> '$.defer.holder' IS r ->> '$.holder'",
        "metadata ->> '$.defer.id'"
    ),
    change_running: change!(
        "id = r ->> '$.row' AND state = 'running' AND attempt = r ->> '$.attempt'",
        "CAST(id AS TEXT)"
    ),
    // As River's unique index says it, to be found by it.
    has_key: "SELECT metadata ->> '$.defer.id' FROM river_job
        WHERE unique_key = unhex(?1 ->> '$.unique') AND unique_states IS NOT NULL
            AND CASE state
                WHEN 'available' THEN unique_states & (1 << 0)
                WHEN 'cancelled' THEN unique_states & (1 << 1)
                WHEN 'completed' THEN unique_states & (1 << 2)
                WHEN 'discarded' THEN unique_states & (1 << 3)
                WHEN 'pending' THEN unique_states & (1 << 4)
                WHEN 'retryable' THEN unique_states & (1 << 5)
                WHEN 'running' THEN unique_states & (1 << 6)
                WHEN 'scheduled' THEN unique_states & (1 << 7)
                ELSE 0
            END >= 1
            AND metadata ->> '$.defer.id' IS NOT NULL",
    is_changed: "SELECT CAST(id AS TEXT) FROM river_job WHERE metadata ->> '$.defer.change' = ?1 ->> '$.change'
        AND (?1 ->> '$.row' IS NULL AND metadata ->> '$.defer.id' = ?1 ->> '$.id' OR id = ?1 ->> '$.row')",
    notify: "INSERT INTO river_notification (topic, payload) VALUES ('river_insert', ?1 ->> '$.payload')
        RETURNING topic",
    beat: "INSERT INTO defer_river_holders (id, beat) VALUES (?1 ->> '$.id', 1)
        ON CONFLICT (id) DO UPDATE SET beat = beat + 1 RETURNING id",
    holders: "SELECT json_array(id, beat) FROM defer_river_holders WHERE id <> ?1 ->> '$.id'",
    bury: "DELETE FROM defer_river_holders WHERE id = ?1 ->> '$.id'
        AND (?1 ->> '$.beat' IS NULL OR beat = ?1 ->> '$.beat') RETURNING id",
    orphans: jobs!(
        "state = 'pending' AND metadata ->> '$.defer.holder' IS NOT NULL
         AND metadata ->> '$.defer.holder' NOT IN (SELECT id FROM defer_river_holders)
         AND ?1 IS NOT NULL ORDER BY id LIMIT 1000"
    ),
    park: "UPDATE river_job SET state = 'pending' WHERE id IN (
            SELECT id FROM river_job
            WHERE state IN ('available', 'retryable', 'scheduled') AND kind IN (SELECT name FROM defer_river_paused)
                AND metadata ->> '$.defer.id' IS NOT NULL AND ?1 IS NOT NULL
            LIMIT 1000)
        RETURNING kind",
    pause: "INSERT INTO defer_river_paused (name) VALUES (?1 ->> '$.name') ON CONFLICT DO NOTHING RETURNING name",
    resume: "DELETE FROM defer_river_paused WHERE name = ?1 ->> '$.name' RETURNING name",
    unpark: concat!(
        "UPDATE river_job SET state = CASE WHEN scheduled_at > ",
        in_!("'0 seconds'"),
        " THEN 'scheduled' ELSE 'available' END
         WHERE id IN (
             SELECT id FROM river_job
             WHERE state = 'pending' AND kind NOT IN (SELECT name FROM defer_river_paused)
                 AND metadata ->> '$.defer.id' IS NOT NULL AND metadata ->> '$.defer.holder' IS NULL
                 AND ?1 IS NOT NULL
             LIMIT 1000)
         RETURNING kind"
    ),
    paused: "SELECT name FROM defer_river_paused WHERE ?1 IS NOT NULL ORDER BY name",
    find: jobs!("metadata ->> '$.defer.id' = ?1 ->> '$.id'"),
    failed: jobs!("state = 'discarded' ORDER BY finalized_at DESC, id DESC LIMIT ?1 ->> '$.limit'"),
    ready: concat!(
        jobs!("metadata ->> '$.defer.holder' IS NULL AND state IN ('available', 'pending', 'scheduled')"),
        " AND scheduled_at <= ",
        in_!("'0 seconds'"),
        " ORDER BY scheduled_at, id LIMIT ?1 ->> '$.limit'"
    ),
    delayed: concat!(
        jobs!("metadata ->> '$.defer.holder' IS NULL AND state IN ('available', 'pending', 'retryable', 'scheduled')"),
        " AND scheduled_at > ",
        in_!("'0 seconds'"),
        " ORDER BY scheduled_at, id LIMIT ?1 ->> '$.limit'"
    ),
    running: jobs!(
        "(state = 'running' OR state = 'pending' AND metadata ->> '$.defer.holder' IS NOT NULL)
         ORDER BY created_at, id LIMIT ?1 ->> '$.limit'"
    ),
    count: concat!(
        "SELECT json_object('kind', kind, 'is_held', is_held, 'is_due', is_due, 'count', count(*),
             'oldest', max(CASE WHEN is_due THEN waited END))
         FROM (SELECT kind, metadata ->> '$.defer.holder' IS NOT NULL AS is_held, ",
        since!("scheduled_at"),
        " AS waited, scheduled_at <= ",
        in_!("'0 seconds'"),
        " AS is_due FROM river_job
         WHERE state = ?1 ->> '$.state' AND metadata ->> '$.defer.id' IS NOT NULL LIMIT 10000)
         GROUP BY kind, is_held, is_due"
    ),
    is_left: "SELECT kind FROM river_job WHERE queue = ?1 ->> '$.queue'
        AND kind IN (SELECT value FROM json_each(?1, '$.names'))
        AND (state IN ('available', 'retryable', 'running', 'scheduled')
            OR state = 'pending' AND kind NOT IN (SELECT name FROM defer_river_paused)
                AND metadata ->> '$.defer.id' IS NOT NULL AND metadata ->> '$.defer.holder' IS NULL)
        LIMIT 1",
    discard: "DELETE FROM river_job WHERE metadata ->> '$.defer.id' = ?1 ->> '$.id' AND state = 'discarded'
        RETURNING kind",
};
