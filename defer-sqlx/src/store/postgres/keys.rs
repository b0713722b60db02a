//! Claims unique keys without waiting for a user's transaction.
//!
//! A transaction that claims a key holds the key's lock until it ends. A user's transaction may stay open for long: a transaction
//! that does not get the lock within a moment leaves its job without a claim, and both jobs run. Processes of this crate take
//! turns to claim keys, so that they cannot deadlock over them. A claim that is visible once the lock was acquired is the only
//! one.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use sqlx::{PgConnection, Row};

use super::tables::{Tables, query};
use crate::store::{interface::Replace, state};

/// The number of tries for a key that a user's transaction is claiming, and the pause between two tries.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_millis(5);

type Result<T> = std::result::Result<T, sqlx::Error>;

/// The owners of some keys.
pub(super) struct Keys {
    /// Keys that this transaction may claim.
    free: BTreeSet<String>,
    /// Keys that another job has claimed, with its id.
    twins: HashMap<String, String>,
}

/// What a unique key means for a ready job.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Claim {
    Free,
    /// Another job has the key.
    Twin(String),
    /// Another job may have the key.
    Busy,
}

impl Keys {
    /// Finds the owners of these keys.
    pub(super) async fn find(
        connection: &mut PgConnection,
        tables: &Tables,
        keys: &BTreeSet<&str>,
    ) -> Result<Self> {
        let mut found = Self { free: BTreeSet::new(), twins: HashMap::new() };
        if keys.is_empty() {
            return Ok(found);
        }
        let keys: Vec<&str> = keys.iter().copied().collect();
        query(&tables.keys.turn).bind(&tables.queue).execute(&mut *connection).await?;
        for attempt in 0..TRIES {
            let busy: Vec<&str> = keys.iter().copied().filter(|key| !found.free.contains(*key)).collect();
            if busy.is_empty() {
                break;
            }
            if attempt > 0 {
                // Most transactions are short.
                tokio::time::sleep(PAUSE).await;
            }
            let lock = query(&tables.keys.lock).bind(&tables.queue).bind(&busy);
            for row in lock.fetch_all(&mut *connection).await? {
                found.free.insert(row.try_get(0)?);
            }
        }
        // In a separate statement, to see everything that was committed before the locks were acquired.
        let twins = query(&tables.keys.twins).bind(&tables.queue).bind(&keys).fetch_all(connection).await?;
        for row in twins {
            let key: String = row.try_get(0)?;
            found.free.remove(&key);
            if let Some(twin) = row.try_get(1)? {
                found.twins.insert(key, twin);
            }
        }
        Ok(found)
    }

    /// Gives a key to a job, unless another transaction is claiming it. Returns the replacement that has to be made.
    pub(super) fn replace(&mut self, key: &str, id: &str) -> Option<Replacement> {
        let is_free = self.free.remove(key);
        let twin = match self.twins.get(key) {
            Some(twin) if twin == id => return None,
            twin => twin.cloned(),
        };
        if !is_free && twin.is_none() {
            return None;
        }
        self.twins.insert(key.to_owned(), id.to_owned());
        Some(Replacement { id: id.to_owned(), twin })
    }

    /// Claims a key for a job.
    pub(super) fn claim(&mut self, key: &str, id: &str) -> Claim {
        if self.free.remove(key) {
            self.twins.insert(key.to_owned(), id.to_owned());
            return Claim::Free;
        }
        match self.twins.get(key) {
            Some(twin) if twin != id => Claim::Twin(twin.clone()),
            Some(_) => Claim::Free,
            None => Claim::Busy,
        }
    }
}

/// A job that takes the place of its twin, or gets a place of its own.
pub(super) struct Replacement {
    id: String,
    twin: Option<String>,
}

/// Gives a place to a ready job without a claim.
pub(super) async fn take_place(
    connection: &mut PgConnection,
    tables: &Tables,
    Replacement { id, twin }: &Replacement,
    replace: Replace,
) -> Result<()> {
    let (mut due, mut since) = (None::<i64>, None::<i64>);
    if let Some(twin) = twin {
        let replaced = query(&tables.keys.replace).bind(twin).bind(id).fetch_optional(&mut *connection);
        if let Some(row) = replaced.await? {
            (due, since) = (row.try_get(0)?, row.try_get(1)?);
        }
    }
    let place = query(&tables.keys.place).bind(id).bind(due).bind(since);
    place.bind(replace.within().map(state::delay)).execute(connection).await.map(drop)
}

/// A ready job, and the key that it claims.
pub(super) struct Claimant {
    pub(super) id: String,
    pub(super) key: String,
    /// Whether it becomes a duplicate if another job has its key. If not, it is ready without a claim.
    pub(super) may_be_duplicate: bool,
    pub(super) replace: Option<Replace>,
}

/// Claims keys for jobs that this transaction has made ready. Returns the jobs that others duplicate.
pub(super) async fn claim(
    connection: &mut PgConnection,
    tables: &Tables,
    claimants: &[Claimant],
) -> Result<HashMap<String, String>> {
    let mut duplicates = HashMap::new();
    let keys = claimants.iter().map(|claimant| claimant.key.as_str()).collect();
    let mut keys = Keys::find(&mut *connection, tables, &keys).await?;
    let (mut ids, mut of, mut twins) = (Vec::new(), Vec::new(), Vec::new());
    let mut replacements = Vec::new();
    for Claimant { id, key, may_be_duplicate, replace } in claimants {
        if let Some(replace) = replace {
            replacements.extend(keys.replace(key, id).map(|replacement| (replacement, *replace)));
            continue;
        }
        let twin = match keys.claim(key, id) {
            Claim::Free => None,
            Claim::Twin(twin) if *may_be_duplicate => {
                duplicates.insert(id.clone(), twin.clone());
                Some(twin)
            }
            Claim::Twin(_) | Claim::Busy => continue,
        };
        ids.push(id);
        of.push(key);
        twins.push(twin);
    }
    if !ids.is_empty() {
        query(&tables.keys.claim).bind(&ids).bind(&of).bind(&twins).execute(&mut *connection).await?;
    }
    // After the claims, because a job that has just claimed a key may be replaced.
    for (replacement, replace) in replacements {
        take_place(connection, tables, &replacement, replace).await?;
    }
    Ok(duplicates)
}
