//! Statements about holders and recovery.

/// The condition matters as long as the outcome of the response is unknown.
macro_rules! orphan {
    () => {
        "SELECT j.id, j.deaths, CASE WHEN j.state = 0 AND j.outcome IS NULL THEN j.condition ELSE 0::smallint END, j.status, j.cancel <> 0 \
         FROM {jobs} j WHERE j.state IN (0, 2) AND "
    };
}

statements! {
    register = "INSERT INTO {holders} (id, queue, host, pid, version, names) VALUES ($1::text, $2::text, $3::text, $4::bigint, \
                $5::text, $6::text) ON CONFLICT (id) DO NOTHING";
    rename = "UPDATE {holders} SET names = $2::text WHERE id = $1::text";
    beat = "UPDATE {holders} SET beat = beat + 1 WHERE id = $1::text";
    others = "SELECT id, beat FROM {holders} WHERE queue = $1::text AND id <> $2::text";
    own = "SELECT id, claim, cancel <> 0 FROM {jobs} WHERE state IN (0, 2) AND holder = $1::text";
    paused = "SELECT name FROM {pauses} WHERE queue = $1::text";
    // Takes one step in the index for each holder.
    has_orphans = "WITH RECURSIVE found AS (SELECT (SELECT holder FROM {jobs} WHERE state IN (0, 2) ORDER BY holder LIMIT 1) AS holder UNION ALL \
                   SELECT (SELECT j.holder FROM {jobs} j WHERE j.state IN (0, 2) AND j.holder > f.holder \
                   ORDER BY j.holder LIMIT 1) FROM found f \
                   WHERE f.holder IS NOT NULL) SELECT EXISTS (SELECT FROM found f WHERE f.holder IS NOT NULL \
                   AND NOT EXISTS (SELECT FROM {holders} h WHERE h.id = f.holder)) \
                   OR EXISTS (SELECT FROM {jobs} WHERE state IN (0, 2) AND holder IS NULL)";
    bury = "DELETE FROM {holders} WHERE id = $1::text AND beat = $2::bigint";
    orphans = concat!(orphan!(), "NOT EXISTS (SELECT FROM {holders} h WHERE h.id = j.holder) LIMIT $1::bigint FOR UPDATE OF j SKIP LOCKED");
    left = concat!(orphan!(), "j.holder = $2::text LIMIT $1::bigint FOR UPDATE OF j SKIP LOCKED");
    // After another process has recovered a row, a new holder may have it that the previous statement did not know.
    free = concat!("UPDATE {jobs} j SET state = c.state, deaths = c.deaths, claim = {raised}, holder = NULL, condition = 0, \
            due = {now} + c.delay, error = coalesce(c.error, j.error), ended = CASE c.state WHEN 1 THEN NULL ELSE {now} END, \
            unique_claim = NULL, turn = CASE WHEN j.state = 0 AND j.serial_key IS NOT NULL THEN ",
            turn!("c.nth", "j.queue", "j.serial_key"), " ELSE j.turn END \
            FROM unnest($1::text[], $2::smallint[], $3::int[], $4::bigint[], $5::text[]) WITH ORDINALITY \
            AS c (id, state, deaths, delay, error, nth) WHERE j.id = c.id AND j.state + 0 IN (0, 2) AND (j.holder = $6::text \
            OR (SELECT true FROM {holders} h WHERE h.id = j.holder LIMIT 1) IS NULL) \
            RETURNING j.id, CASE WHEN j.state = 1 AND j.attempts = 0 THEN j.unique_key END");
    forget = "DELETE FROM {holders} WHERE id = $1::text";
    prune = "DELETE FROM {jobs} WHERE id = ANY (ARRAY(SELECT old.id FROM (VALUES (3, $2::bigint), (4, $3::bigint), (5, $2::bigint), \
             (6, $2::bigint), (7, $2::bigint)) AS k (state, age) CROSS JOIN LATERAL (SELECT j.id FROM {jobs} j \
             WHERE j.queue = $1::text AND j.state = k.state AND j.ended < {now} - k.age ORDER BY j.ended \
             LIMIT $4::bigint FOR UPDATE OF j SKIP LOCKED) AS old LIMIT $4::bigint))";
}
