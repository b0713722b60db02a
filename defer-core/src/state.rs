//! The values that jobs share, such as a mailer or a pool, found by their type.

use std::{
    any::{Any, TypeId, type_name},
    collections::HashMap,
    fmt,
};

use crate::error::MissingState;

/// One value of each type.
#[derive(Default)]
pub(crate) struct TypeMap {
    by_type: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
}

impl TypeMap {
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.by_type.insert(TypeId::of::<T>(), Box::new(value));
    }

    pub(crate) fn get<T: Send + Sync + 'static>(&self) -> Result<&T, MissingState> {
        self.by_type
            .get(&TypeId::of::<T>())
            .and_then(|value| value.downcast_ref())
            .ok_or(MissingState { type_name: type_name::<T>() })
    }
}

impl fmt::Debug for TypeMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TypeMap({} types)", self.by_type.len())
    }
}
