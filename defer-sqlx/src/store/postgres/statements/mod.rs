//! The statements, which contain `{jobs}`, `{holders}`, `{pauses}` and `{now}`.

/// Defines the statements of a file. They may also contain `{raised}`, the incremented claim of a row `j`, which does not
/// overflow even if another client has stored the highest claim, and `{limit}`, the largest number in a row.
///
/// Postgres plans a statement once, perhaps while the table is empty, and keeps the plan. No statement may therefore allow a plan
/// that is slow for many jobs. So use `ORDER BY .. LIMIT 1` and not `max`, which may walk over all rows; a subquery that is
/// `NULL` and not `NOT EXISTS`, which may become a join with all rows; and `state + 0` where jobs are found by their ids, to
/// avoid the indexes of what a holder has or what waits.
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

/// The groups of ready jobs with one name and priority, with or without serial keys: at most 1,000 for a name. Finding a group
/// takes one step in the index, however many jobs it has.
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

/// The time at which the first job of each group is due.
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

/// The names of ready jobs. Each takes one step in the index.
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

/// The turn of a row that becomes ready, the nth with its serial key in this statement: behind all existing ones.
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
pub(super) mod starts;
pub(super) mod take;
pub(super) mod write;
