//! Finds the place in the source where a job panics.

use std::{
    panic::{PanicHookInfo, set_hook, take_hook},
    sync::Once,
};

use super::current::is_in_job;
use crate::primitives::panic::note_place;

/// Notes where jobs panic, from the first call on: only a hook of the process is told. It calls the hook that was there before. One that
/// is set later and does not call the one before leaves the places of panics unknown, and nothing else.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    // No hook can be set while the thread panics: the next runner sets it.
    if std::thread::panicking() {
        return;
    }
    INSTALLED.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
            // Elsewhere it is forgotten: it would be taken for that of the next panic.
            let place = if is_in_job() { panic.location() } else { None };
            note_place(place.map(ToString::to_string));
            before(panic);
        }));
    });
}
