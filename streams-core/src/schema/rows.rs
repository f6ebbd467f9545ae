//! The tables of a store, described.

use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::store::StateStore;

/// The schemas of the tables' keys, by the tables' names: only a store's document has it.
pub(super) const KEYS: &str = "x-keys";
/// The schemas of older rows that are still restored, by the tables' names.
pub(super) const OLDER_ROWS: &str = "x-older-rows";

/// A store that can be described, because each of its tables can: `#[derive(StateStore)]` sees to
/// it. [`of_store`] is what it is for.
pub trait DescribedStore: StateStore {
    #[doc(hidden)]
    const NAME: &'static str;

    #[doc(hidden)]
    fn table_schemas(generator: &mut SchemaGenerator) -> Vec<TableSchema>;
}

/// One table, described.
#[doc(hidden)]
#[derive(Debug)]
pub struct TableSchema {
    pub name: &'static str,
    pub key: Value,
    pub row: Schema,
    pub older: Vec<Schema>,
}

/// Returns the JSON Schema of a store: each table with the schemas of its keys and its rows.
///
/// # Examples
/// ```
/// use streams_core::prelude::*;
///
/// #[derive(StateStore)]
/// struct Store {
///     totals: Table<String, i64>,
/// }
///
/// let schema = streams_core::schema::of_store::<Store>();
/// assert_eq!(schema["properties"]["totals"]["type"], "integer");
/// ```
pub fn of_store<S: DescribedStore>() -> Value {
    let mut generator = SchemaGenerator::default();
    let (mut rows, mut keys, mut older) = (Map::new(), Map::new(), Map::new());
    for table in S::table_schemas(&mut generator) {
        rows.insert(table.name.to_owned(), table.row.to_value());
        keys.insert(table.name.to_owned(), table.key);
        if !table.older.is_empty() {
            let forms = table.older.into_iter().map(Schema::to_value).collect();
            older.insert(table.name.to_owned(), Value::Array(forms));
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": S::NAME,
        "properties": rows,
        KEYS: keys,
        OLDER_ROWS: older,
        "$defs": generator.take_definitions(true),
    })
}

/// Fails, as an assertion, if the tables of a store are not those whose schema is kept in a file of
/// the repository, and says what changed and how to accept it.
///
/// A changed row stops the next start as hard as a changed event: the changelog has the old rows.
/// The path is relative to the crate's `Cargo.toml`. Run the tests with `STREAMS_SNAPSHOT=accept`
/// to write the file, and to accept a change after which all old rows are restored; any other
/// change is accepted by `STREAMS_SNAPSHOT=accept-breaking`. A row whose former type is named,
/// `#[table(upcast = ContactV1)]`, is restored from both.
///
/// # Examples
/// ```no_run
/// # use streams_core::prelude::*;
/// #[derive(StateStore)]
/// struct Store {
///     totals: Table<String, i64>,
/// }
///
/// #[test]
/// fn the_rows_are_kept() {
///     streams_core::assert_store_snapshot!(Store, "schemas/store.json");
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! assert_store_snapshot {
    ($store:ty, $path:expr $(,)?) => {{
        let path = ::std::path::Path::new(::core::env!("CARGO_MANIFEST_DIR")).join($path);
        let schema = $crate::schema::of_store::<$store>();
        if let ::core::result::Result::Err(error) = $crate::schema::check_snapshot(&path, &schema) {
            ::core::panic!("{error}");
        }
    }};
}
