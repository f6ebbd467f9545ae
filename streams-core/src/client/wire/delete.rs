//! What is deleted: groups and topics.

use std::time::Instant;

use kafka_protocol::messages::{DeleteGroupsRequest, DeleteTopicsRequest, GroupId, TopicName};

use super::admin::{Admin, NOT_CONTROLLER, REQUEST_TIMEOUT, UNKNOWN_TOPIC_OR_PARTITION, text};
use super::{ClientError, error_name};

/// `GROUP_ID_NOT_FOUND`.
const GROUP_ID_NOT_FOUND: i16 = 69;
/// The longest time that a broker may take to delete topics.
const DELETE_TIMEOUT_MS: i32 = 10_000;
/// The time between two looks whether a deleted topic is gone.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(20);

impl Admin {
    /// Deletes a group with its committed offsets. Returns false if there is no such group.
    ///
    /// # Errors
    /// If the group has members, no broker answers, or the group may not be deleted.
    pub async fn delete_group(&mut self, group: &str) -> Result<bool, ClientError> {
        let what = || format!("deleting group `{group}`");
        let coordinator = self.group_coordinator(group).await?;
        let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(group))]);
        let reply = self.call_at(&coordinator, &request, 2).await;
        let reply = reply.map_err(|error| error.during(what))?;
        match reply.results.first().map(|result| result.error_code) {
            Some(0) => Ok(true),
            Some(GROUP_ID_NOT_FOUND) => Ok(false),
            Some(code) => Err(ClientError::refused(what(), code)),
            None => Err(ClientError::connection(&coordinator, "the reply names no group")),
        }
    }

    /// Deletes `topic`. Returns once no broker that is asked describes it, or false if there is no
    /// such topic.
    ///
    /// # Errors
    /// If no broker answers, the topic may not be deleted, or it is still there after ten seconds.
    pub async fn delete_topic(&mut self, topic: &str) -> Result<bool, ClientError> {
        let what = || format!("deleting topic `{topic}`");
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![TopicName(text(topic))])
            .with_timeout_ms(DELETE_TIMEOUT_MS);
        let code = |reply: &kafka_protocol::messages::DeleteTopicsResponse| {
            reply.responses.first().map_or(UNKNOWN_TOPIC_OR_PARTITION, |r| r.error_code)
        };
        let mut code_of = code(&self.call(&request, 5).await.map_err(|error| error.during(what))?);
        if code_of == NOT_CONTROLLER {
            let reply = self.call_controller(&request, 5).await;
            code_of = code(&reply.map_err(|error| error.during(what))?);
        }
        match code_of {
            0 => {}
            UNKNOWN_TOPIC_OR_PARTITION => return Ok(false),
            code => return Err(ClientError::refused(what(), code)),
        }
        let started = Instant::now();
        loop {
            let (_, described) = self.metadata(topic).await.map_err(|error| error.during(what))?;
            if described.error_code == UNKNOWN_TOPIC_OR_PARTITION {
                return Ok(true);
            }
            let waited = started.elapsed();
            if waited >= REQUEST_TIMEOUT {
                let code = described.error_code;
                let reason = format!("a broker still describes it ({})", error_name(code));
                return Err(ClientError::NotReady { topic: topic.to_owned(), waited, reason });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
