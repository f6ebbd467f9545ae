//! The configuration of topics: Kafka's names, defaults and rules.
//!
//! A value that is set is kept as text, as clients see it; what the logs need is there parsed.

use std::collections::BTreeMap;

use super::Settings;

/// The type of a value, by its number in DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// What a value must be, beside its type.
#[derive(Clone, Copy, Debug)]
enum Rule {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    /// A whole number in a range, or -1.
    BetweenOrMinusOne(i64, i64),
    OneOf(&'static [&'static str]),
}

/// A configuration that Kafka knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: &'static str,
    rule: Rule,
}

const fn define(name: &'static str, kind: Kind, default: &'static str, rule: Rule) -> Definition {
    Definition { name, kind, default, rule }
}

const MAX_LONG: &str = "9223372036854775807";
const TIMES: &[&str] = &["CreateTime", "LogAppendTime"];
const COMPRESSIONS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

/// The configurations of a topic, by name.
#[rustfmt::skip]
pub(super) const TOPIC: &[Definition] = {
    use Kind::{Boolean, Double, Int, List, Long, String};
    use Rule::{Any, AtLeast, Between, BetweenOrMinusOne, OneOf};
    &[
        define("cleanup.policy", List, "delete", OneOf(&["compact", "delete"])),
        define("compression.gzip.level", Int, "-1", BetweenOrMinusOne(1, 9)),
        define("compression.lz4.level", Int, "9", Between(1, 17)),
        define("compression.type", String, "producer", OneOf(COMPRESSIONS)),
        define("compression.zstd.level", Int, "3", Between(-131_072, 22)),
        define("delete.retention.ms", Long, "86400000", AtLeast(0)),
        define("file.delete.delay.ms", Long, "60000", AtLeast(0)),
        define("flush.messages", Long, MAX_LONG, AtLeast(1)),
        define("flush.ms", Long, MAX_LONG, AtLeast(0)),
        define("follower.replication.throttled.replicas", List, "", Any),
        define("index.interval.bytes", Int, "4096", AtLeast(0)),
        define("leader.replication.throttled.replicas", List, "", Any),
        define("local.retention.bytes", Long, "-2", AtLeast(-2)),
        define("local.retention.ms", Long, "-2", AtLeast(-2)),
        define("max.compaction.lag.ms", Long, MAX_LONG, AtLeast(1)),
        define("max.message.bytes", Int, "1048588", AtLeast(0)),
        define("message.timestamp.after.max.ms", Long, "3600000", AtLeast(0)),
        define("message.timestamp.before.max.ms", Long, MAX_LONG, AtLeast(0)),
        define("message.timestamp.type", String, "CreateTime", OneOf(TIMES)),
        define("min.cleanable.dirty.ratio", Double, "0.5", Between(0, 1)),
        define("min.compaction.lag.ms", Long, "0", AtLeast(0)),
        define("min.insync.replicas", Int, "1", AtLeast(1)),
        define("preallocate", Boolean, "false", Any),
        define("remote.log.copy.disable", Boolean, "false", Any),
        define("remote.log.delete.on.disable", Boolean, "false", Any),
        define("remote.storage.enable", Boolean, "false", Any),
        define("retention.bytes", Long, "-1", Any),
        define("retention.ms", Long, "604800000", AtLeast(-1)),
        define("segment.bytes", Int, "1073741824", AtLeast(1_048_576)),
        define("segment.index.bytes", Int, "10485760", AtLeast(4)),
        define("segment.jitter.ms", Long, "0", AtLeast(0)),
        define("segment.ms", Long, "604800000", AtLeast(1)),
        define("unclean.leader.election.enable", Boolean, "false", Any),
    ]
};

/// The definition of a topic's configuration.
pub(super) fn definition(name: &str) -> Option<&'static Definition> {
    TOPIC.iter().find(|definition| definition.name == name)
}

impl Definition {
    /// The value as Kafka keeps it.
    ///
    /// # Errors
    /// Kafka's words on what is wrong.
    fn parse(&self, value: &str) -> Result<String, String> {
        let value = value.trim();
        let wrong = |why: String| {
            Err(format!("Invalid value {value} for configuration {}: {why}", self.name))
        };
        match self.kind {
            Kind::Boolean => match value.to_ascii_lowercase().as_str() {
                truth @ ("true" | "false") => Ok(truth.to_owned()),
                _ => wrong("Expected value to be either true or false".to_owned()),
            },
            Kind::Int => match value.parse::<i32>() {
                Ok(number) => self.check_number(i64::from(number)),
                Err(_) => wrong("Not a number of type INT".to_owned()),
            },
            Kind::Long => match value.parse::<i64>() {
                Ok(number) => self.check_number(number),
                Err(_) => wrong("Not a number of type LONG".to_owned()),
            },
            Kind::Double => match (value.parse::<f64>(), self.rule) {
                (Ok(number), Rule::Between(low, _)) if number < low as f64 => {
                    wrong(format!("Value must be at least {low}"))
                }
                (Ok(number), Rule::Between(_, high)) if number > high as f64 => {
                    wrong(format!("Value must be no more than {high}"))
                }
                (Ok(number), _) => Ok(format!("{number:?}")),
                (Err(_), _) => wrong("Not a number of type DOUBLE".to_owned()),
            },
            Kind::String => self.check_word(value).map(|()| value.to_owned()),
            Kind::List => {
                let words = value.split(',').map(str::trim).filter(|word| !word.is_empty());
                let words: Vec<&str> = words.collect();
                words.iter().try_for_each(|word| self.check_word(word))?;
                Ok(words.join(","))
            }
        }
    }

    fn check_number(&self, number: i64) -> Result<String, String> {
        let wrong = |why: String| {
            Err(format!("Invalid value {number} for configuration {}: {why}", self.name))
        };
        match self.rule {
            Rule::BetweenOrMinusOne(..) if number == -1 => Ok(number.to_string()),
            Rule::AtLeast(low) | Rule::Between(low, _) | Rule::BetweenOrMinusOne(low, _)
                if number < low =>
            {
                wrong(format!("Value must be at least {low}"))
            }
            Rule::Between(_, high) | Rule::BetweenOrMinusOne(_, high) if number > high => {
                wrong(format!("Value must be no more than {high}"))
            }
            _ => Ok(number.to_string()),
        }
    }

    fn check_word(&self, word: &str) -> Result<(), String> {
        match self.rule {
            Rule::OneOf(words) if !words.contains(&word) => Err(format!(
                "Invalid value {word} for configuration {}: String must be one of: {}",
                self.name,
                words.join(", ")
            )),
            _ => Ok(()),
        }
    }

    /// The default, with the broker's own settings, and where it comes from.
    pub(super) fn default_of(&self, settings: &Settings) -> (String, Source) {
        let value = match self.name {
            "max.message.bytes" => settings.max_message_bytes.to_string(),
            _ => self.default.to_owned(),
        };
        let source = if value == self.default { Source::Default } else { Source::Broker };
        (value, source)
    }

    /// The broker's setting that is the default of a topic's, if there is one.
    pub(super) fn broker_name(&self) -> Option<String> {
        let name = match self.name {
            "compression.gzip.level"
            | "compression.lz4.level"
            | "compression.type"
            | "compression.zstd.level"
            | "min.insync.replicas"
            | "unclean.leader.election.enable" => self.name,
            "delete.retention.ms" => "log.cleaner.delete.retention.ms",
            "file.delete.delay.ms" => "log.segment.delete.delay.ms",
            "flush.messages" => "log.flush.interval.messages",
            "flush.ms" => "log.flush.scheduler.interval.ms",
            "max.compaction.lag.ms" => "log.cleaner.max.compaction.lag.ms",
            "max.message.bytes" => "message.max.bytes",
            "min.cleanable.dirty.ratio" => "log.cleaner.min.cleanable.ratio",
            "min.compaction.lag.ms" => "log.cleaner.min.compaction.lag.ms",
            "retention.ms" => "log.retention.hours",
            "segment.index.bytes" => "log.index.size.max.bytes",
            "segment.jitter.ms" => "log.roll.jitter.hours",
            "segment.ms" => "log.roll.hours",
            name if name.starts_with("remote.") || name.ends_with(".throttled.replicas") => {
                return None;
            }
            name => return Some(format!("log.{name}")),
        };
        Some(name.to_owned())
    }
}

/// Where a value comes from, by its number in DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Topic = 1,
    Broker = 4,
    Default = 5,
}

/// A configuration with its value.
#[derive(Clone, Debug)]
pub(super) struct ConfigValue {
    pub(super) definition: Definition,
    pub(super) value: String,
    pub(super) source: Source,
    pub(super) read_only: bool,
}

impl Settings {
    /// What of the settings has a name in Kafka.
    pub(super) fn configs(&self) -> Vec<ConfigValue> {
        let value = |name, kind, default, value: String| ConfigValue {
            definition: define(name, kind, default, Rule::Any),
            source: if value == default { Source::Default } else { Source::Broker },
            value,
            read_only: true,
        };
        let delay = self.group_initial_rebalance_delay_ms.to_string();
        let (low, high) = self.group_session_timeout_ms.clone().into_inner();
        let size = self.group_max_size.min(i32::MAX as usize).to_string();
        let auto = self.auto_create_topics.to_string();
        let node = super::NODE_ID.to_string();
        vec![
            value("auto.create.topics.enable", Kind::Boolean, "true", auto),
            value("default.replication.factor", Kind::Int, "1", "1".to_owned()),
            value("delete.topic.enable", Kind::Boolean, "true", "true".to_owned()),
            value("group.initial.rebalance.delay.ms", Kind::Int, "3000", delay),
            value("group.max.session.timeout.ms", Kind::Int, "1800000", high.to_string()),
            value("group.max.size", Kind::Int, "2147483647", size),
            value("group.min.session.timeout.ms", Kind::Int, "6000", low.to_string()),
            value("message.max.bytes", Kind::Int, "1048588", self.max_message_bytes.to_string()),
            value("min.insync.replicas", Kind::Int, "1", "1".to_owned()),
            value("node.id", Kind::Int, "", node),
            value("num.partitions", Kind::Int, "1", self.default_partitions.to_string()),
            value("offset.metadata.max.bytes", Kind::Int, "4096", "4096".to_owned()),
        ]
    }
}

/// A topic's configuration: what is set, and what follows for its logs.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// The values that were set, by name.
    set: BTreeMap<String, String>,
    /// `cleanup.policy` has `compact`.
    pub compact: bool,
    /// `cleanup.policy` has `delete`: retention counts.
    pub delete: bool,
    /// `retention.ms`; `None` is forever.
    pub retention_ms: Option<i64>,
    /// `retention.bytes` of a partition; `None` is without limit.
    pub retention_bytes: Option<u64>,
    /// `max.message.bytes`: the largest batch.
    pub max_message_bytes: usize,
    /// `min.compaction.lag.ms`: records younger than that stay as they are.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: records older than that are compacted, however few.
    pub max_compaction_lag_ms: i64,
    /// `delete.retention.ms`: so long a tombstone is seen.
    pub delete_retention_ms: i64,
    /// `min.cleanable.dirty.ratio`: so much of the log must be new for it to be compacted.
    pub min_cleanable_dirty_ratio: f64,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`: older ones are refused.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: ones further ahead are refused.
    pub timestamp_after_max_ms: i64,
    /// `segment.bytes`: the active segment is neither compacted nor deleted.
    pub segment_bytes: u64,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `compression.type`, as it is set.
    pub compression_type: String,
}

impl TopicConfig {
    /// The defaults of a broker with these settings.
    pub(super) fn new(settings: &Settings) -> Self {
        // The defaults lie within the rules.
        Self::resolve(BTreeMap::new(), settings)
    }

    /// The configuration with these values set, and the others by default.
    ///
    /// # Errors
    /// Kafka's words on what is wrong with one.
    pub(super) fn with(
        values: impl IntoIterator<Item = (String, String)>,
        settings: &Settings,
    ) -> Result<Self, String> {
        let mut set = BTreeMap::new();
        for (name, value) in values {
            let definition =
                definition(&name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
            set.insert(name, definition.parse(&value)?);
        }
        let config = Self::resolve(set, settings);
        if config.min_compaction_lag_ms > config.max_compaction_lag_ms {
            return Err(format!(
                "conflict topic config setting min.compaction.lag.ms ({}) > \
                 max.compaction.lag.ms ({})",
                config.min_compaction_lag_ms, config.max_compaction_lag_ms
            ));
        }
        Ok(config)
    }

    fn resolve(set: BTreeMap<String, String>, settings: &Settings) -> Self {
        let text = |name: &str| match (set.get(name), definition(name)) {
            (Some(value), _) => value.clone(),
            (None, Some(definition)) => definition.default_of(settings).0,
            (None, None) => String::new(),
        };
        let long = |name: &str| text(name).parse::<i64>().unwrap_or_default();
        let policy = text("cleanup.policy");
        let policy: Vec<&str> = policy.split(',').collect();
        Self {
            compact: policy.contains(&"compact"),
            delete: policy.contains(&"delete"),
            retention_ms: Some(long("retention.ms")).filter(|ms| *ms >= 0),
            retention_bytes: u64::try_from(long("retention.bytes")).ok(),
            max_message_bytes: usize::try_from(long("max.message.bytes")).unwrap_or_default(),
            min_compaction_lag_ms: long("min.compaction.lag.ms"),
            max_compaction_lag_ms: long("max.compaction.lag.ms"),
            delete_retention_ms: long("delete.retention.ms"),
            min_cleanable_dirty_ratio: text("min.cleanable.dirty.ratio").parse().unwrap_or(0.5),
            log_append_time: text("message.timestamp.type") == "LogAppendTime",
            timestamp_before_max_ms: long("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: long("message.timestamp.after.max.ms"),
            segment_bytes: u64::try_from(long("segment.bytes")).unwrap_or(1 << 30),
            segment_ms: long("segment.ms"),
            compression_type: text("compression.type"),
            set,
        }
    }

    /// All values, by name.
    pub(super) fn all(&self, settings: &Settings) -> impl Iterator<Item = ConfigValue> {
        TOPIC.iter().map(move |definition| {
            let (value, source) = match self.set.get(definition.name) {
                Some(value) => (value.clone(), Source::Topic),
                None => definition.default_of(settings),
            };
            ConfigValue { definition: *definition, value, source, read_only: false }
        })
    }

    /// The values that were set.
    pub const fn set(&self) -> &BTreeMap<String, String> {
        &self.set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(values: &[(&str, &str)]) -> Result<TopicConfig, String> {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        TopicConfig::with(values, &Settings::default())
    }

    #[test]
    fn the_defaults_are_kafkas_and_lie_within_the_rules() {
        for definition in TOPIC {
            let parsed = definition.parse(definition.default);
            assert_eq!(parsed.as_deref(), Ok(definition.default), "{}", definition.name);
        }
        let config = TopicConfig::new(&Settings::default());
        assert!(config.delete && !config.compact && !config.log_append_time);
        assert_eq!(config.retention_ms, Some(604_800_000));
        assert_eq!(config.retention_bytes, None);
        assert_eq!(config.max_message_bytes, 1_048_588);
    }

    #[test]
    fn what_is_set_is_parsed_and_checked() {
        let config = with(&[("cleanup.policy", "compact, delete"), ("retention.ms", "-1")]);
        let config = config.unwrap();
        assert!(config.compact && config.delete);
        assert_eq!(config.retention_ms, None);
        assert_eq!(config.set()["cleanup.policy"], "compact,delete");
        for (name, value, why) in [
            ("retention.ms", "-2", "Value must be at least -1"),
            ("retention.ms", "x", "Not a number of type LONG"),
            ("cleanup.policy", "keep", "String must be one of: compact, delete"),
            ("preallocate", "yes", "Expected value to be either true or false"),
            ("min.cleanable.dirty.ratio", "1.5", "Value must be no more than 1"),
        ] {
            let said = format!("Invalid value {value} for configuration {name}: {why}");
            assert_eq!(with(&[(name, value)]), Err(said));
        }
        assert_eq!(with(&[("x", "1")]), Err("Unknown topic config name: x".to_owned()));
        let conflict = with(&[("min.compaction.lag.ms", "2"), ("max.compaction.lag.ms", "1")]);
        assert!(conflict.unwrap_err().starts_with("conflict topic config setting"));
    }
}
