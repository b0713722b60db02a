//! The statements. Each takes one parameter, a JSON text, and returns rows of one text.
//!
//! So one code serves both databases, and any number of jobs takes one statement.

/// How many jobs a statement changes that may have many to change.
pub(crate) const AT_ONCE: usize = 1000;

/// The statements of a kind of database.
#[derive(Debug)]
pub(crate) struct Statements {
    /// Begins to write. No lock is waited for longer than a second.
    pub(crate) begin: &'static str,
    /// In a transaction: from here on locks are hardly waited for. `None` if there are none but that of the database.
    pub(crate) hurry: Option<&'static str>,
    /// Begins to create tables.
    pub(crate) begin_migration: &'static str,
    /// Keeps other processes from creating tables. `None` if beginning to write does: River's migrations begin to write too.
    pub(crate) lock: Option<&'static str>,
    /// Returns a row if everything that is ours is there.
    pub(crate) is_migrated: &'static str,
    /// Creates what is ours, one statement after another.
    pub(crate) migrations: &'static [&'static str],
    /// Inserts rows whose ids are new. Returns the ids of those that it inserted.
    pub(crate) insert: &'static str,
    /// Changes rows that this process holds. Returns the ids of those that it changed.
    pub(crate) change: &'static str,
    /// Changes rows that run, by River's id and their attempt.
    pub(crate) change_running: &'static str,
    /// Returns the id of the job that has a unique key.
    pub(crate) has_key: &'static str,
    /// Returns a row if this change was made before: its answer was lost.
    pub(crate) is_changed: &'static str,
    /// Tells the workers of a queue that there are jobs.
    pub(crate) notify: &'static str,
    /// Raises the beat of a holder.
    pub(crate) beat: &'static str,
    /// Returns every holder with its beat.
    pub(crate) holders: &'static str,
    /// Deletes a holder whose beat is still this.
    pub(crate) bury: &'static str,
    /// Returns held jobs whose holder is gone, and locks them. In a transaction.
    pub(crate) orphans: &'static str,
    /// Parks some jobs of paused types, and returns a row for each.
    pub(crate) park: &'static str,
    pub(crate) pause: &'static str,
    pub(crate) resume: &'static str,
    /// Lets go of some jobs that are parked although their type is not paused, and returns a row for each.
    pub(crate) unpark: &'static str,
    pub(crate) paused: &'static str,
    pub(crate) find: &'static str,
    pub(crate) failed: &'static str,
    pub(crate) ready: &'static str,
    pub(crate) delayed: &'static str,
    pub(crate) running: &'static str,
    /// Counts the jobs in a state, by type.
    pub(crate) count: &'static str,
    /// Returns a row if a job of these types waits or runs in a queue.
    pub(crate) is_left: &'static str,
    pub(crate) discard: &'static str,
}
