//! Values that jobs take from their request, such as its tenant or its user.

use std::{
    any::{Any, TypeId, type_name},
    fmt, mem,
    sync::Arc,
};

use serde::{Serialize, de::DeserializeOwned};

use super::error::{BoxError, ExtensionError, JobError, caught};

/// Values by their types.
#[derive(Clone, Default)]
pub struct Extensions {
    // A vector, which is faster to search than a map for a few values.
    values: Vec<Value>,
}

#[derive(Clone)]
struct Value {
    type_id: TypeId,
    type_name: &'static str,
    value: Shared,
    encode: fn(&Shared) -> Result<String, BoxError>,
}

/// A value that the jobs of a request share.
pub(crate) type Shared = Arc<dyn Any + Send + Sync>;

impl Extensions {
    /// Adds a value. Returns the previous value of its type, which the caller drops where user code may run.
    pub fn insert<T: Serialize + Send + Sync + 'static>(&mut self, value: T) -> impl Sized + use<T> {
        let value = Value {
            type_id: TypeId::of::<T>(),
            type_name: type_name::<T>(),
            value: Arc::new(value),
            encode: |value| match value.downcast_ref::<T>() {
                Some(value) => Ok(serde_json::to_string(value)?),
                None => Err("it is of another type".into()),
            },
        };
        match self.values.iter_mut().find(|known| known.type_id == value.type_id) {
            Some(known) => Some(mem::replace(known, value)),
            None => {
                self.values.push(value);
                None
            }
        }
    }

    /// Returns whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(crate) fn get(&self, type_id: TypeId) -> Option<Shared> {
        self.values.iter().find(|value| value.type_id == type_id).map(|value| value.value.clone())
    }

    /// Adds the values of another, which replace values of the same types.
    pub(crate) fn extend(&mut self, other: Self) {
        self.values.retain(|value| other.get(value.type_id).is_none());
        self.values.extend(other.values);
    }

    /// Calls `write` with the [name](stored_name) and the JSON of each value. Two types with one name are an error: a job could
    /// read the value of the other.
    pub(crate) fn write(&self, mut write: impl FnMut(String, String)) -> Result<(), JobError> {
        for (at, Value { type_name, value, encode, .. }) in self.values.iter().enumerate() {
            if self.values[..at].iter().any(|other| other.type_name == *type_name) {
                let message = format!(
                    "two extensions of its request have the type name `{type_name}`: neither can be stored"
                );
                return Err(JobError::msg(message));
            }
            let json = caught(|| encode(value))?;
            let json = json.map_err(|error| {
                JobError::msg(format!("the extension `{type_name}` of its request cannot be stored: {error}"))
            })?;
            write(stored_name(type_name), json);
        }
        Ok(())
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values.iter().map(|value| value.type_name)).finish()
    }
}

/// Returns the name under which a queue stores a value of this type.
pub(crate) fn stored_name(type_name: &str) -> String {
    format!("extension {type_name}")
}

/// Returns a value from the request's extensions, or from the data that a queue has stored for it.
pub(crate) fn find<T: Clone + DeserializeOwned + Send + Sync + 'static>(
    shared: Option<Shared>,
    stored: Option<&str>,
) -> Result<T, ExtensionError> {
    let type_name = type_name::<T>();
    if let Some(value) = shared.as_ref().and_then(|value| value.downcast_ref::<T>()) {
        return Ok(value.clone());
    }
    let stored = stored.ok_or(ExtensionError::Missing { type_name })?;
    serde_json::from_str(stored).map_err(|_| ExtensionError::Unreadable { type_name })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Tenant {
        name: String,
        numbers: Vec<i64>,
        more: Option<Box<Tenant>>,
    }

    fn tenants() -> impl Strategy<Value = Tenant> {
        let plain = (".*", proptest::collection::vec(any::<i64>(), 0..3));
        (plain.clone(), proptest::option::of(plain)).prop_map(|((name, numbers), more)| {
            let more = more.map(|(name, numbers)| Box::new(Tenant { name, numbers, more: None }));
            Tenant { name, numbers, more }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_value_is_read_as_it_was_stored(tenant in tenants(), user: u64) {
            let mut extensions = Extensions::default();
            drop(extensions.insert(tenant.clone()));
            drop(extensions.insert(user));
            let mut stored = BTreeMap::new();
            extensions.write(|name, json| drop(stored.insert(name, json))).unwrap();
            let read = |name: &str| stored.get(&stored_name(name)).map(String::as_str);
            prop_assert_eq!(find::<Tenant>(None, read(type_name::<Tenant>())).unwrap(), tenant.clone());
            prop_assert_eq!(find::<u64>(None, read("u64")).unwrap(), user);
            // Nothing is read from the queue's data if the request is known.
            let shared = extensions.get(TypeId::of::<Tenant>());
            prop_assert_eq!(find::<Tenant>(shared, Some("no JSON")).unwrap(), tenant);
        }

        #[test]
        fn any_stored_text_is_a_value_or_unreadable_by_its_type(
            text in prop_oneof![".*", "[{}\\[\\]:,\"a-z0-9]{0,30}", "\\{\"name\":\"[a-z]{0,5}\",\"numbers\":\\[[0-9]{0,25}\\]\\}"],
        ) {
            match find::<Tenant>(None, Some(&text)) {
                Ok(tenant) => prop_assert_eq!(serde_json::from_str::<Tenant>(&text).unwrap(), tenant),
                Err(ExtensionError::Unreadable { type_name }) => prop_assert!(type_name.ends_with("Tenant")),
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    }
}
