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
    by_type: HashMap<TypeId, Named>,
}

/// A value, and the name of its type.
struct Named {
    value: Box<dyn Any + Send + Sync>,
    type_name: &'static str,
}

impl TypeMap {
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        let named = Named { value: Box::new(value), type_name: type_name::<T>() };
        self.by_type.insert(TypeId::of::<T>(), named);
    }

    pub(crate) fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.by_type.get(&TypeId::of::<T>())?.value.downcast_ref()
    }

    /// Returns the value of this type.
    ///
    /// # Errors
    ///
    /// If there is no such value. The error names the type, and the types of the existing values.
    pub(crate) fn require<T: Send + Sync + 'static>(&self) -> Result<&T, MissingState> {
        self.get().ok_or_else(|| self.missing(type_name::<T>()))
    }

    #[cold]
    fn missing(&self, type_name: &'static str) -> MissingState {
        let mut given: Box<[_]> = self.by_type.values().map(|named| named.type_name).collect();
        given.sort_unstable();
        MissingState { type_name, given }
    }
}

impl fmt::Debug for TypeMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TypeMap({} types)", self.by_type.len())
    }
}
