//! Statements about groups of failed jobs.

/// The first line of an error, exactly as the index has it.
macro_rules! first_line {
    () => {
        "left(split_part(coalesce(j.error, ''), E'\\n', 1), 200) COLLATE \"C\""
    };
}

/// A batch of jobs of a group.
macro_rules! batch {
    () => {
        concat!(
            "b AS MATERIALIZED (SELECT j.id FROM {jobs} j WHERE j.queue = $1::text AND j.name = $2::text AND ",
            first_line!(),
            " = $3::text AND j.state = 4 AND j.ended IS NOT NULL AND j.ended <= $4::bigint ORDER BY j.ended LIMIT $5::bigint)"
        )
    };
}

statements! {
    time = "SELECT {now}";
    groups = concat!("SELECT name, line, count(*), {now} - min(ended), {now} - max(ended), max(id) FROM (SELECT j.name, ", first_line!(),
             " AS line, j.ended, j.id FROM {jobs} j WHERE j.queue = $1::text AND j.state = 4 AND j.ended IS NOT NULL \
             ORDER BY j.ended DESC LIMIT 10000) AS f GROUP BY name, line ORDER BY max(ended) DESC, max(id) DESC LIMIT $2::bigint");
    // They wait behind jobs with the same serial keys that were stored meanwhile.
    retry = concat!("WITH ", batch!(), " UPDATE {jobs} j SET state = 1, claim = {raised}, holder = NULL, attempts = 0, deaths = 0, \
             cancel = 0, condition = 0, error = NULL, ended = NULL, due = {now}, turn = ", turn!("0", "$1::text", "j.serial_key"),
             " FROM b WHERE j.id = b.id AND j.state + 0 = 4 RETURNING j.id, j.unique_key");
    discard = concat!("WITH ", batch!(), " DELETE FROM {jobs} j USING b WHERE j.id = b.id AND j.state + 0 = 4");
}
