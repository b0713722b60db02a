//! Postgres.
//!
//! | file | hides |
//! |---|---|
//! | `database` | how a connection is opened |
//! | `tables` | the tables' names in statements |
//! | `store` | which transaction runs on which connection |
//! | `bell` | how other processes are notified of ready jobs |
//! | `push` | the statements that store jobs for any worker |
//! | `write` | the statements that store and change the jobs of a holder |
//! | `keys` | the statements that claim unique keys without waiting for a user's transaction |
//! | `take` | the statements that find due jobs |
//! | `starts` | the statements about jobs whose starts are limited |
//! | `holders` | the statements about holders and recovery |
//! | `inspect` | the statements that read, and those that a person asks for |
//! | `browse` | the statements that list jobs, counts and holders |
//! | `failures` | the statements about groups of failed jobs |

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
