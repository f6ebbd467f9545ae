//! Configurations described and altered.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, alter_configs_response,
    incremental_alter_configs_response,
};
use kafka_protocol::protocol::StrBytes;

use super::configs::{ConfigValue, Kind, Source, definition};
use super::topics::{Refusal, is_name};
use super::{Cluster, NODE_ID, TopicConfig, codes};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// What becomes of a value, by its number in IncrementalAlterConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Change {
    const fn of(operation: i8) -> Option<Self> {
        Some(match operation {
            0 => Self::Set,
            1 => Self::Delete,
            2 => Self::Append,
            3 => Self::Subtract,
            _ => return None,
        })
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn invalid(why: impl Into<String>) -> Refusal {
    (codes::INVALID_REQUEST, why.into())
}

impl Cluster {
    pub(super) fn describe_configs(
        &self,
        request: &DescribeConfigsRequest,
    ) -> DescribeConfigsResponse {
        let results = request.resources.iter().map(|resource| {
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match self.configs_of(resource) {
                Ok(values) => {
                    let keys = resource.configuration_keys.as_deref().unwrap_or_default();
                    let asked = |value: &ConfigValue| {
                        keys.is_empty() || keys.iter().any(|key| **key == *value.definition.name)
                    };
                    let synonyms = request.include_synonyms;
                    let values = values.into_iter().filter(asked);
                    let values = values.map(|value| self.describe_config(&value, synonyms));
                    result.with_configs(values.collect()).with_error_message(None)
                }
                Err((code, why)) => {
                    let why = Some(why).filter(|why| !why.is_empty());
                    result.with_error_code(code).with_error_message(why.as_deref().map(text))
                }
            }
        });
        DescribeConfigsResponse::default().with_results(results.collect())
    }

    fn configs_of(&self, resource: &DescribeConfigsResource) -> Result<Vec<ConfigValue>, Refusal> {
        let name = resource.resource_name.as_str();
        match resource.resource_type {
            TOPIC if !is_name(name) => {
                Err((codes::INVALID_TOPIC_EXCEPTION, "Topic name is invalid".to_owned()))
            }
            TOPIC => match self.topics.get(name) {
                Some(topic) => Ok(topic.config.all(&self.settings).collect()),
                None => Err((codes::UNKNOWN_TOPIC_OR_PARTITION, String::new())),
            },
            BROKER if name.is_empty() => Ok(Vec::new()),
            BROKER => match name.parse::<i32>() {
                Ok(NODE_ID) => Ok(self.settings.configs()),
                Ok(_) => Err(invalid(format!(
                    "Unexpected broker id, expected {NODE_ID} or empty string, but received {name}"
                ))),
                Err(_) => Err(invalid(format!("Broker id must be an integer, but it is: {name}"))),
            },
            other => Err(invalid(format!("Unsupported resource type: {other}"))),
        }
    }

    fn describe_config(
        &self,
        value: &ConfigValue,
        synonyms: bool,
    ) -> DescribeConfigsResourceResult {
        let synonym = |name: &str, value: &str, source: Source| {
            DescribeConfigsSynonym::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
                .with_source(source as i8)
        };
        let mut all = Vec::new();
        if synonyms {
            let definition = value.definition;
            if value.source == Source::Topic {
                all.push(synonym(definition.name, &value.value, Source::Topic));
            }
            if let Some(name) = definition.broker_name() {
                let (default, source) = definition.default_of(&self.settings);
                let default = match name.as_str() {
                    // Kafka's defaults of these are hours.
                    "log.retention.hours" | "log.roll.hours" => "168".to_owned(),
                    _ => default,
                };
                all.push(synonym(&name, &default, source));
            }
        }
        DescribeConfigsResourceResult::default()
            .with_name(text(value.definition.name))
            .with_value(Some(text(&value.value)))
            .with_read_only(value.source != Source::Topic && value.read_only)
            .with_config_source(value.source as i8)
            .with_synonyms(all)
            .with_config_type(value.definition.kind as i8)
            .with_documentation(None)
    }

    pub(super) fn incremental_alter_configs(
        &mut self,
        request: &IncrementalAlterConfigsRequest,
    ) -> IncrementalAlterConfigsResponse {
        let resources = request.resources.iter().map(|r| (r.resource_type, &r.resource_name));
        let repeated = repeated(resources);
        let mut responses = Vec::new();
        for resource in &request.resources {
            let place = (resource.resource_type, resource.resource_name.as_str());
            let changes = resource
                .configs
                .iter()
                .map(|c| (c.name.as_str(), Change::of(c.config_operation), c.value.as_deref()));
            let altered = match repeated.contains(&place) {
                true => Err(invalid("Each resource must appear at most once.")),
                false => self.alter(place, changes.collect(), false, request.validate_only),
            };
            let (code, why) = altered.err().unzip();
            responses.push(
                incremental_alter_configs_response::AlterConfigsResourceResponse::default()
                    .with_error_code(code.unwrap_or(codes::NONE))
                    .with_error_message(why.as_deref().map(text))
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name.clone()),
            );
        }
        IncrementalAlterConfigsResponse::default().with_responses(responses)
    }

    /// The older form: what is not named goes back to its default.
    pub(super) fn alter_configs(&mut self, request: &AlterConfigsRequest) -> AlterConfigsResponse {
        let resources = request.resources.iter().map(|r| (r.resource_type, &r.resource_name));
        let repeated = repeated(resources);
        let mut responses = Vec::new();
        for resource in &request.resources {
            let place = (resource.resource_type, resource.resource_name.as_str());
            let changes = resource
                .configs
                .iter()
                .map(|config| (config.name.as_str(), Some(Change::Set), config.value.as_deref()));
            let altered = match repeated.contains(&place) {
                true => Err(invalid("Each resource must appear at most once.")),
                false => self.alter(place, changes.collect(), true, request.validate_only),
            };
            let (code, why) = altered.err().unzip();
            responses.push(
                alter_configs_response::AlterConfigsResourceResponse::default()
                    .with_error_code(code.unwrap_or(codes::NONE))
                    .with_error_message(why.as_deref().map(text))
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name.clone()),
            );
        }
        AlterConfigsResponse::default().with_responses(responses)
    }

    fn alter(
        &mut self,
        (resource_type, name): (i8, &str),
        changes: Vec<(&str, Option<Change>, Option<&str>)>,
        from_defaults: bool,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let mut names = BTreeSet::new();
        if !changes.iter().all(|(name, ..)| names.insert(*name)) {
            return Err(invalid("Error due to duplicate config keys"));
        }
        let without = |(_, change, value): &&(&str, Option<Change>, Option<&str>)| {
            value.is_none() && *change != Some(Change::Delete)
        };
        let unset: Vec<&str> = changes.iter().filter(without).map(|(name, ..)| *name).collect();
        if !unset.is_empty() {
            let why = format!("Null value not supported for : {}", unset.join(", "));
            return Err(invalid(why));
        }
        if resource_type != TOPIC {
            return Err(invalid(match resource_type {
                BROKER => "The configuration of this broker is fixed when it starts.".to_owned(),
                other => format!("Unknown resource type {other}"),
            }));
        }
        if name.is_empty() {
            return Err(invalid("Default topic resources are not allowed."));
        }
        let known = self.topics.get(name).filter(|_| !from_defaults);
        let mut values = known.map(|topic| topic.config.set().clone()).unwrap_or_default();
        for (name, change, value) in changes {
            let change = change.ok_or_else(|| invalid("Unknown operations type"))?;
            change_value(&mut values, name, change, value.unwrap_or_default())?;
        }
        let config = TopicConfig::with(values, &self.settings);
        let config = config.map_err(|why| (codes::INVALID_CONFIG, why))?;
        let Some(topic) = self.topics.get_mut(name) else {
            let why = format!("The topic '{name}' does not exist.");
            return Err((codes::UNKNOWN_TOPIC_OR_PARTITION, why));
        };
        if !validate_only {
            topic.config = config;
        }
        Ok(())
    }
}

/// The resources that occur more than once.
fn repeated<'a>(resources: impl Iterator<Item = (i8, &'a StrBytes)>) -> BTreeSet<(i8, &'a str)> {
    let mut seen = BTreeSet::new();
    let resources = resources.map(|(kind, name)| (kind, name.as_str()));
    resources.filter(|resource| !seen.insert(*resource)).collect()
}

fn change_value(
    values: &mut BTreeMap<String, String>,
    name: &str,
    change: Change,
    value: &str,
) -> Result<(), Refusal> {
    let known = definition(name);
    let list = known.is_some_and(|definition| definition.kind == Kind::List);
    let before = || {
        let default = known.map_or("", |definition| definition.default);
        let words = values.get(name).map_or(default, String::as_str).split(',');
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<String>>()
    };
    let after = match change {
        Change::Set => value.to_owned(),
        Change::Delete => {
            values.remove(name);
            return Ok(());
        }
        Change::Append | Change::Subtract if !list => {
            let verb = if change == Change::Append { "APPEND" } else { "SUBTRACT" };
            let why = format!("Can't {verb} to key {name} because its type is not LIST.");
            return Err((codes::INVALID_CONFIG, why));
        }
        Change::Append => {
            let mut words = before();
            for word in value.split(',') {
                if !words.iter().any(|known| known == word) {
                    words.push(word.to_owned());
                }
            }
            words.join(",")
        }
        Change::Subtract => {
            let words = before().into_iter().filter(|word| !value.split(',').any(|w| w == word));
            words.collect::<Vec<String>>().join(",")
        }
    };
    values.insert(name.to_owned(), after);
    Ok(())
}
