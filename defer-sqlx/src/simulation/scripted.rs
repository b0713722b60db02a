//! A database whose answers a test can delay or replace, one by one.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use defer_core::{BoxFuture, JobId};
use tokio::{sync::watch, time::Instant};

use super::memory::Tables;
use crate::{
    engine::{Owner, Settings, start_here},
    store::{Beat, Cancelling, Change, Changed, Holder, HolderId, NewJob, Store, StoreError, Stored, Taken},
};

/// A database whose answers a test can delay or replace.
#[derive(Debug)]
pub(super) struct Scripted {
    start: Instant,
    tables: Mutex<Tables>,
    /// The errors that the next transactions of a kind return.
    errors: Mutex<BTreeMap<&'static str, VecDeque<StoreError>>>,
    /// The kinds whose answers are delayed.
    held_back: watch::Sender<Vec<&'static str>>,
}

impl Scripted {
    pub(super) async fn start() -> (Arc<Self>, Arc<Owner>) {
        let store = Arc::new(Self {
            start: Instant::now(),
            tables: Mutex::default(),
            errors: Mutex::default(),
            held_back: watch::Sender::new(Vec::new()),
        });
        let settings = Settings {
            name: "default".to_owned(),
            max_payload: 100,
            keep_done: std::time::Duration::MAX,
            keep_failed: std::time::Duration::MAX,
        };
        let owner = start_here(store.clone(), settings, |task| drop(tokio::spawn(task))).await.unwrap();
        (store, owner)
    }

    pub(super) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the state of a job's row.
    pub(super) fn state(&self, id: JobId) -> Option<i16> {
        self.tables().jobs.get(&id).map(|row| row.state)
    }

    /// Makes the next transaction of a kind return this error.
    pub(super) fn answer_next(&self, kind: &'static str, error: StoreError) {
        self.errors.lock().unwrap().entry(kind).or_default().push_back(error);
    }

    pub(super) fn hold_back(&self, kind: &'static str) {
        self.held_back.send_modify(|kinds| kinds.push(kind));
    }

    pub(super) fn let_go(&self) {
        self.held_back.send_replace(Vec::new());
    }

    async fn run<T>(
        &self,
        kind: &'static str,
        work: impl FnOnce(&mut Tables) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let error = self.errors.lock().unwrap().get_mut(kind).and_then(VecDeque::pop_front);
        // A transaction in doubt is stored anyway.
        let is_done = error.as_ref().is_none_or(|error| matches!(error, StoreError::InDoubt(_)));
        let done = is_done.then(|| {
            let mut tables = self.tables();
            tables.now = self.start.elapsed().as_millis().try_into().unwrap_or(i64::MAX);
            work(&mut tables)
        });
        let _ = self.held_back.subscribe().wait_for(|kinds| !kinds.contains(&kind)).await;
        match (error, done) {
            (Some(error), _) => Err(error),
            (None, Some(done)) => done,
            (None, None) => Err(StoreError::Away("refused".to_owned())),
        }
    }
}

impl Store for Scripted {
    fn register(&self, holder: Holder) -> Stored<'_, ()> {
        Box::pin(self.run("register", move |tables| Ok(tables.register(&holder))))
    }

    fn rename(&self, _: Holder) -> Stored<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn beat(&self, holder: HolderId) -> Stored<'_, Beat> {
        Box::pin(self.run("beat", move |tables| Ok(tables.beat(&holder))))
    }

    fn bury(&self, holder: HolderId, count: i64) -> Stored<'_, bool> {
        Box::pin(self.run("bury", move |tables| Ok(tables.bury(&holder, count))))
    }

    fn recover(&self) -> Stored<'_, bool> {
        Box::pin(self.run("recover", |tables| Ok(tables.recover())))
    }

    fn unregister(&self, holder: HolderId) -> Stored<'_, ()> {
        Box::pin(self.run("unregister", move |tables| {
            while tables.unregister(&holder) {}
            Ok(())
        }))
    }

    fn write<'a>(
        &'a self,
        holder: &'a str,
        held: &'a [NewJob],
        changes: &'a [Change],
    ) -> Stored<'a, Vec<Changed>> {
        Box::pin(self.run("write", move |tables| tables.write(holder, held, changes)))
    }

    fn push<'a>(&'a self, jobs: &'a [NewJob]) -> Stored<'a, Vec<Option<JobId>>> {
        Box::pin(self.run("push", move |tables| tables.push(jobs)))
    }

    fn take(&self, holder: HolderId, names: Vec<String>, limit: usize) -> Stored<'_, Vec<Taken>> {
        Box::pin(self.run("take", move |tables| Ok(tables.take(&holder, &names, limit))))
    }

    fn next_due(&self, names: Vec<String>) -> Stored<'_, Option<i64>> {
        Box::pin(self.run("next_due", move |tables| Ok(tables.next_due(&names))))
    }

    fn notified(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn prune(&self, _: i64, _: i64) -> Stored<'_, bool> {
        Box::pin(async { Ok(false) })
    }

    fn unclaimed(&self, _: i64) -> Stored<'_, Vec<String>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn cancel<'a>(&'a self, id: JobId, holder: &'a str, started: bool) -> Stored<'a, Cancelling> {
        Box::pin(self.run("cancel", move |tables| Ok(tables.cancel(id, holder, started))))
    }

    not_simulated!();
}
