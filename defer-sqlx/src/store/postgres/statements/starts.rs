//! Statements about jobs whose starts are limited.

/// The key in its stored form: an index has no room for a long one.
macro_rules! short {
    ($key:literal) => {
        concat!(
            "CASE WHEN octet_length(",
            $key,
            ") <= 200 THEN ",
            $key,
            " ELSE encode(sha256(convert_to(",
            $key,
            ", 'UTF8')), 'hex') END"
        )
    };
}

/// Tests whether the last start with a job's key allows it to start. After the clock was set back, the last start may be in the
/// future.
macro_rules! may_start {
    () => {
        "(s.id = excluded.id OR s.until <= excluded.started \
         OR abs(excluded.started - s.started) >= excluded.until - excluded.started)"
    };
}

statements! {
    // A take goes on with more keys, instead of those of the jobs that it drops. Takes therefore note starts in turn, so that
    // they cannot deadlock over keys.
    turn = "SELECT pg_advisory_xact_lock(hashtextextended('defer_jobs starts ' || $1::text, 0))";
    // Notes the first job of each key.
    start = concat!("INSERT INTO {starts} AS s (queue, key, id, started, until) SELECT DISTINCT ON (key) $1::text, ",
            short!("j.throttle_key"), " AS key, j.id, {now}, {now} + least(j.throttle_every, 4503599627370496) \
            FROM unnest($2::text[]) WITH ORDINALITY AS c (id, nth) JOIN {jobs} j ON j.id = c.id ORDER BY key, c.nth \
            ON CONFLICT (queue, key) DO UPDATE SET id = CASE WHEN ", may_start!(), " THEN excluded.id ELSE s.id END, \
            started = CASE WHEN ", may_start!(), " THEN excluded.started ELSE s.started END, \
            until = CASE WHEN ", may_start!(), " THEN greatest(s.until, excluded.until) ELSE s.until END");
    leave_out = concat!("UPDATE {jobs} j SET throttle_key = NULL, state = CASE WHEN s.id = j.id THEN j.state ELSE 7 END, \
            duplicate_of = CASE WHEN s.id = j.id THEN j.duplicate_of ELSE s.id END, \
            ended = CASE WHEN s.id = j.id THEN j.ended ELSE {now} END FROM unnest($2::text[]) AS c (id), {starts} s \
            WHERE j.id = c.id AND j.state + 0 = 2 AND s.queue = $1::text AND s.key = ", short!("j.throttle_key"),
            " RETURNING j.id, j.state");
    forget = "DELETE FROM {starts} WHERE queue = $1::text AND key = ANY (ARRAY(SELECT key FROM {starts} \
              WHERE queue = $1::text AND until < {now} LIMIT $2::bigint FOR UPDATE SKIP LOCKED))";
}
