//! Configurations: described, altered, refused.

use anyhow::{Context, Result};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
    alter_configs_request, incremental_alter_configs_request,
};
use kafka_protocol::protocol::Message;

use super::ctx::{Ctx, code, text};
use super::records::Batch;
use super::versions::each_ordered;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

super::named!("configs":
    of_a_new_topic,
    given_at_creation,
    described_in_each_version,
    with_synonyms,
    of_an_unknown_topic,
    of_an_unknown_name,
    of_an_unknown_kind_of_resource,
    are_set_and_unset,
    lists_grow_and_shrink,
    altered_to_nonsense,
    altered_of_an_unknown_topic,
    only_validated,
    the_same_one_twice,
    altered_whole,
    altered_in_each_version,
    take_effect,
);

const NAMES: [&str; 8] = [
    "cleanup.policy",
    "compression.type",
    "delete.retention.ms",
    "max.message.bytes",
    "message.timestamp.type",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
];

fn describe_request(kind: i8, name: &str, keys: &[&str]) -> DescribeConfigsRequest {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(Some(keys.iter().map(text).collect()));
    DescribeConfigsRequest::default().with_resources(vec![resource])
}

fn describe(ctx: &mut Ctx, label: &str, (kind, name): (i8, &str), keys: &[&str]) -> Result<()> {
    let response = ctx.call(4, &describe_request(kind, name, keys))?;
    let result = response.results.first().context("no result")?;
    ctx.say(format!("{label}: {}", code(result.error_code)));
    let mut configs = result.configs.clone();
    configs.sort_by(|a, b| a.name.cmp(&b.name));
    for config in configs {
        let value = config.value.as_deref().unwrap_or("-").to_owned();
        let (source, kind) = (config.config_source, config.config_type);
        let flags = (config.read_only, config.is_sensitive);
        ctx.say(format!(
            "  {}={value} source {source} type {kind} {flags:?}",
            config.name.as_str()
        ));
    }
    Ok(())
}

fn of_a_new_topic(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    describe(ctx, "describe", (TOPIC, &topic), &NAMES)
}

fn given_at_creation(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic_with(
        "t",
        1,
        &[("cleanup.policy", "compact"), ("retention.ms", "5000"), ("segment.ms", "900")],
    )?;
    describe(ctx, "describe", (TOPIC, &topic), &["cleanup.policy", "retention.ms", "segment.ms"])
}

fn described_in_each_version(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic_with("t", 1, &[("retention.ms", "5000")])?;
    let versions = <DescribeConfigsRequest as Message>::VERSIONS;
    each_ordered(
        ctx,
        versions,
        |_| {},
        |_, _| Ok(describe_request(TOPIC, &topic, &["retention.ms"])),
    )
}

fn with_synonyms(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic_with("t", 1, &[("retention.ms", "5000")])?;
    let request = describe_request(TOPIC, &topic, &["retention.ms"]).with_include_synonyms(true);
    let response = ctx.call(4, &request)?;
    let result = response.results.first().context("no result")?;
    for synonym in result.configs.iter().flat_map(|config| &config.synonyms) {
        let value = synonym.value.as_deref().unwrap_or("-").to_owned();
        ctx.say(format!("{}={value} source {}", synonym.name.as_str(), synonym.source));
    }
    ctx.say(code(result.error_code));
    Ok(())
}

fn of_an_unknown_topic(ctx: &mut Ctx) -> Result<()> {
    let nowhere = ctx.name("nowhere");
    describe(ctx, "describe", (TOPIC, &nowhere), &["retention.ms"])?;
    describe(ctx, "not a name", (TOPIC, "a b"), &["retention.ms"])
}

fn of_an_unknown_name(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    describe(ctx, "describe", (TOPIC, &topic), &["no.such.config"])?;
    let request = describe_request(TOPIC, &topic, &[]);
    let response = ctx.call(4, &request)?;
    let result = response.results.first().context("no result")?;
    let found = |key: &&str| result.configs.iter().any(|config| config.name.as_str() == *key);
    let all = NAMES.iter().all(found);
    ctx.say(format!("no names: {}, with those a user looks for: {all}", code(result.error_code)));
    Ok(())
}

fn of_an_unknown_kind_of_resource(ctx: &mut Ctx) -> Result<()> {
    describe(ctx, "kind 99", (99, "x"), &[])?;
    describe(ctx, "an unknown broker", (BROKER, "77"), &["log.retention.ms"])?;
    describe(ctx, "a broker that is no number", (BROKER, "one"), &["log.retention.ms"])
}

fn alter_request(
    (kind, name): (i8, &str),
    changes: &[(&str, i8, Option<&str>)],
) -> IncrementalAlterConfigsRequest {
    let change = |(key, operation, value): &(&str, i8, Option<&str>)| {
        incremental_alter_configs_request::AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    };
    let resource = incremental_alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(changes.iter().map(change).collect());
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}

fn alter(
    ctx: &mut Ctx,
    label: &str,
    topic: &str,
    changes: &[(&str, i8, Option<&str>)],
) -> Result<()> {
    let response = ctx.call(1, &alter_request((TOPIC, topic), changes))?;
    let result = response.responses.first().context("no result")?;
    ctx.say(format!("{label}: {}", code(result.error_code)));
    Ok(())
}

/// Waits until an alteration is seen, as it is by and by.
fn seen(ctx: &mut Ctx, topic: &str, key: &str, value: &str) -> Result<()> {
    super::ctx::wait("the configuration", || {
        let response = ctx.call(4, &describe_request(TOPIC, topic, &[key]))?;
        let result = response.results.first().context("no result")?;
        let config = result.configs.first().context("no configuration")?;
        Ok((config.value.as_deref() == Some(value)).then_some(()))
    })
}

fn are_set_and_unset(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    alter(ctx, "set", &topic, &[("retention.ms", SET, Some("5000"))])?;
    seen(ctx, &topic, "retention.ms", "5000")?;
    describe(ctx, "then", (TOPIC, &topic), &["retention.ms"])?;
    alter(ctx, "unset", &topic, &[("retention.ms", DELETE, None)])?;
    seen(ctx, &topic, "retention.ms", "604800000")?;
    describe(ctx, "then", (TOPIC, &topic), &["retention.ms"])?;
    alter(ctx, "unset again", &topic, &[("retention.ms", DELETE, None)])
}

fn lists_grow_and_shrink(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    alter(ctx, "append", &topic, &[("cleanup.policy", APPEND, Some("compact"))])?;
    seen(ctx, &topic, "cleanup.policy", "delete,compact")?;
    alter(ctx, "subtract", &topic, &[("cleanup.policy", SUBTRACT, Some("delete"))])?;
    seen(ctx, &topic, "cleanup.policy", "compact")?;
    alter(ctx, "append to a number", &topic, &[("retention.ms", APPEND, Some("1"))])
}

fn altered_to_nonsense(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for (key, value) in [
        ("retention.ms", Some("soon")),
        ("no.such.config", Some("1")),
        ("cleanup.policy", Some("shred")),
        ("retention.ms", None),
        ("max.message.bytes", Some("-5")),
    ] {
        let label = format!("{key}={}", value.unwrap_or("-"));
        alter(ctx, &label, &topic, &[(key, SET, value)])?;
    }
    alter(ctx, "an unknown operation", &topic, &[("retention.ms", 9, Some("1"))])?;
    let good = ("retention.ms", SET, Some("7000"));
    alter(ctx, "a good one beside it", &topic, &[good, ("no.such.config", SET, Some("1"))])?;
    describe(ctx, "then", (TOPIC, &topic), &["retention.ms"])
}

fn altered_of_an_unknown_topic(ctx: &mut Ctx) -> Result<()> {
    let nowhere = ctx.name("nowhere");
    alter(ctx, "an unknown topic", &nowhere, &[("retention.ms", SET, Some("1"))])?;
    let request = alter_request((99, "x"), &[("retention.ms", SET, Some("1"))]);
    let response = ctx.call(1, &request)?;
    let result = response.responses.first().context("no result")?;
    ctx.say(format!("kind 99: {}", code(result.error_code)));
    Ok(())
}

fn only_validated(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for value in ["5000", "soon"] {
        let request = alter_request((TOPIC, &topic), &[("retention.ms", SET, Some(value))]);
        let response = ctx.call(1, &request.with_validate_only(true))?;
        let result = response.responses.first().context("no result")?;
        ctx.say(format!("{value}: {}", code(result.error_code)));
    }
    describe(ctx, "then", (TOPIC, &topic), &["retention.ms"])
}

fn the_same_one_twice(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let changes = [("retention.ms", SET, Some("1")), ("retention.ms", SET, Some("2"))];
    alter(ctx, "twice", &topic, &changes)?;
    let mut request = alter_request((TOPIC, &topic), &changes[..1]);
    request.resources.push(request.resources[0].clone());
    let response = ctx.call(1, &request)?;
    let answers: Vec<String> =
        response.responses.iter().map(|result| code(result.error_code)).collect();
    ctx.say(format!("the resource twice: {}", answers.join(" ")));
    Ok(())
}

fn whole_request(topic: &str, configs: &[(&str, &str)]) -> AlterConfigsRequest {
    let config = |(key, value): &(&str, &str)| {
        alter_configs_request::AlterableConfig::default()
            .with_name(text(key))
            .with_value(Some(text(value)))
    };
    let resource = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configs(configs.iter().map(config).collect());
    AlterConfigsRequest::default().with_resources(vec![resource])
}

fn altered_whole(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic_with("t", 1, &[("retention.ms", "5000"), ("segment.ms", "900")])?;
    for configs in [&[("segment.ms", "800")][..], &[("segment.ms", "soon")]] {
        let response = ctx.call(2, &whole_request(&topic, configs))?;
        let result = response.responses.first().context("no result")?;
        ctx.say(format!("{}: {}", configs[0].1, code(result.error_code)));
    }
    seen(ctx, &topic, "segment.ms", "800")?;
    describe(ctx, "what is not named is unset", (TOPIC, &topic), &["retention.ms", "segment.ms"])
}

fn altered_in_each_version(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let versions = <AlterConfigsRequest as Message>::VERSIONS;
    each_ordered(
        ctx,
        versions,
        |_| {},
        |_, _| Ok(whole_request(&topic, &[("retention.ms", "5000")])),
    )?;
    let versions = <IncrementalAlterConfigsRequest as Message>::VERSIONS;
    each_ordered(
        ctx,
        versions,
        |_| {},
        |_, _| Ok(alter_request((TOPIC, &topic), &[("retention.ms", SET, Some("6000"))])),
    )
}

fn take_effect(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    ctx.produce("before", &topic, 0, &Batch::of(["a long value that takes some bytes"]))?;
    alter(ctx, "alter", &topic, &[("max.message.bytes", SET, Some("80"))])?;
    seen(ctx, &topic, "max.message.bytes", "80")?;
    super::ctx::wait("the smaller limit", || {
        let batch = Batch::of(["a long value that takes some bytes"]);
        let request = super::logs::produce_request(&topic, 0, &batch);
        let answer = ctx.send_records(super::logs::PRODUCE, &request)?;
        Ok((answer.error_code == 10).then_some(()))
    })?;
    ctx.say("after: MESSAGE_TOO_LARGE");
    Ok(())
}
