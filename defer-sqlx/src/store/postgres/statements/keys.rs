//! That claim unique keys, without waiting for a user.

statements! {
    turn = "SELECT pg_advisory_xact_lock(hashtextextended('defer_jobs claims ' || $1::text, 0))";
    lock = "SELECT key FROM unnest($2::text[]) AS k (key) \
            WHERE pg_try_advisory_xact_lock(hashtextextended('defer_jobs ' || $1::text || ' ' || key, 0))";
    // A job that others are left out for is locked until they are committed: taken before, it would not see what they stand for.
    twins = "WITH twins AS MATERIALIZED (SELECT id, unique_claim FROM {jobs} WHERE queue = $1::text AND unique_claim = ANY ($2::text[]) \
             FOR SHARE SKIP LOCKED) \
             SELECT j.unique_claim, t.id FROM {jobs} j LEFT JOIN twins t ON t.id = j.id \
             WHERE j.queue = $1::text AND j.unique_claim = ANY ($2::text[])";
    claim = "UPDATE {jobs} j SET unique_claim = CASE WHEN c.twin IS NULL THEN c.key END, duplicate_of = c.twin, \
             state = CASE WHEN c.twin IS NULL THEN j.state ELSE 7 END, \
             claim = CASE WHEN c.twin IS NULL THEN j.claim ELSE j.claim - 1 END, \
             ended = CASE WHEN c.twin IS NULL THEN j.ended ELSE {now} END \
             FROM unnest($1::text[], $2::text[], $3::text[]) AS c (id, key, twin) WHERE j.id = c.id AND j.state + 0 = 1";
}
