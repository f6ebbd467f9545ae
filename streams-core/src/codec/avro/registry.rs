//! The schemas of a registry, by their ids.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::schema::Schema;

/// Asks a schema registry. Its answers are kept, so that each id is asked for once; the calls block
/// the partition that needs the answer.
pub trait RegistryClient: Send + Sync {
    /// The schema of `id`, as JSON.
    ///
    /// # Errors
    /// If the registry does not know it, or can't be reached.
    fn schema(&self, id: u32) -> Result<String, Box<dyn std::error::Error + Send + Sync>>;

    /// The id of `schema`, which is registered under `subject` if it isn't yet.
    ///
    /// # Errors
    /// If the registry refuses it, or can't be reached.
    fn id(
        &self,
        subject: &str,
        schema: &str,
    ) -> Result<u32, Box<dyn std::error::Error + Send + Sync>>;
}

/// Why a schema is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Nobody has told the id of the payload's schema.
    #[error(
        "the id of its Avro schema is not known: tell it at the start, \
         `Registry::global().register(7, Contact::SCHEMA)`, or give the registry a client"
    )]
    NoId,
    /// Nobody has told the schema of this id.
    #[error(
        "the record was written with the schema {0}, which is not known: tell it at the start, \
         `Registry::global().register({0}, ..)`, or give the registry a client"
    )]
    NoSchema(u32),
    /// The text is no schema.
    #[error("not an Avro schema: {0}")]
    Schema(String),
    /// The client failed.
    #[error("the schema registry: {0}")]
    Client(String),
}

/// Avro schemas by their ids, as a schema registry gives them out.
///
/// # Examples
/// ```
/// use streams_core::codec::avro::Registry;
///
/// static REGISTRY: Registry = Registry::new();
/// REGISTRY.register(7, r#"{"type":"string"}"#)?;
/// # Ok::<(), streams_core::codec::avro::RegistryError>(())
/// ```
#[derive(Default)]
pub struct Registry {
    client: OnceLock<Box<dyn RegistryClient>>,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    schemas: BTreeMap<u32, Arc<Schema>>,
    /// The id of each schema that is written, by its text.
    ids: BTreeMap<String, u32>,
}

static GLOBAL: Registry = Registry::new();

impl Registry {
    /// A registry that knows nothing.
    pub const fn new() -> Self {
        let known = Known { schemas: BTreeMap::new(), ids: BTreeMap::new() };
        Self { client: OnceLock::new(), known: RwLock::new(known) }
    }

    /// The registry of payloads that name no other.
    pub fn global() -> &'static Self {
        &GLOBAL
    }

    /// Tells that `schema` has this id.
    ///
    /// # Errors
    /// If it is no schema.
    pub fn register(&self, id: u32, schema: &str) -> Result<(), RegistryError> {
        self.remember(id, schema).map(|_| ())
    }

    /// Whom to ask for ids and schemas that nobody has told. The first one stays.
    pub fn set_client(&self, client: impl RegistryClient + 'static) {
        let _ = self.client.set(Box::new(client));
    }

    /// The schema that values are written with, and its id.
    pub(super) fn writer(
        &self,
        subject: &str,
        schema: &str,
    ) -> Result<(u32, Arc<Schema>), RegistryError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.ids.get(schema).and_then(|id| Some((*id, known.schemas.get(id)?)));
        if let Some((id, schema)) = found {
            return Ok((id, Arc::clone(schema)));
        }
        drop(known);
        let client = self.client.get().ok_or(RegistryError::NoId)?;
        let id = client.id(subject, schema).map_err(failed)?;
        Ok((id, self.remember(id, schema)?))
    }

    /// The schema that values with this id were written with.
    pub(super) fn reader(&self, id: u32) -> Result<Arc<Schema>, RegistryError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = known.schemas.get(&id) {
            return Ok(Arc::clone(schema));
        }
        drop(known);
        let client = self.client.get().ok_or(RegistryError::NoSchema(id))?;
        let schema = client.schema(id).map_err(failed)?;
        self.remember(id, &schema)
    }

    fn remember(&self, id: u32, schema: &str) -> Result<Arc<Schema>, RegistryError> {
        let parsed = Arc::new(Schema::parse(schema).map_err(RegistryError::Schema)?);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.schemas.insert(id, Arc::clone(&parsed));
        known.ids.insert(schema.to_owned(), id);
        Ok(parsed)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn failed(error: Box<dyn std::error::Error + Send + Sync>) -> RegistryError {
    RegistryError::Client(error.to_string())
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let ids: Vec<_> = known.schemas.keys().collect();
        f.debug_struct("Registry").field("ids", &ids).finish_non_exhaustive()
    }
}
