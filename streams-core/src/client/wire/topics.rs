//! What a topic is: its partitions, its id, its configuration.

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;

use super::admin::{Admin, UNKNOWN_TOPIC_OR_PARTITION, text};
use super::{ClientError, error_name};

/// The type of a topic among the resources of DescribeConfigs.
const TOPIC_RESOURCE: i8 = 2;

/// A topic, as the brokers describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// The number of partitions.
    pub partitions: i32,
    /// The topic's id, which no other topic ever has; `None` before Kafka 2.8.
    pub id: Option<u128>,
}

impl Admin {
    /// Describes `topic`; `None` if there is no such topic.
    ///
    /// # Errors
    /// If no broker answers, or the topic may not be described.
    pub async fn topic(&mut self, topic: &str) -> Result<Option<TopicDescription>, ClientError> {
        let what = || format!("describing topic `{topic}`");
        let (_, described) = self.metadata(topic).await.map_err(|error| error.during(what))?;
        match described.error_code {
            // The brokers hear of a new topic before they hear of its partitions.
            0 if described.partitions.is_empty() => Err(ClientError::no_partitions(topic)),
            0 => {
                let partitions = i32::try_from(described.partitions.len()).unwrap_or(i32::MAX);
                let id = Some(described.topic_id.as_u128()).filter(|id| *id != 0);
                Ok(Some(TopicDescription { partitions, id }))
            }
            UNKNOWN_TOPIC_OR_PARTITION => Ok(None),
            code => Err(ClientError::refused(what(), code)),
        }
    }

    /// The number of partitions of `topic`; `None` if there is no such topic.
    ///
    /// # Errors
    /// As [`Admin::topic`].
    pub async fn partitions(&mut self, topic: &str) -> Result<Option<i32>, ClientError> {
        Ok(self.topic(topic).await?.map(|topic| topic.partitions))
    }

    /// Returns the value of a topic's configuration `name`; `None` if the broker has none.
    ///
    /// # Errors
    /// If no broker answers, there is no such topic, or its configuration may not be described.
    pub async fn topic_config(
        &mut self,
        topic: &str,
        name: &str,
    ) -> Result<Option<String>, ClientError> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(text(topic))
            .with_configuration_keys(Some(vec![text(name)]));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let what = || format!("describing the configuration of topic `{topic}`");
        let reply = self.call(&request, 4).await.map_err(|error| error.during(what))?;
        let Some(described) = reply.results.into_iter().next() else {
            return Err(ClientError::connection("", "the reply describes no topic"));
        };
        if described.error_code != 0 {
            let (what, code) = (what(), described.error_code);
            let detail = described.error_message.map_or(String::new(), |m| format!(": {m}"));
            return Err(ClientError::Refused { what, name: error_name(code), code, detail });
        }
        let config = described.configs.into_iter().find(|config| &*config.name == name);
        Ok(config.and_then(|config| config.value).map(|value| value.to_string()))
    }
}
