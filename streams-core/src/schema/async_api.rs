//! An application as an AsyncAPI 3 document: its topics, their record types, keys and groups.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::Described;
use crate::codec::KeyCodec;
use crate::handler::{EventSource, Topic};
use crate::record::RECORD_TYPE_HEADER;
use crate::runtime::SourceBuilder;

/// An application as an [AsyncAPI 3](https://www.asyncapi.com/docs/reference/specification/v3.0.0)
/// document: which topics it reads and writes, with which record types, keys and group.
///
/// # Examples
/// ```
/// use streams_core::prelude::*;
///
/// #[derive(Events)]
/// enum Numbers {
///     Add(i64),
/// }
///
/// #[event_source(events = Numbers, store = NoStore)]
/// mod numbers {
///     use super::*;
///
///     #[event_handler("Add")]
///     fn add(_: &mut EventContext<NoStore>, _: i64) -> Result<ExecutionState> {
///         Ok(Complete)
///     }
/// }
///
/// static SUMS: Topic<Numbers, u64> = Topic::new("sums");
///
/// # fn main() {
/// let source = numbers::Source::builder().topic("numbers").group("totals");
/// let document = source.async_api::<String>().version("1.2.0").sends(&SUMS).into_value();
/// assert_eq!(document["channels"]["sums"]["address"], "sums");
/// let receive = &document["operations"]["receive_numbers"];
/// assert_eq!(receive["bindings"]["kafka"]["groupId"]["const"], "totals");
/// # }
/// ```
#[derive(Debug)]
pub struct AsyncApi {
    title: String,
    version: String,
    generator: SchemaGenerator,
    channels: Map<String, Value>,
    operations: Map<String, Value>,
    messages: Map<String, Value>,
}

impl<A: EventSource, Missing: 'static> SourceBuilder<A, Missing> {
    /// Describes this source as an AsyncAPI document: it receives its contract from its topic, in
    /// its group. `K` is the type of the topic's keys, which no contract knows:
    /// `source.async_api::<String>()`. [`AsyncApi::sends`] adds the topics that it sends to.
    ///
    /// # Examples
    /// See [`AsyncApi`].
    pub fn async_api<K: KeyCodec>(&self) -> AsyncApi
    where
        A::Events: Described,
    {
        let topic = Topic::<A::Events, K>::named(self.topic.clone());
        AsyncApi::new(&self.group.group_id).receives(&topic, &self.group.group_id)
    }
}

impl AsyncApi {
    /// A document without topics.
    pub fn new(title: &str) -> Self {
        let settings = SchemaSettings::draft2020_12()
            .with(|settings| settings.definitions_path = "/components/schemas".into());
        Self {
            title: title.to_owned(),
            version: "0.0.0".to_owned(),
            generator: settings.into_generator(),
            channels: Map::new(),
            operations: Map::new(),
            messages: Map::new(),
        }
    }

    /// The application's version: `env!("CARGO_PKG_VERSION")`, mostly.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// A topic that it reads, in this group.
    #[must_use]
    pub fn receives<E: Described, K: KeyCodec>(mut self, topic: &Topic<E, K>, group: &str) -> Self {
        let channel = self.channel(topic);
        let operation = json!({
            "action": "receive",
            "channel": { "$ref": format!("#/channels/{channel}") },
            "bindings": { "kafka": { "groupId": { "type": "string", "const": group } } },
        });
        self.operations.insert(format!("receive_{channel}"), operation);
        self
    }

    /// A topic that it writes.
    #[must_use]
    pub fn sends<E: Described, K: KeyCodec>(mut self, topic: &Topic<E, K>) -> Self {
        let channel = self.channel(topic);
        let operation = json!({
            "action": "send",
            "channel": { "$ref": format!("#/channels/{channel}") },
        });
        self.operations.insert(format!("send_{channel}"), operation);
        self
    }

    fn channel<E: Described, K: KeyCodec>(&mut self, topic: &Topic<E, K>) -> String {
        let channel = identifier(topic.name());
        let mut messages = Map::new();
        for (record_type, payload) in E::payload_schemas(&mut self.generator) {
            let name = format!("{channel}_{}", identifier(record_type));
            self.messages.insert(name.clone(), message::<K>(record_type, payload));
            let reference = json!({ "$ref": format!("#/components/messages/{name}") });
            messages.insert(identifier(record_type), reference);
        }
        let address = topic.name();
        let described = json!({ "address": address, "title": E::NAME, "messages": messages });
        self.channels.insert(channel.clone(), described);
        channel
    }

    /// The document.
    pub fn into_value(mut self) -> Value {
        json!({
            "asyncapi": "3.0.0",
            "info": { "title": self.title, "version": self.version },
            "defaultContentType": "application/json",
            "channels": self.channels,
            "operations": self.operations,
            "components": {
                "messages": self.messages,
                "schemas": self.generator.take_definitions(true),
            },
        })
    }
}

fn message<K: KeyCodec>(record_type: &str, payload: Schema) -> Value {
    let payload = payload.to_value();
    let content_type = payload.get("contentMediaType").and_then(Value::as_str);
    json!({
        "name": record_type,
        "contentType": content_type.unwrap_or("application/json"),
        "headers": {
            "type": "object",
            "properties": { RECORD_TYPE_HEADER: { "type": "string", "const": record_type } },
            "required": [RECORD_TYPE_HEADER],
        },
        "payload": payload,
        "bindings": { "kafka": { "key": K::key_schema() } },
    })
}

/// Keys of a document's maps are letters, digits, `-` and `_`.
fn identifier(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
}
