//! The topics of a source: checked if they exist, created if they are missing.

use std::collections::BTreeSet;
use std::time::Instant;

use super::builder::SourceBuilder;
use super::error::SourceError;
use super::history::{ChangelogTag, CommittedWith};
use super::outage::Retry;
use super::policy::{ChangelogMissing, CreateTopics, NewPartitions};
use super::problem::{TopicProblem, TopicRole};
use crate::client::wire::{Admin, ClientError, NewTopic, TopicDescription};
use crate::eos::is_ours;
use crate::handler::EventSource;

const CLEANUP_POLICY: &str = "cleanup.policy";
const COMPACT: &str = "compact";
const DELETE: &str = "delete";

/// `TOPIC_AUTHORIZATION_FAILED` and `CLUSTER_AUTHORIZATION_FAILED`.
const REFUSED_BY_ACL: [i16; 2] = [29, 31];

/// The topics of a source that starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Topics {
    /// The number of partitions of source and changelog.
    pub(crate) partitions: i32,
    /// The tag of the changelog; `None` before Kafka 2.8.
    pub(crate) changelog: Option<ChangelogTag>,
}

/// A topic that does not exist yet.
struct MissingTopic<'t> {
    role: TopicRole,
    name: &'t str,
}

impl<A: EventSource, Unshared: 'static> SourceBuilder<A, Unshared> {
    /// Checks and creates the topics, and waits out an outage meanwhile (C3). After an outage it
    /// begins again, because the topics may have changed.
    ///
    /// # Errors
    /// If no broker answers from the beginning, if the cluster refuses, or after `outage_timeout`.
    pub(super) async fn await_topics(&self) -> Result<Topics, SourceError> {
        let mut admin = Admin::new(&self.endpoint());
        let mut retry = Retry::starting(Instant::now(), self.outage_timeout);
        loop {
            match self.prepare_topics(&mut admin).await {
                Ok(topics) => return Ok(topics),
                Err(error) => {
                    if admin.has_answered() {
                        retry.reached();
                    }
                    retry.wait(error).await?;
                }
            }
        }
    }

    /// Checks the topics that exist, and creates those that are missing. It creates none if one is
    /// unsuitable. It may be called again after an error.
    async fn prepare_topics(&self, admin: &mut Admin) -> Result<Topics, SourceError> {
        let changelog = self.changelog_name();
        let (mut problems, mut missing) = (Vec::new(), Vec::new());
        let source = admin.topic(&self.topic).await?;
        let partitions = source.map(|source| source.partitions).or(self.partitions);
        match source {
            None => missing.push(MissingTopic { role: TopicRole::Source, name: &self.topic }),
            Some(source) => problems.extend(self.configured(source)),
        }
        let mut grows_to = None;
        let found = admin.topic(&changelog).await?;
        match found {
            None => missing.push(MissingTopic { role: TopicRole::Changelog, name: &changelog }),
            Some(found) => {
                grows_to = source.map(|source| source.partitions).filter(|count| {
                    self.growth.policy == NewPartitions::Use && *count > found.partitions
                });
                if grows_to.is_none() {
                    problems.extend(partitions.and_then(|count| self.counts(count, found)));
                }
                problems.extend(cleanup_policy(admin, &changelog).await?);
            }
        }
        if let Some(source) = source {
            problems.extend(self.state(admin, source, found).await?);
        }
        for name in self.output_names() {
            if admin.topic(name).await?.is_none() {
                missing.push(MissingTopic { role: TopicRole::Output, name });
            }
        }
        if self.create_topics == CreateTopics::Never {
            let lost =
                |problem: &TopicProblem| matches!(problem, TopicProblem::ChangelogMissing { .. });
            // One line a topic: the missing state says more than the missing topic.
            let is_lost = problems.iter().any(lost);
            let listed = missing.iter().filter(|m| !is_lost || m.role != TopicRole::Changelog);
            problems.extend(listed.map(|missing| TopicProblem::Missing {
                role: missing.role,
                topic: missing.name.to_owned(),
                partitions,
            }));
        }
        if !problems.is_empty() {
            return Err(SourceError::Topics(problems));
        }
        self.create_missing(admin, &missing, partitions).await?;
        self.learn_counts(admin).await?;
        let found = match found {
            Some(found) => found,
            None => created(admin, &changelog).await?,
        };
        let changelog = found.id.map(ChangelogTag::of);
        let Some(partitions) = grows_to else {
            return Ok(Topics { partitions: found.partitions, changelog });
        };
        let (topic, from) = (self.changelog_name(), found.partitions);
        admin.grow_topic(&topic, partitions).await?;
        tracing::warn!(topic, from, to = partitions, "the source has grown: so has its changelog");
        Ok(Topics { partitions, changelog })
    }

    /// The topics that handlers forward to, and those of dead letters, each once.
    pub(super) fn output_names(&self) -> impl Iterator<Item = &str> {
        let outputs = self.outputs.iter().map(String::as_str);
        let names: BTreeSet<&str> = outputs.chain(self.errors.dead_letter_topics()).collect();
        names.into_iter()
    }

    /// Tells the handlers how many partitions the declared topics have.
    async fn learn_counts(&self, admin: &mut Admin) -> Result<(), ClientError> {
        let declared = self.outputs.iter().chain([&self.topic]).cloned().collect();
        let counts = admin.counts(&declared).await?;
        let known = counts.into_iter().filter_map(|(topic, count)| Some((topic, count.ok()?)));
        self.partition_counts.learn(known);
        Ok(())
    }

    fn configured(&self, source: TopicDescription) -> Option<TopicProblem> {
        let (topic, actual) = (self.topic.clone(), source.partitions);
        let configured = self.partitions.filter(|configured| *configured != actual)?;
        Some(TopicProblem::ConfiguredPartitions { topic, actual, configured })
    }

    fn counts(&self, source_partitions: i32, found: TopicDescription) -> Option<TopicProblem> {
        (found.partitions != source_partitions).then(|| TopicProblem::PartitionCounts {
            source_topic: self.topic.clone(),
            source_partitions,
            changelog: self.changelog_name(),
            changelog_partitions: found.partitions,
        })
    }

    /// The state that belongs to the committed offsets is in the changelog, or the group has none.
    async fn state(
        &self,
        admin: &mut Admin,
        source: TopicDescription,
        changelog: Option<TopicDescription>,
    ) -> Result<Option<TopicProblem>, ClientError> {
        let (group, partitions) = (self.group.group_id.clone(), 0..source.partitions);
        let partitions: Vec<i32> = partitions.collect();
        let committed = admin.committed_so_far(&group, &self.topic, &partitions).await?;
        let name = self.changelog_name();
        let problem = match changelog {
            // A group that another client used has no state yet.
            None if !committed.values().any(|offset| is_ours(&offset.metadata)) => return Ok(None),
            None => {
                let source_topic = self.topic.clone();
                TopicProblem::ChangelogMissing { changelog: name, group, source_topic }
            }
            Some(changelog) => {
                let this = changelog.id.map(ChangelogTag::of);
                let is_another =
                    |offset: &_| ChangelogTag::compare(this, offset) == CommittedWith::Another;
                if !committed.values().any(is_another) {
                    return Ok(None);
                }
                TopicProblem::ChangelogReplaced { changelog: name, group }
            }
        };
        if self.changelog_missing == ChangelogMissing::Accept {
            tracing::warn!(%problem, "accepted, as `changelog_missing` says");
            return Ok(None);
        }
        Ok(Some(problem))
    }

    async fn create_missing(
        &self,
        admin: &mut Admin,
        missing: &[MissingTopic<'_>],
        partitions: Option<i32>,
    ) -> Result<(), SourceError> {
        let mut partitions = partitions;
        for MissingTopic { role, name } in missing {
            // Without a number the source topic gets the cluster's, and is the first to be created.
            let count = partitions.unwrap_or(-1);
            let cleanup = if *role == TopicRole::Changelog { COMPACT } else { DELETE };
            self.create_topic(admin, name, count, cleanup).await?;
            if partitions.is_none() {
                partitions = Some(created(admin, name).await?.partitions);
            }
        }
        Ok(())
    }

    async fn create_topic(
        &self,
        admin: &mut Admin,
        name: &str,
        partitions: i32,
        cleanup: &str,
    ) -> Result<(), SourceError> {
        let mut configs = self.topic_configs.clone();
        configs.insert(CLEANUP_POLICY.to_owned(), cleanup.to_owned());
        let topic = NewTopic {
            name: name.to_owned(),
            partitions,
            replication_factor: self.replication_factor,
            configs,
        };
        if admin.create_topic(&topic).await? {
            tracing::info!(topic = name, partitions, "created a topic");
        }
        Ok(())
    }
}

/// Describes a topic that was created a moment ago: a broker that does not know it has not heard of
/// it yet.
async fn created(admin: &mut Admin, name: &str) -> Result<TopicDescription, ClientError> {
    let found = admin.topic(name).await?;
    found.ok_or_else(|| ClientError::unknown_topic(name))
}

/// Kafka must not delete a changelog's records, only compact them.
async fn cleanup_policy(
    admin: &mut Admin,
    changelog: &str,
) -> Result<Option<TopicProblem>, ClientError> {
    let policy = match admin.topic_config(changelog, CLEANUP_POLICY).await {
        Err(error) if error.code().is_some_and(|code| REFUSED_BY_ACL.contains(&code)) => {
            tracing::warn!(
                changelog, %error,
                "cannot check that the changelog is compacted: grant DESCRIBE_CONFIGS on the topic"
            );
            return Ok(None);
        }
        policy => policy?,
    };
    let is_compact = |policy: &String| policy.split(',').all(|one| one.trim() == COMPACT);
    let wrong = policy.filter(|policy| !is_compact(policy));
    Ok(wrong.map(|policy| {
        let changelog = changelog.to_owned();
        TopicProblem::CleanupPolicy { changelog, policy }
    }))
}
