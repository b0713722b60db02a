//! tokio-postgres.

use defer_core::{BoxError, BoxFuture};
use tokio_postgres::{
    Client, GenericClient, Transaction,
    types::{ToSql, Type},
};

use crate::push::{
    insert::{Insert, Value},
    statements::Database,
    transaction::{QueueTransaction, sealed::Sealed},
};

/// Takes one round trip, and no named statement, which not every PgBouncer keeps.
async fn execute(client: &impl GenericClient, insert: &Insert) -> Result<(), BoxError> {
    let values = insert.values().iter().map(|value| -> (&(dyn ToSql + Sync), Type) {
        match value {
            Value::Text(text) => (text, Type::TEXT),
            Value::Int(int) => (int, Type::INT8),
            Value::Null => (&None::<&str>, Type::TEXT),
        }
    });
    let values: Vec<_> = values.collect();
    client.execute_typed(insert.sql(), &values).await?;
    Ok(())
}

macro_rules! transactions {
    ($($type:ty: $client:ty),*) => {$(
        impl Sealed for $type {
            fn database(&self) -> Option<Database> {
                Some(Database::Postgres)
            }

            fn insert<'a>(&'a mut self, insert: &'a Insert) -> BoxFuture<'a, Result<(), BoxError>> {
                let client: &$client = self;
                Box::pin(execute(client, insert))
            }
        }

        impl QueueTransaction for $type {}
    )*};
}

transactions!(Client: Client, &Client: Client, Transaction<'_>: Transaction<'_>, &Transaction<'_>: Transaction<'_>);
