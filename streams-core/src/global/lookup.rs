//! What a global changelog asks the brokers for: the topic, and the ends of its partitions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::builder::{CleanupPolicy, GlobalSettings};
use super::error::GlobalError;
use crate::client::wire::{Admin, ClientError, Isolation, NewTopic, OffsetAt, TopicDescription};
use crate::runtime::tombstones::{DELETE_RETENTION, copy_age_max, parse};

const CLEANUP_POLICY: &str = "cleanup.policy";
/// `TOPIC_AUTHORIZATION_FAILED` and `CLUSTER_AUTHORIZATION_FAILED`.
const REFUSED_BY_ACL: [i16; 2] = [29, 31];

/// An answer to a look-up.
#[derive(Debug)]
pub(super) struct Found {
    /// When the brokers were asked.
    pub(super) asked_at: Instant,
    pub(super) topic: TopicDescription,
    /// The first offsets, of the partitions that they were asked for.
    pub(super) lows: BTreeMap<i32, i64>,
    /// The ends of the committed records, of all partitions.
    pub(super) ends: BTreeMap<i32, i64>,
}

/// Asks for the topic and its ends; for the first offsets of the partitions from `lows_from` on.
/// `None` if there is no such topic.
pub(super) async fn look_up(
    admin: &mut Admin,
    topic: &str,
    lows_from: i32,
) -> Result<Option<Found>, ClientError> {
    let Some(described) = admin.topic(topic).await? else {
        return Ok(None);
    };
    let partitions: Vec<i32> = (0..described.partitions).collect();
    let new: Vec<i32> = (lows_from..described.partitions).collect();
    let mut lows = BTreeMap::new();
    if !new.is_empty() {
        lows = admin.offsets(topic, &new, OffsetAt::Earliest, Isolation::ReadUncommitted).await?;
    }
    // The ends are at least as new as this time.
    let asked_at = Instant::now();
    let committed = Isolation::ReadCommitted;
    let ends = admin.offsets(topic, &partitions, OffsetAt::Latest, committed).await?;
    Ok(Some(Found { asked_at, topic: described, lows, ends }))
}

/// Checks the topic, and creates it if that is wanted. Returns with the look-up for how long a
/// reader may lack the topic's end without missing a tombstone; `None` if the topic has none.
pub(super) async fn prepare(
    admin: &mut Admin,
    settings: &GlobalSettings,
) -> Result<(Found, Option<Duration>), GlobalError> {
    let topic = settings.topic.as_str();
    let failed = |source| GlobalError::Client { topic: topic.to_owned(), source };
    let missing = || GlobalError::TopicMissing { topic: topic.to_owned() };
    match (admin.topic(topic).await.map_err(failed)?, settings.create) {
        (Some(_), _) => {}
        (None, None) => return Err(missing()),
        (None, Some(partitions)) => create(admin, settings, partitions).await.map_err(failed)?,
    }
    let behind_max = check_policy(admin, settings).await?;
    let found = look_up(admin, topic, 0).await.map_err(failed)?.ok_or_else(missing)?;
    Ok((found, behind_max))
}

async fn create(
    admin: &mut Admin,
    settings: &GlobalSettings,
    partitions: i32,
) -> Result<(), ClientError> {
    let mut configs = settings.topic_configs.clone();
    let policy = settings.cleanup_policy.unwrap_or_default().name();
    configs.insert(CLEANUP_POLICY.to_owned(), policy.to_owned());
    let topic = NewTopic {
        name: settings.topic.clone(),
        partitions,
        replication_factor: settings.replication_factor,
        configs,
    };
    if admin.create_topic(&topic).await? {
        tracing::info!(topic = topic.name, partitions, policy, "created the topic");
    }
    Ok(())
}

/// Checks the cleanup policy. Returns for how long a reader may lack the topic's end.
async fn check_policy(
    admin: &mut Admin,
    settings: &GlobalSettings,
) -> Result<Option<Duration>, GlobalError> {
    let Some(actual) = config(admin, settings, CLEANUP_POLICY).await? else {
        return Ok(Some(copy_age_max(DELETE_RETENTION)));
    };
    if let Some(expected) = settings.cleanup_policy.filter(|policy| !policy.is_met_by(&actual)) {
        let (topic, expected) = (settings.topic.clone(), expected.name().to_owned());
        return Err(GlobalError::CleanupPolicy { topic, expected, actual });
    }
    if !CleanupPolicy::compacts(&actual) {
        return Ok(None);
    }
    let retention = config(admin, settings, "delete.retention.ms").await?;
    let retention = retention.and_then(|value| parse(&value)).unwrap_or(DELETE_RETENTION);
    Ok(Some(copy_age_max(retention)))
}

/// Returns a configuration of the topic; `None` if this client may not see it.
async fn config(
    admin: &mut Admin,
    settings: &GlobalSettings,
    name: &str,
) -> Result<Option<String>, GlobalError> {
    let topic = settings.topic.as_str();
    match admin.topic_config(topic, name).await {
        Err(error) if error.code().is_some_and(|code| REFUSED_BY_ACL.contains(&code)) => {
            tracing::warn!(
                topic, name, %error,
                "cannot read a configuration of the topic: grant DESCRIBE_CONFIGS on the topic"
            );
            Ok(None)
        }
        Err(source) => Err(GlobalError::Client { topic: topic.to_owned(), source }),
        Ok(actual) => Ok(Some(actual.unwrap_or_default())),
    }
}
