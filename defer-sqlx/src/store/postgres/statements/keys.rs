//! Statements that claim unique keys without waiting for a user's transaction.

statements! {
    turn = "SELECT pg_advisory_xact_lock(hashtextextended('defer_jobs claims ' || $1::text, 0))";
    lock = "SELECT key FROM unnest($2::text[]) AS k (key) \
            WHERE pg_try_advisory_xact_lock(hashtextextended('defer_jobs ' || $1::text || ' ' || key, 0))";
    // A job that has duplicates is locked until these are committed: if it were taken earlier, it would not see what they stand
    // for.
    twins = "WITH twins AS MATERIALIZED (SELECT id, unique_claim FROM {jobs} WHERE queue = $1::text AND unique_claim = ANY ($2::text[]) \
             FOR SHARE SKIP LOCKED) \
             SELECT j.unique_claim, t.id FROM {jobs} j LEFT JOIN twins t ON t.id = j.id \
             WHERE j.queue = $1::text AND j.unique_claim = ANY ($2::text[])";
    claim = "UPDATE {jobs} j SET unique_claim = CASE WHEN c.twin IS NULL THEN c.key END, duplicate_of = c.twin, \
             state = CASE WHEN c.twin IS NULL THEN j.state ELSE 7 END, \
             claim = CASE WHEN c.twin IS NULL THEN j.claim ELSE j.claim - 1 END, \
             ended = CASE WHEN c.twin IS NULL THEN j.ended ELSE {now} END \
             FROM unnest($1::text[], $2::text[], $3::text[]) AS c (id, key, twin) WHERE j.id = c.id AND j.state + 0 = 1";
    // A job that another transaction has locked, to take it or to be its duplicate, stays.
    replace = "WITH twin AS MATERIALIZED (SELECT id FROM {jobs} WHERE id = $1::text AND state + 0 = 1 FOR UPDATE SKIP LOCKED) \
               UPDATE {jobs} j SET state = 7, duplicate_of = $2::text, unique_claim = NULL, ended = {now} FROM twin \
               WHERE j.id = twin.id AND j.state + 0 = 1 AND j.unique_claim IS NOT NULL \
               AND (SELECT true FROM {jobs} n WHERE n.id = $2::text AND n.state + 0 = 1 AND n.unique_claim IS NULL \
               AND n.attempts = 0 LIMIT 1) RETURNING j.due, coalesce(j.since, j.created)";
    place = "UPDATE {jobs} j SET unique_claim = j.unique_key, since = coalesce($3::bigint, {now}), \
             due = CASE WHEN $4::bigint IS NULL THEN coalesce($2::bigint, j.due) \
             ELSE least(j.due, coalesce($3::bigint, {now}) + $4::bigint) END \
             WHERE j.id = $1::text AND j.state + 0 = 1 AND j.unique_claim IS NULL AND j.attempts = 0 AND (SELECT true FROM {jobs} o \
             WHERE o.queue = j.queue AND o.unique_claim = j.unique_key LIMIT 1) IS NULL";
}
