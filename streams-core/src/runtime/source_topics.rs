//! A source's topics as data, and their creation and deletion apart from a start.

use super::builder::SourceBuilder;
use super::error::SourceError;
use super::start::runtime;
use crate::client::wire::Admin;
use crate::handler::EventSource;

/// The names of what a source uses. GKES: `Source`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceTopics {
    /// The source topic. GKES: `Source.Topic`.
    pub topic: String,
    /// The changelog topic. GKES: `Source.StateStoreTopicName`.
    pub changelog: String,
    /// The group. GKES: `Source.GroupId`.
    pub group: String,
    /// The topics that handlers and error policies send to, as far as the settings declare them.
    pub outputs: Vec<String>,
    /// The number of partitions of the source topic and of the changelog; `None` if neither the
    /// settings nor the cluster have told it. GKES: `Source.NumPartitions`.
    pub partitions: Option<i32>,
}

impl<A: EventSource, Missing: 'static> SourceBuilder<A, Missing> {
    /// Returns the names of what the source uses, as far as these settings tell. GKES: `Source`.
    ///
    /// # Examples
    /// ```
    /// # use streams_core::SourceBuilder;
    /// # fn names<A: streams_core::EventSource>() {
    /// let topics = A::builder().group("billing").topic("orders").topics();
    /// assert_eq!(topics.changelog, "gkes_change_log_orders_billing");
    /// # }
    /// ```
    pub fn topics(&self) -> SourceTopics {
        SourceTopics {
            topic: self.topic.clone(),
            changelog: self.changelog_name(),
            group: self.group.group_id.clone(),
            outputs: self.output_names().map(str::to_owned).collect(),
            partitions: self.partitions,
        }
    }

    /// Checks the topics that exist and creates those that are missing, as
    /// [`start`](Self::start) does, without starting the source: for a deployment step whose rights
    /// the application does not have ([`CreateTopics::Never`](super::CreateTopics::Never)). Blocks.
    /// GKES: `CreateSource`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn create(self) -> Result<SourceTopics, SourceError> {
        let settings = self.check()?;
        let created = block(settings.await_topics())??;
        Ok(SourceTopics { partitions: Some(created.partitions), ..settings.topics() })
    }

    /// Deletes the group with its committed offsets, then the source topic and the changelog.
    /// **All events and all state of the source are gone after that**: this is for tests and for
    /// applications whose topics are transient. The method leaves the topics that handlers send to
    /// alone, because other applications read them. Returns what it has deleted. Blocks. GKES:
    /// `DeleteSource`.
    ///
    /// # Errors
    /// If the group has members (`NON_EMPTY_GROUP`): then nothing is deleted. If no broker answers,
    /// or this client may not delete.
    pub fn delete(self) -> Result<Vec<String>, SourceError> {
        let settings = self.check()?;
        let SourceTopics { topic, changelog, group, .. } = settings.topics();
        let mut admin = Admin::new(&settings.endpoint());
        block(async move {
            let mut deleted = Vec::new();
            if admin.delete_group(&group).await? {
                deleted.push(group);
            }
            for topic in [topic, changelog] {
                if admin.delete_topic(&topic).await? {
                    deleted.push(topic);
                }
            }
            tracing::warn!(?deleted, "deleted the source");
            Ok(deleted)
        })?
    }
}

/// Waits for `future` on a thread of its own: the caller may be inside of an async runtime.
fn block<T: Send>(future: impl Future<Output = T> + Send) -> Result<T, SourceError> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| Ok(runtime()?.block_on(future)));
        let gone = || Err(SourceError::Thread("the administration thread panicked".to_owned()));
        thread.join().unwrap_or_else(|_| gone())
    })
}
