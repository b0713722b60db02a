//! The limits of a runner.
//!
//! | file | hides |
//! |---|---|
//! | `semaphore` | which list gets the next of `max_running` permits |
//! | `capacity` | which jobs find room among `max_pending`, and which responses are held |
//! | `keyed_semaphore` | which job with a serial key, or of a limited type, has its turn |
//! | `dedup` | which job with a unique key others are duplicates of, or replace |
//! | `throttle` | when a job of each key started last |

pub(crate) mod capacity;
pub(crate) mod dedup;
pub(crate) mod keyed_semaphore;
pub(crate) mod semaphore;
pub(crate) mod throttle;
