//! The statements, with `{jobs}`, `{holders}`, `{pauses}` and `{now}` in them.

/// Defines a file's statements. In them are also `{raised}`, which is the claim of a row `j`, raised, though a stranger may have
/// stored the highest one; and `{limit}`, the largest number of a row.
///
/// Postgres makes a plan once, maybe when the table was empty, and keeps it. So no statement leaves it a way that is bad once jobs are
/// many: `ORDER BY .. LIMIT 1` and not `max`, which walks over all; a subquery that is `NULL` and not `NOT EXISTS`, of which it may make
/// a join with all; `state + 0` where jobs are found by their ids, and not by what a holder has or what waits.
macro_rules! statements {
    ($($name:ident = $sql:expr;)+) => {
        #[derive(Debug)]
        pub(in crate::store::postgres) struct Statements {
            $(pub(in crate::store::postgres) $name: crate::store::postgres::tables::Statement,)+
        }

        impl Statements {
            pub(in crate::store::postgres) fn new(
                fill: impl Fn(&str) -> crate::store::postgres::tables::Statement,
            ) -> Self {
                Self { $($name: fill($sql),)+ }
            }

            #[cfg(all(test, feature = "_servers"))]
            pub(in crate::store::postgres) fn all(&self) -> Vec<(&'static str, &str)> {
                vec![$((stringify!($name), self.$name.sql()),)+]
            }
        }
    };
}

/// The groups of ready jobs of one name and priority, with or without serial keys, found by a step in the index for each, however many
/// jobs it has. At most 1,000 of a name.
macro_rules! groups {
    ($table:literal, $of:literal) => {
        concat!(
            $table,
            " AS (SELECT n.name, (SELECT j.priority FROM {jobs} j WHERE j.queue = $1::text AND j.name = n.name \
             AND j.state = 1 AND j.serial_key ",
            $of,
            " ORDER BY j.priority DESC LIMIT 1) AS priority, 1 AS nth FROM names n UNION ALL SELECT g.name, (SELECT j.priority \
             FROM {jobs} j WHERE j.queue = $1::text AND j.name = g.name AND j.state = 1 AND j.serial_key ",
            $of,
            " AND j.priority < g.priority ORDER BY j.priority DESC LIMIT 1), g.nth + 1 FROM ",
            $table,
            " g WHERE g.priority IS NOT NULL AND g.nth < 1000)"
        )
    };
}

/// When the first job of each group is due.
macro_rules! first_of {
    ($table:literal, $of:literal) => {
        concat!(
            "SELECT g.name, (SELECT j.due FROM {jobs} j WHERE j.queue = $1::text AND j.name = g.name \
             AND j.priority = g.priority AND j.state = 1 AND j.serial_key ",
            $of,
            " ORDER BY j.due LIMIT 1) AS due FROM ",
            $table,
            " g WHERE g.priority IS NOT NULL"
        )
    };
}

/// Names that have ready jobs: a step in the index for each.
macro_rules! names {
    ($table:literal, $of:literal) => {
        concat!(
            $table,
            " AS (SELECT (SELECT name FROM {jobs} WHERE queue = $1::text AND state = 1 AND serial_key ",
            $of,
            " ORDER BY name LIMIT 1) AS name, 1 AS nth UNION ALL SELECT (SELECT j.name FROM {jobs} j WHERE j.queue = $1::text \
             AND j.state = 1 AND j.serial_key ",
            $of,
            " AND j.name > f.name ORDER BY j.name LIMIT 1), f.nth + 1 FROM ",
            $table,
            " f WHERE f.name IS NOT NULL AND f.nth < 1000)"
        )
    };
}

/// The turn of a row that becomes ready, the nth with its serial key in this statement: behind all that are there.
macro_rules! turn {
    ($nth:literal, $queue:literal, $key:literal) => {
        concat!(
            "least(",
            $nth,
            " + greatest({now}, (SELECT o.turn + 1 FROM {jobs} o WHERE o.queue = ",
            $queue,
            " AND o.serial_key = ",
            $key,
            " AND o.state IN (1, 2) ORDER BY o.turn DESC LIMIT 1)), {limit})"
        )
    };
}

pub(super) mod browse;
pub(super) mod failures;
pub(super) mod holders;
pub(super) mod inspect;
pub(super) mod keys;
pub(super) mod push;
pub(super) mod take;
pub(super) mod write;
