//! Statements that list jobs, counts and holders.

/// The names of ready jobs, with both kinds of groups.
macro_rules! waiting {
    () => {
        concat!(
            "WITH RECURSIVE ",
            names!("plain_names", "IS NULL"),
            ", ",
            names!("serial_names", "IS NOT NULL"),
            ", names AS (SELECT name FROM plain_names WHERE name IS NOT NULL UNION \
             SELECT name FROM serial_names WHERE name IS NOT NULL), ",
            groups!("plain", "IS NULL"),
            ", ",
            groups!("serial", "IS NOT NULL")
        )
    };
}

/// The columns of a job and of its holder, for callers that inspect the queue.
macro_rules! job {
    ($from:expr) => {
        concat!(
            "SELECT j.id, j.name, j.state, j.attempts, j.due - {now}, {now} - j.created, {now} - j.ended, j.claim, left(j.error, 4096), \
             j.progress, j.metadata, j.outcome, j.status, h.host, h.pid, \
             EXISTS (SELECT FROM {pauses} p WHERE p.queue = $1::text AND p.name = j.name) FROM ",
            $from,
            " LEFT JOIN {holders} h ON h.id = j.holder AND j.state + 0 IN (0, 2)"
        )
    };
}

/// The first jobs of each group.
macro_rules! first {
    ($table:literal, $of:literal, $due:literal) => {
        concat!(
            "SELECT c.* FROM ",
            $table,
            " g CROSS JOIN LATERAL (SELECT j.due, j.id FROM {jobs} j WHERE j.queue = $1::text AND j.name = g.name \
             AND j.priority = g.priority AND j.state = 1 AND j.serial_key ",
            $of,
            " AND j.due ",
            $due,
            " {now} ORDER BY j.due, j.id LIMIT $2::bigint) AS c WHERE g.priority IS NOT NULL"
        )
    };
}

macro_rules! waiting_jobs {
    ($due:literal) => {
        concat!(
            waiting!(),
            ", near AS MATERIALIZED (SELECT * FROM (",
            first!("plain", "IS NULL", $due),
            " UNION ALL ",
            first!("serial", "IS NOT NULL", $due),
            ") AS f ORDER BY due, id LIMIT $2::bigint) ",
            job!("near n CROSS JOIN LATERAL (SELECT * FROM {jobs} f WHERE f.id = n.id LIMIT 1) AS j"),
            " ORDER BY n.due, n.id"
        )
    };
}

/// For each group, counts the jobs that are due and those that are not, up to a limit, and returns when the first is due.
macro_rules! counts_of {
    ($table:literal, $of:literal) => {
        concat!(
            "SELECT g.name, (SELECT count(*) FROM (SELECT FROM {jobs} j WHERE j.queue = $1::text AND j.name = g.name \
             AND j.priority = g.priority AND j.state = 1 AND j.serial_key ",
            $of,
            " AND j.due <= {now} LIMIT $2::bigint) AS c) AS ready, (SELECT count(*) FROM (SELECT FROM {jobs} j \
             WHERE j.queue = $1::text AND j.name = g.name AND j.priority = g.priority AND j.state = 1 AND j.serial_key ",
            $of,
            " AND j.due > {now} LIMIT $2::bigint) AS c) AS delayed, (SELECT j.due FROM {jobs} j WHERE j.queue = $1::text \
             AND j.name = g.name AND j.priority = g.priority AND j.state = 1 AND j.serial_key ",
            $of,
            " ORDER BY j.due LIMIT 1) AS due FROM ",
            $table,
            " g WHERE g.priority IS NOT NULL"
        )
    };
}

statements! {
    job = concat!(job!("{jobs} j"), " WHERE j.id = $2::text AND j.queue = $1::text");
    ready = waiting_jobs!("<=");
    delayed = waiting_jobs!(">");
    // No index has the jobs of a process in order.
    running = concat!("WITH had AS MATERIALIZED (SELECT c.id FROM (SELECT id FROM {holders} WHERE queue = $1::text LIMIT 1000) o \
              CROSS JOIN LATERAL (SELECT j.id FROM {jobs} j WHERE j.holder = o.id AND j.state IN (0, 2) LIMIT 1000) AS c \
              ORDER BY c.id LIMIT $2::bigint) ", job!("had CROSS JOIN LATERAL (SELECT * FROM {jobs} f WHERE f.id = had.id LIMIT 1) AS j"), " ORDER BY j.id");
    waiting_by_name = concat!(waiting!(), " SELECT f.name, sum(f.ready)::bigint, sum(f.delayed)::bigint, {now} - min(f.due) FROM (",
              counts_of!("plain", "IS NULL"), " UNION ALL ", counts_of!("serial", "IS NOT NULL"), ") AS f GROUP BY f.name");
    had_by_name = "SELECT name, count(*) FROM (SELECT c.name FROM {holders} h CROSS JOIN LATERAL (SELECT j.name FROM {jobs} j \
              WHERE j.holder = h.id AND j.state IN (0, 2) LIMIT $2::bigint) AS c WHERE h.queue = $1::text LIMIT $2::bigint) AS f GROUP BY name";
    failed_by_name = "WITH RECURSIVE names AS (SELECT (SELECT name FROM {jobs} WHERE queue = $1::text AND state = 4 \
              AND ended IS NOT NULL ORDER BY name LIMIT 1) AS name, 1 AS nth UNION ALL SELECT (SELECT j.name FROM {jobs} j \
              WHERE j.queue = $1::text AND j.state = 4 AND j.ended IS NOT NULL AND j.name > f.name ORDER BY j.name LIMIT 1), f.nth + 1 \
              FROM names f WHERE f.name IS NOT NULL AND f.nth < 1000) SELECT n.name, (SELECT count(*) FROM (SELECT FROM {jobs} j \
              WHERE j.queue = $1::text AND j.name = n.name AND j.state = 4 AND j.ended IS NOT NULL LIMIT $2::bigint) AS c) \
              FROM names n WHERE n.name IS NOT NULL";
    holders = "SELECT h.id, h.host, h.pid, h.version, {now} - h.started, h.names, h.beat, (SELECT count(*) FROM (SELECT FROM {jobs} j \
              WHERE j.holder = h.id AND j.state IN (0, 2) LIMIT 10000) AS c) FROM {holders} h WHERE h.queue = $1::text \
              ORDER BY h.started, h.id LIMIT 1000";
}
