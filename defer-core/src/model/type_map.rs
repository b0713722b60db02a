//! Values by their types, such as the mailer or the pool that jobs share.

use std::{
    any::{Any, TypeId, type_name},
    collections::HashMap,
    fmt,
};

use super::error::MissingState;

/// One value of each type.
#[derive(Default)]
pub(crate) struct TypeMap {
    by_type: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
}

impl TypeMap {
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.by_type.insert(TypeId::of::<T>(), Box::new(value));
    }

    pub(crate) fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.by_type.get(&TypeId::of::<T>())?.downcast_ref()
    }

    /// Returns the value of this type.
    ///
    /// # Errors
    ///
    /// If there is none, an error that names the type.
    pub(crate) fn require<T: Send + Sync + 'static>(&self) -> Result<&T, MissingState> {
        self.get().ok_or(MissingState { type_name: type_name::<T>() })
    }
}

impl fmt::Debug for TypeMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TypeMap({} types)", self.by_type.len())
    }
}
