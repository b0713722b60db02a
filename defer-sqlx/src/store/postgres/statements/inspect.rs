//! Statements that read, and those that a person asks for.

statements! {
    // Each part stops at 10,000 rows.
    counts = "SELECT least(10000, (SELECT count(*) FROM (SELECT FROM {jobs} WHERE queue = $1::text AND state = 1 \
              AND serial_key IS NULL LIMIT 10000) c) + (SELECT count(*) FROM (SELECT FROM {jobs} WHERE queue = $1::text AND state = 1 \
              AND serial_key IS NOT NULL LIMIT 10000) c)), \
              (SELECT count(*) FROM (SELECT FROM {jobs} WHERE queue = $1::text AND state IN (0, 2) LIMIT 10000) c), \
              (SELECT count(*) FROM (SELECT FROM {jobs} WHERE queue = $1::text AND state = 3 AND ended IS NOT NULL LIMIT 10000) c), \
              (SELECT count(*) FROM (SELECT FROM {jobs} WHERE queue = $1::text AND state = 4 AND ended IS NOT NULL LIMIT 10000) c)";
    // The names of ready jobs, and how long the first of each has been due: at most 1,000.
    waiting = concat!("WITH RECURSIVE ", names!("plain_names", "IS NULL"), ", ", names!("serial_names", "IS NOT NULL"), ", \
              names AS (SELECT name FROM plain_names WHERE name IS NOT NULL UNION SELECT name FROM serial_names WHERE name IS NOT NULL), ",
              groups!("plain", "IS NULL"), ", ", groups!("serial", "IS NOT NULL"), " SELECT f.name, {now} - min(f.due), \
              EXISTS (SELECT FROM {pauses} p WHERE p.queue = $1::text AND p.name = f.name) FROM (",
              first_of!("plain", "IS NULL"), " UNION ALL ", first_of!("serial", "IS NOT NULL"), ") AS f GROUP BY f.name ORDER BY f.name");
    takers = "SELECT queue, names FROM {holders}";
    next_queue = "SELECT least((SELECT queue FROM {jobs} WHERE state = 1 AND serial_key IS NULL AND queue > $1::text \
                  ORDER BY queue LIMIT 1), (SELECT queue FROM {jobs} WHERE state = 1 AND serial_key IS NOT NULL AND queue > $1::text \
                  ORDER BY queue LIMIT 1))";
    failed = "SELECT id, name, attempts, error FROM {jobs} WHERE queue = $1::text AND state = 4 AND ended IS NOT NULL \
              ORDER BY ended DESC LIMIT $2::bigint";
    status = "SELECT state, error, duplicate_of, claim, progress FROM {jobs} WHERE id = $1::text AND queue = $2::text";
    // The last job in a chain of replacements that starts with a job. No row if the chain is a circle.
    last = "WITH RECURSIVE chain AS (SELECT $1::text AS id UNION SELECT j.duplicate_of FROM chain c JOIN {jobs} j ON j.id = c.id \
            WHERE j.queue = $2::text AND j.duplicate_of IS NOT NULL) SELECT c.id FROM chain c WHERE (SELECT true FROM {jobs} j \
            WHERE j.id = c.id AND j.queue = $2::text AND j.duplicate_of IS NOT NULL LIMIT 1) IS NULL LIMIT 1";
    stored = "SELECT id, payload, state, error, duplicate_of, serial_key, unique_key, due - {now} FROM {jobs} \
              WHERE queue = $1::text AND name = ANY ($2::text[]) ORDER BY id LIMIT $3::bigint";
    // It waits behind jobs with the same serial key that were stored meanwhile.
    retry = concat!("UPDATE {jobs} j SET state = 1, claim = {raised}, holder = NULL, attempts = 0, deaths = 0, cancel = 0, \
             condition = 0, error = NULL, ended = NULL, due = {now}, turn = ", turn!("0", "$2::text", "j.serial_key"),
             " WHERE id = $1::text AND queue = $2::text AND state = 4 RETURNING unique_key");
    discard = "DELETE FROM {jobs} WHERE id = $1::text AND queue = $2::text AND state = 4";
    look = "SELECT state, holder FROM {jobs} WHERE id = $1::text AND queue = $2::text FOR UPDATE";
    cancel = "UPDATE {jobs} j SET state = 6, claim = {raised}, unique_claim = NULL, ended = {now} WHERE id = $1::text";
    ask = "UPDATE {jobs} SET cancel = 1 WHERE id = $1::text";
    pause = "INSERT INTO {pauses} (queue, name) VALUES ($1::text, $2::text) ON CONFLICT DO NOTHING";
    resume = "DELETE FROM {pauses} WHERE queue = $1::text AND name = $2::text";
}
