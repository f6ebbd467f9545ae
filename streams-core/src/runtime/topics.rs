//! The topics of a source: created if they are missing, checked if they exist.

use super::builder::SourceBuilder;
use super::error::SourceError;
use crate::client::wire::{Admin, NewTopic};
use crate::handler::EventSource;

impl<A: EventSource, Missing: 'static> SourceBuilder<A, Missing> {
    /// Makes the topics that are missing, checks those that are there, and returns the number of
    /// partitions.
    pub(super) async fn make_topics(&self) -> Result<i32, SourceError> {
        let mut admin = Admin::new(&self.endpoint());
        let changelog = self.changelog_name();
        let source_partitions = match admin.partitions(&self.topic).await? {
            Some(actual) => actual,
            None => {
                let partitions = self.partitions.unwrap_or(-1);
                self.make_topic(&mut admin, &self.topic, partitions, "delete").await?;
                admin.partitions(&self.topic).await?.unwrap_or(0)
            }
        };
        if let Some(configured) = self.partitions.filter(|n| *n != source_partitions) {
            let (topic, actual) = (self.topic.clone(), source_partitions);
            return Err(SourceError::ConfiguredPartitions { topic, actual, configured });
        }
        let changelog_partitions = match admin.partitions(&changelog).await? {
            Some(actual) => actual,
            None => {
                self.make_topic(&mut admin, &changelog, source_partitions, "compact").await?;
                source_partitions
            }
        };
        if changelog_partitions != source_partitions {
            return Err(SourceError::PartitionCounts {
                source_topic: self.topic.clone(),
                source_partitions,
                changelog,
                changelog_partitions,
            });
        }
        for output in &self.outputs {
            if admin.partitions(output).await?.is_none() {
                self.make_topic(&mut admin, output, source_partitions, "delete").await?;
            }
        }
        Ok(source_partitions)
    }

    async fn make_topic(
        &self,
        admin: &mut Admin,
        name: &str,
        partitions: i32,
        cleanup: &str,
    ) -> Result<(), SourceError> {
        let mut configs = self.topic_configs.clone();
        configs.insert("cleanup.policy".to_owned(), cleanup.to_owned());
        let topic = NewTopic {
            name: name.to_owned(),
            partitions,
            replication_factor: self.replication_factor,
            configs,
        };
        if admin.create_topic(&topic).await? {
            tracing::info!(topic = name, partitions, "created");
        }
        Ok(())
    }
}
