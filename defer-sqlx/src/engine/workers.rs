//! The job types that this process takes.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

/// The workers of this process, and the paused types.
#[derive(Default)]
pub(crate) struct Workers {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The running workers, by their runner's key, with the names that they take.
    running: Vec<(usize, Arc<[String]>)>,
    paused: HashSet<String>,
}

impl Workers {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Registers a worker that takes jobs, until the guard is dropped.
    pub(crate) fn add(self: &Arc<Self>, runner: usize, names: Arc<[String]>) -> Working {
        self.with(|state| state.running.push((runner, names.clone())));
        Working { workers: self.clone(), runner, names }
    }

    /// Returns the names that at least one worker takes.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.with(|state| state.running.iter().flat_map(|(_, names)| names.to_vec()).collect());
        names.sort();
        names.dedup();
        names
    }

    /// Returns whether a worker of this runner takes a name that is not paused.
    pub(crate) fn take(&self, runner: usize, name: &str) -> bool {
        let takes =
            |(of, names): &(usize, Arc<[String]>)| *of == runner && names.iter().any(|known| known == name);
        self.with(|state| state.running.iter().any(takes) && !state.paused.contains(name))
    }

    pub(super) fn set_paused(&self, paused: Vec<String>) {
        self.with(|state| state.paused = paused.into_iter().collect());
    }

    pub(crate) fn note_paused(&self, name: &str, is_paused: bool) {
        self.with(|state| match is_paused {
            true => state.paused.insert(name.to_owned()),
            false => state.paused.remove(name),
        });
    }
}

/// A worker that takes jobs until this is dropped.
pub(crate) struct Working {
    workers: Arc<Workers>,
    runner: usize,
    names: Arc<[String]>,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.workers.with(|state| {
            let is_this = |(runner, names): &(usize, Arc<[String]>)| {
                *runner == self.runner && Arc::ptr_eq(names, &self.names)
            };
            if let Some(at) = state.running.iter().position(is_this) {
                state.running.swap_remove(at);
            }
        });
    }
}
