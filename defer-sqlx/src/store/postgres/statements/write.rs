//! Statements that store and change jobs.

/// The new state of a job that is given back. If its condition was not evaluated, its status decides.
macro_rules! given_back {
    () => {
        "CASE WHEN j.cancel <> 0 THEN 6 WHEN j.state <> 0 OR j.outcome IS NOT NULL OR c.outcome IS NOT NULL THEN 1 \
         WHEN j.condition = 2 THEN 4 WHEN j.condition = 1 AND coalesce(j.status, 500) >= 400 THEN 5 ELSE 1 END"
    };
}

/// Stores held rows of a holder, from these arrays.
macro_rules! hold {
    ($queue:literal, $holder:literal, $rows:literal) => {
        concat!(
            "INSERT INTO {jobs} (queue, holder, state, claim, due, turn, created, id, name, payload, metadata, priority, \
             condition, status, serial_key, unique_key) SELECT ",
            $queue,
            ", ",
            $holder,
            ", 0, 1, {now}, {now}, {now}, c.* FROM unnest(",
            $rows,
            ") AS c ON CONFLICT (id) DO NOTHING"
        )
    };
}

/// Ends rows of a holder, from these arrays.
macro_rules! end {
    ($holder:literal, $rows:literal) => {
        concat!(
            "UPDATE {jobs} j SET state = c.state, attempts = coalesce(c.attempts, j.attempts), error = c.error, ended = {now}, \
             unique_claim = NULL FROM unnest(",
            $rows,
            ") AS c (id, claim, state, attempts, error) WHERE j.id = c.id AND j.holder IS NOT DISTINCT FROM ",
            $holder,
            " AND j.claim = c.claim AND j.state + 0 IN (0, 2) RETURNING j.id, j.serial_key IS NOT NULL"
        )
    };
}

statements! {
    hold = hold!("$1::text", "$2::text", "$3::text[], $4::text[], $5::text[], $6::text[], $7::smallint[], $8::smallint[], \
            $9::smallint[], $10::text[], $11::text[]");
    end = end!("$1::text", "$2::text[], $3::bigint[], $4::smallint[], $5::bigint[], $6::text[]");
    hold_and_end = concat!("WITH held AS (",
            hold!("$1::text", "$2::text", "$3::text[], $4::text[], $5::text[], $6::text[], $7::smallint[], $8::smallint[], \
            $9::smallint[], $10::text[], $11::text[]"),
            ") ", end!("$2::text", "$12::text[], $13::bigint[], $14::smallint[], $15::bigint[], $16::text[]"));
    retry = "UPDATE {jobs} j SET state = CASE j.cancel WHEN 0 THEN 1 ELSE 6 END, claim = {raised}, condition = 0, \
             due = {now} + c.delay, attempts = c.attempts, error = coalesce(c.error, j.error), unique_claim = NULL, \
             ended = CASE j.cancel WHEN 0 THEN NULL ELSE {now} END \
             FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[]) \
             AS c (id, claim, delay, attempts, error) WHERE j.id = c.id AND j.holder IS NOT DISTINCT FROM $1::text \
             AND j.claim = c.claim AND j.state + 0 IN (0, 2) RETURNING j.id";
    pass = "UPDATE {jobs} j SET condition = 0 FROM unnest($2::text[], $3::bigint[]) AS c (id, claim) WHERE j.id = c.id \
            AND j.holder IS NOT DISTINCT FROM $1::text AND j.claim = c.claim AND j.state + 0 IN (0, 2) RETURNING j.id";
    progress = "UPDATE {jobs} j SET progress = c.claim || ' ' || c.json FROM unnest($2::text[], $3::bigint[], $4::text[]) \
                AS c (id, claim, json) WHERE j.id = c.id AND j.holder IS NOT DISTINCT FROM $1::text AND j.claim = c.claim \
                AND j.state + 0 IN (0, 2) RETURNING j.id";
    ready = concat!("UPDATE {jobs} j SET state = ", given_back!(), ", claim = {raised}, condition = 0, due = {now} + c.delay, \
             outcome = coalesce(c.outcome, j.outcome), serial_key = coalesce(c.serial, j.serial_key), \
             unique_key = coalesce(c.key, j.unique_key), unique_claim = NULL, \
             since = CASE WHEN c.key IS NULL THEN j.since ELSE {now} END, throttle_key = coalesce(c.throttle, j.throttle_key), \
             throttle_every = coalesce(c.every, j.throttle_every), \
             error = CASE ", given_back!(), " WHEN 4 THEN 'its process ended before its condition could be asked' ELSE j.error END, \
             ended = CASE ", given_back!(), " WHEN 1 THEN NULL ELSE {now} END, \
             turn = CASE WHEN c.serial IS NULL OR (j.state = 2 AND j.serial_key IS NOT DISTINCT FROM c.serial) THEN j.turn ELSE ",
             turn!("c.nth", "$2::text", "c.serial"), " END \
             FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $8::text[], $9::text[], $10::text[], \
             $11::bigint[]) AS c (id, claim, delay, serial, nth, key, outcome, throttle, every) WHERE j.id = c.id AND j.holder IS NOT DISTINCT FROM $1::text \
             AND j.claim = c.claim AND j.state + 0 IN (0, 2) RETURNING j.id, \
             CASE WHEN j.state = 1 AND (j.attempts = 0 OR c.key IS NOT NULL) THEN j.unique_key END");
    found = "SELECT id, state, holder IS NOT DISTINCT FROM $1::text, claim, duplicate_of FROM {jobs} WHERE id = ANY ($2::text[])";
    known = "SELECT id FROM {jobs} WHERE id = ANY ($1::text[])";
}
