//! The statements for Postgres.

use super::statements::Statements;

/// How many milliseconds there are from a time to now.
macro_rules! since {
    ($time:expr) => {
        concat!("(extract(epoch FROM clock_timestamp() - ", $time, ") * 1000)::bigint")
    };
}

/// The rows of the parameter, in their order.
macro_rules! rows {
    () => {
        "json_array_elements($1::json) WITH ORDINALITY AS given (r, number)"
    };
}

/// Changes the rows that match.
macro_rules! change {
    ($matches:expr, $returning:expr) => {
        concat!(
            "UPDATE river_job SET
                 state = (CASE
                     WHEN r ->> 'to' <> 'due' THEN r ->> 'to'
                     WHEN kind IN (SELECT name FROM defer_river_paused) THEN 'pending'
                     WHEN (r ->> 'is_scheduled')::boolean THEN 'scheduled'
                     ELSE 'available'
                 END)::river_job_state,
                 attempt = CASE WHEN (r ->> 'is_anew')::boolean THEN 0 ELSE attempt + (r ->> 'attempts')::smallint END,
                 errors = CASE
                     WHEN r ->> 'error' IS NULL THEN errors
                     ELSE array_append(errors, (r ->> 'error')::jsonb)
                 END,
                 finalized_at = CASE WHEN r ->> 'to' <> 'due' THEN now() END,
                 scheduled_at = CASE
                     WHEN r ->> 'to' = 'due' THEN now() + (r ->> 'after')::interval
                     ELSE scheduled_at
                 END,
                 metadata = CASE
                     WHEN (r ->> 'is_anew')::boolean THEN metadata - 'river:rescue_count'
                     ELSE metadata
                 END || jsonb_build_object('defer',
                     jsonb_strip_nulls(coalesce(metadata -> 'defer', '{}') || ((r ->> 'metadata')::jsonb -> 'defer'))),
                 unique_key = coalesce(decode(r ->> 'unique', 'hex'), unique_key),
                 unique_states = CASE WHEN r ->> 'unique' IS NULL THEN unique_states ELSE 241::bit(8) END
             FROM ",
            rows!(),
            " WHERE ",
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
            "SELECT json_build_object(
                 'row', id, 'kind', kind, 'state', state, 'attempt', attempt,
                 'error', errors[cardinality(errors)] ->> 'error',
                 'rescues', metadata -> 'river:rescue_count',
                 'defer', metadata -> 'defer',
                 'is_paused', kind IN (SELECT name FROM defer_river_paused),
                 'due', -",
            since!("scheduled_at"),
            ", 'age', ",
            since!("created_at"),
            ", 'ended', ",
            since!("finalized_at"),
            ")::text
             FROM river_job WHERE metadata -> 'defer' ->> 'id' IS NOT NULL AND ",
            $matches
        )
    };
}

pub(crate) static STATEMENTS: Statements = Statements {
    begin: "BEGIN; SET LOCAL lock_timeout = '1s'",
    hurry: Some("SET LOCAL lock_timeout = '50ms'"),
    begin_migration: "BEGIN",
    lock: Some("SELECT pg_advisory_xact_lock(8317283642)"),
    // An index whose concurrent creation has failed is there, and not valid.
    is_migrated: "SELECT indexrelid::text FROM pg_index
        WHERE indexrelid = to_regclass('defer_river_job_id') AND indrelid = to_regclass('river_job') AND indisvalid
            AND to_regclass('defer_river_holders') IS NOT NULL AND to_regclass('defer_river_paused') IS NOT NULL
            AND $1::json IS NOT NULL",
    migrations: &[
        "CREATE TABLE IF NOT EXISTS defer_river_holders (id text PRIMARY KEY, beat bigint NOT NULL)",
        "CREATE TABLE IF NOT EXISTS defer_river_paused (name text PRIMARY KEY)",
        "CREATE UNIQUE INDEX IF NOT EXISTS defer_river_job_id ON river_job ((metadata -> 'defer' ->> 'id'))",
    ],
    // `now()` is when the transaction began, which may be the user's own, and long ago.
    insert: concat!(
        "INSERT INTO river_job (args, kind, queue, metadata, max_attempts, priority, tags, scheduled_at, finalized_at,
             state, unique_key, unique_states)
         SELECT (r ->> 'args')::jsonb, r ->> 'kind', r ->> 'queue', (r ->> 'metadata')::jsonb,
             (r ->> 'max_attempts')::smallint, (r ->> 'priority')::smallint, '{}',
             statement_timestamp() + (r ->> 'after')::interval, CASE WHEN r ->> 'state' = 'cancelled' THEN now() END,
             (CASE
                 WHEN r ->> 'state' IS NOT NULL THEN r ->> 'state'
                 WHEN r ->> 'kind' IN (SELECT name FROM defer_river_paused) THEN 'pending'
                 WHEN (r ->> 'is_scheduled')::boolean THEN 'scheduled'
                 ELSE 'available'
             END)::river_job_state,
             decode(r ->> 'unique', 'hex'), CASE WHEN r ->> 'unique' IS NOT NULL THEN 241::bit(8) END
         FROM ",
        rows!(),
        " ORDER BY number ON CONFLICT DO NOTHING RETURNING metadata -> 'defer' ->> 'id'"
    ),
    change: change!(
        "metadata -> 'defer' ->> 'id' = r ->> 'id' AND state = (r ->> 'from')::river_job_state
         AND metadata -> 'defer' ->> 'holder' IS NOT DISTINCT FROM r ->> 'holder'",
        "metadata -> 'defer' ->> 'id'"
    ),
    change_running: change!(
        "id = (r ->> 'row')::bigint AND state = 'running' AND attempt = (r ->> 'attempt')::smallint",
        "id::text"
    ),
    // As River's unique index says it, to be found by it.
    has_key: "SELECT metadata -> 'defer' ->> 'id' FROM river_job
        WHERE unique_key = decode($1::json ->> 'unique', 'hex') AND unique_states IS NOT NULL
            AND river_job_state_in_bitmask(unique_states, state) AND metadata -> 'defer' ->> 'id' IS NOT NULL",
    is_changed: "SELECT id::text FROM river_job WHERE metadata -> 'defer' ->> 'change' = $1::json ->> 'change'
        AND ($1::json ->> 'row' IS NULL AND metadata -> 'defer' ->> 'id' = $1::json ->> 'id'
            OR id = ($1::json ->> 'row')::bigint)",
    notify: "SELECT pg_notify(concat(current_schema(), '.river_insert'), $1::json ->> 'payload')::text",
    beat: "INSERT INTO defer_river_holders AS holder (id, beat) VALUES ($1::json ->> 'id', 1)
        ON CONFLICT (id) DO UPDATE SET beat = holder.beat + 1 RETURNING id",
    holders: "SELECT json_build_array(id, beat)::text FROM defer_river_holders WHERE id <> $1::json ->> 'id'",
    bury: "DELETE FROM defer_river_holders WHERE id = $1::json ->> 'id'
        AND ($1::json ->> 'beat' IS NULL OR beat = ($1::json ->> 'beat')::bigint) RETURNING id",
    orphans: jobs!(
        "state = 'pending' AND metadata -> 'defer' ->> 'holder' IS NOT NULL
         AND metadata -> 'defer' ->> 'holder' NOT IN (SELECT id FROM defer_river_holders)
         AND $1::json IS NOT NULL ORDER BY id LIMIT 1000 FOR UPDATE OF river_job SKIP LOCKED"
    ),
    // What is locked is found by a later beat.
    park: "UPDATE river_job SET state = 'pending' WHERE id IN (
            SELECT id FROM river_job
            WHERE state IN ('available', 'retryable', 'scheduled') AND kind IN (SELECT name FROM defer_river_paused)
                AND metadata -> 'defer' ->> 'id' IS NOT NULL AND $1::json IS NOT NULL
            LIMIT 1000 FOR UPDATE OF river_job SKIP LOCKED)
        RETURNING kind",
    pause: "INSERT INTO defer_river_paused (name) VALUES ($1::json ->> 'name') ON CONFLICT DO NOTHING RETURNING name",
    resume: "DELETE FROM defer_river_paused WHERE name = $1::json ->> 'name' RETURNING name",
    unpark: "UPDATE river_job
        SET state = (CASE WHEN scheduled_at > now() THEN 'scheduled' ELSE 'available' END)::river_job_state
        WHERE id IN (
            SELECT id FROM river_job
            WHERE state = 'pending' AND kind NOT IN (SELECT name FROM defer_river_paused)
                AND metadata -> 'defer' ->> 'id' IS NOT NULL AND metadata -> 'defer' ->> 'holder' IS NULL
                AND $1::json IS NOT NULL
            LIMIT 1000 FOR UPDATE OF river_job SKIP LOCKED)
        RETURNING kind",
    paused: "SELECT name FROM defer_river_paused WHERE $1::json IS NOT NULL ORDER BY name",
    find: jobs!("metadata -> 'defer' ->> 'id' = $1::json ->> 'id'"),
    failed: jobs!("state = 'discarded' ORDER BY finalized_at DESC, id DESC LIMIT ($1::json ->> 'limit')::bigint"),
    ready: jobs!(
        "metadata -> 'defer' ->> 'holder' IS NULL AND state IN ('available', 'pending', 'scheduled')
         AND scheduled_at <= now() ORDER BY scheduled_at, id LIMIT ($1::json ->> 'limit')::bigint"
    ),
    delayed: jobs!(
        "metadata -> 'defer' ->> 'holder' IS NULL AND state IN ('available', 'pending', 'retryable', 'scheduled')
         AND scheduled_at > now() ORDER BY scheduled_at, id LIMIT ($1::json ->> 'limit')::bigint"
    ),
    running: jobs!(
        "(state = 'running' OR state = 'pending' AND metadata -> 'defer' ->> 'holder' IS NOT NULL)
         ORDER BY created_at, id LIMIT ($1::json ->> 'limit')::bigint"
    ),
    count: concat!(
        "SELECT json_build_object('kind', kind, 'is_held', is_held, 'is_due', is_due, 'count', count(*),
             'oldest', max(CASE WHEN is_due THEN waited END))::text
         FROM (SELECT kind, metadata -> 'defer' ->> 'holder' IS NOT NULL AS is_held, ",
        since!("scheduled_at"),
        " AS waited, scheduled_at <= now() AS is_due FROM river_job
         WHERE state = ($1::json ->> 'state')::river_job_state AND metadata -> 'defer' ->> 'id' IS NOT NULL
         LIMIT 10000) AS counted
         GROUP BY kind, is_held, is_due"
    ),
    is_left: "SELECT kind FROM river_job WHERE queue = $1::json ->> 'queue'
        AND kind IN (SELECT json_array_elements_text($1::json -> 'names'))
        AND (state IN ('available', 'retryable', 'running', 'scheduled')
            OR state = 'pending' AND kind NOT IN (SELECT name FROM defer_river_paused)
                AND metadata -> 'defer' ->> 'id' IS NOT NULL AND metadata -> 'defer' ->> 'holder' IS NULL)
        LIMIT 1",
    discard: "DELETE FROM river_job WHERE metadata -> 'defer' ->> 'id' = $1::json ->> 'id' AND state = 'discarded'
        RETURNING kind",
};
