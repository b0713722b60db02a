//! Statements that store jobs for any worker.

statements! {
    push = concat!("INSERT INTO {jobs} (queue, due, turn, created, ended, state, id, name, payload, metadata, priority, serial_key, unique_key, \
            unique_claim, duplicate_of, throttle_key, throttle_every) SELECT $1::text, {now} + c.delay, CASE WHEN c.serial IS NULL THEN {now} ELSE ", turn!("c.nth", "$1::text", "c.serial"),
            " END, {now}, CASE WHEN c.twin IS NOT NULL THEN {now} END, \
            CASE WHEN c.twin IS NULL THEN 1 ELSE 7 END, c.id, c.name, c.payload, c.metadata, c.priority, c.serial, c.key, c.claim, c.twin, \
            c.throttle, c.every \
            FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::smallint[], $7::bigint[], $8::text[], $9::bigint[], \
            $10::text[], $11::text[], $12::text[], $13::text[], $14::bigint[]) \
            AS c (id, name, payload, metadata, priority, delay, serial, nth, key, claim, twin, throttle, every) ON CONFLICT (id) DO NOTHING");
    duplicates = "SELECT id, duplicate_of FROM {jobs} WHERE id = ANY ($1::text[]) AND duplicate_of IS NOT NULL";
}
