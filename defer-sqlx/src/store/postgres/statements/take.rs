//! Statements that find due jobs.

/// The requested names that are not paused.
macro_rules! asked {
    () => {
        "names AS MATERIALIZED (SELECT DISTINCT n.name FROM unnest($2::text[]) AS n (name) \
         WHERE NOT EXISTS (SELECT FROM {pauses} p WHERE p.queue = $1::text AND p.name = n.name))"
    };
}

/// Tests whether a row may run, as far as its serial key goes: no other row with that key runs, or became ready earlier and is
/// due or between two attempts, unless it is paused.
macro_rules! in_turn {
    () => {
        "(SELECT true FROM {jobs} o WHERE o.queue = $1::text AND o.serial_key = h.serial_key AND o.state = 2 LIMIT 1) IS NULL \
         AND (SELECT true FROM {jobs} o WHERE o.queue = $1::text AND o.serial_key = h.serial_key \
         AND o.state IN (1, 2) AND o.turn <= h.turn AND (o.turn, o.id) < (h.turn, h.id) AND (o.due <= {now} OR o.attempts > 0) \
         AND (SELECT true FROM {pauses} p WHERE p.queue = $1::text AND p.name = o.name LIMIT 1) IS NULL \
         ORDER BY o.turn, o.id LIMIT 1) IS NULL"
    };
}

/// Those of some rows with serial keys that no other transaction has locked. The lock of a key is held until its taker has
/// committed, so the statement that takes the row sees whether another row with its key was taken.
macro_rules! locked_of_keys {
    ($table:literal) => {
        concat!(
            "SELECT l.id, h.priority, h.due FROM ",
            $table,
            " h CROSS JOIN LATERAL (SELECT j.id FROM {jobs} j WHERE j.id = h.id AND j.state + 0 = 1 \
             FOR UPDATE OF j SKIP LOCKED) AS l WHERE pg_try_advisory_xact_lock(\
             hashtextextended('defer_jobs serial ' || $1::text || ' ' || h.serial_key, 0))"
        )
    };
}

statements! {
    // First finds what would be taken if nobody else took anything; of jobs with a serial key, the first of each key among the
    // first thousand of a group. Then locks as many rows of each group, skipping those that others have locked. The row without
    // an id tells whether a group has a thousand due jobs with serial keys, because jobs that can be taken may be behind those.
    find = concat!("WITH RECURSIVE ", asked!(), ", ", groups!("plain", "IS NULL"), ", ", groups!("serial", "IS NOT NULL"), ", \
            near AS MATERIALIZED (SELECT c.* FROM serial g CROSS JOIN LATERAL (SELECT j.id, j.name, j.priority, j.due, j.serial_key, \
            j.turn FROM {jobs} j WHERE j.queue = $1::text AND j.name = g.name AND j.priority = g.priority AND j.state = 1 \
            AND j.serial_key IS NOT NULL AND j.due <= {now} ORDER BY j.due, j.id LIMIT 1000) AS c WHERE g.priority IS NOT NULL), \
            head AS (SELECT DISTINCT ON (serial_key) * FROM near ORDER BY serial_key, turn, id), \
            first AS MATERIALIZED (SELECT f.* FROM (SELECT c.* FROM plain g CROSS JOIN LATERAL (SELECT j.id, j.name, j.priority, j.due, \
            NULL::text AS serial_key FROM {jobs} j WHERE j.queue = $1::text AND j.name = g.name AND j.priority = g.priority \
            AND j.state = 1 AND j.serial_key IS NULL AND j.due <= {now} ORDER BY j.due, j.id LIMIT $3::bigint) AS c \
            WHERE g.priority IS NOT NULL UNION ALL SELECT h.id, h.name, h.priority, h.due, h.serial_key FROM head h WHERE ",
            in_turn!(), ") AS f ORDER BY f.priority DESC, f.due, f.id LIMIT $3::bigint), \
            wanted AS (SELECT name, priority, count(*) AS jobs FROM first WHERE serial_key IS NULL GROUP BY name, priority), \
            of_keys AS (SELECT * FROM first WHERE serial_key IS NOT NULL) \
            SELECT id, priority, due, false FROM (SELECT l.id, l.priority, l.due FROM wanted w CROSS JOIN LATERAL (\
            SELECT j.id, j.priority, j.due FROM {jobs} j WHERE j.queue = $1::text AND j.name = w.name AND j.priority = w.priority \
            AND j.state = 1 AND j.serial_key IS NULL AND j.due <= {now} ORDER BY j.due, j.id LIMIT w.jobs \
            FOR UPDATE OF j SKIP LOCKED) AS l) AS plain_ones \
            UNION ALL SELECT id, priority, due, false FROM (", locked_of_keys!("of_keys"), ") AS serial_ones \
            UNION ALL SELECT NULL, NULL, NULL, EXISTS (SELECT FROM near GROUP BY name, priority HAVING count(*) >= 1000)");
    // The first due job of each of a thousand serial keys after a given one. The row without an id has the last of these keys.
    find_of_keys = concat!("WITH RECURSIVE ", asked!(), ", keys AS (SELECT (SELECT j.serial_key FROM {jobs} j \
            WHERE j.queue = $1::text AND j.serial_key > $4::text AND j.state IN (1, 2) ORDER BY j.serial_key LIMIT 1) AS key, 1 AS nth \
            UNION ALL SELECT (SELECT j.serial_key FROM {jobs} j WHERE j.queue = $1::text AND j.serial_key > k.key AND j.state IN (1, 2) \
            ORDER BY j.serial_key LIMIT 1), k.nth + 1 FROM keys k WHERE k.key IS NOT NULL AND k.nth < 1000), \
            head AS (SELECT c.* FROM keys k CROSS JOIN LATERAL (SELECT j.id, j.priority, j.due, j.serial_key, j.turn FROM {jobs} j \
            WHERE j.queue = $1::text AND j.serial_key = k.key AND j.state IN (1, 2) AND j.state = 1 AND j.due <= {now} \
            AND j.name = ANY (ARRAY(SELECT name FROM names)) ORDER BY j.turn, j.id LIMIT 1) AS c WHERE k.key IS NOT NULL), \
            of_keys AS MATERIALIZED (SELECT h.* FROM head h WHERE ", in_turn!(), " ORDER BY h.priority DESC, h.due, h.id LIMIT $3::bigint) \
            SELECT id, priority, due, NULL FROM (", locked_of_keys!("of_keys"), ") AS serial_ones \
            UNION ALL SELECT NULL, NULL, NULL, (SELECT key FROM keys WHERE nth = 1000)");
    take = "UPDATE {jobs} j SET state = 2, holder = $1::text, claim = {raised}, unique_claim = NULL \
            FROM unnest($3::text[]) AS c (id) WHERE j.id = c.id AND j.state + 0 = 1 AND (j.serial_key IS NULL OR (SELECT true \
            FROM {jobs} o WHERE o.queue = $2::text AND o.serial_key = j.serial_key AND o.state = 2 LIMIT 1) IS NULL) \
            RETURNING j.id, j.claim, j.name, j.payload, j.metadata, j.attempts, j.outcome, j.status, {now} - j.due, \
            {now} - j.created, j.serial_key IS NOT NULL, \
            coalesce(j.throttle_every > 0 AND j.throttle_key IS NOT NULL AND j.attempts = 0, false)";
    next_due = concat!("WITH RECURSIVE ", asked!(), ", ", groups!("plain", "IS NULL"), ", ", groups!("serial", "IS NOT NULL"),
            " SELECT min(due) - {now} FROM (", first_of!("plain", "IS NULL"), " UNION ALL ", first_of!("serial", "IS NOT NULL"), ") AS f");
}
