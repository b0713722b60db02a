//! Postgres.
//!
//! | file | hides |
//! |---|---|
//! | `database` | how a connection is opened |
//! | `tables` | the tables' names in statements |
//! | `store` | which transaction runs on which connection |
//! | `bell` | tells other processes that jobs are ready, and listens for them |
//! | `push` | the statements that store jobs that anyone may take |
//! | `write` | the statements that store and change the jobs of a holder |
//! | `keys` | the statements that claim unique keys, without waiting for anyone |
//! | `take` | the statements that find due jobs |
//! | `starts` | the statements of jobs that may start only so often |
//! | `holders` | the statements of holders, and of recovery |
//! | `inspect` | the statements that look, and those that a person asks for |
//! | `browse` | the statements that list jobs, counts and holders |
//! | `failures` | the statements of groups of failed jobs |

mod bell;
mod browse;
mod database;
mod failures;
mod holders;
mod inspect;
mod keys;
mod push;
mod starts;
mod statements;
mod store;
mod tables;
mod take;
#[cfg(all(test, feature = "_servers"))]
mod tests;
mod write;

pub(crate) use self::store::Postgres;
