//! Deferring: what users call, and the handles they get.
//!
//! | file | hides |
//! |---|---|
//! | `functions` | which list a job joins |
//! | `deferred` | where a job of a list is |
//! | `handle` | the list |
//! | `scope` | how a future gets a list |

mod deferred;
mod functions;
mod handle;
mod scope;

pub use self::{
    deferred::Deferred,
    functions::{defer, defer_fn, try_defer, try_defer_fn},
    handle::Defer,
    scope::{Scope, scope},
};
