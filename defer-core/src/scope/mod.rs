//! Where a deferred job finds the list that it joins.

pub(crate) mod current;
#[allow(clippy::module_inception, reason = "the file of the type")]
mod scope;

pub use self::{
    current::Scoped,
    scope::{Scope, scope},
};
