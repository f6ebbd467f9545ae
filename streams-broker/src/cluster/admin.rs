//! The requests of administrators, and those of groups that are answered at once.

use kafka_protocol::messages::{RequestKind, ResponseKind};

use super::{Cluster, api_versions, codes};

impl Cluster {
    /// The response; `None` if the request is of another kind.
    pub(super) fn administer(
        &mut self,
        version: i16,
        request: RequestKind,
    ) -> Option<ResponseKind> {
        Some(match request {
            RequestKind::ApiVersions(_) => {
                let transactions = self.settings.transactions.version;
                ResponseKind::ApiVersions(api_versions(version, codes::NONE, transactions))
            }
            RequestKind::Metadata(r) => ResponseKind::Metadata(self.metadata(version, &r)),
            RequestKind::CreateTopics(r) => {
                ResponseKind::CreateTopics(self.create_topics(version, &r))
            }
            RequestKind::DeleteTopics(r) => ResponseKind::DeleteTopics(self.delete_topics(&r)),
            RequestKind::CreatePartitions(r) => {
                ResponseKind::CreatePartitions(self.create_partitions(&r))
            }
            RequestKind::DescribeConfigs(r) => {
                ResponseKind::DescribeConfigs(self.describe_configs(&r))
            }
            RequestKind::IncrementalAlterConfigs(r) => {
                ResponseKind::IncrementalAlterConfigs(self.incremental_alter_configs(&r))
            }
            RequestKind::AlterConfigs(r) => ResponseKind::AlterConfigs(self.alter_configs(&r)),
            RequestKind::DescribeCluster(r) => {
                ResponseKind::DescribeCluster(self.describe_cluster(&r))
            }
            RequestKind::DescribeTopicPartitions(r) => {
                ResponseKind::DescribeTopicPartitions(self.describe_topic_partitions(&r))
            }
            RequestKind::FindCoordinator(r) => {
                ResponseKind::FindCoordinator(self.find_coordinator(version, &r))
            }
            RequestKind::OffsetCommit(r) => {
                ResponseKind::OffsetCommit(self.offset_commit(version, &r))
            }
            RequestKind::OffsetFetch(r) => {
                ResponseKind::OffsetFetch(self.offset_fetch(version, &r))
            }
            RequestKind::OffsetDelete(r) => ResponseKind::OffsetDelete(self.offset_delete(&r)),
            RequestKind::Heartbeat(r) => ResponseKind::Heartbeat(self.heartbeat(&r)),
            RequestKind::LeaveGroup(r) => ResponseKind::LeaveGroup(self.leave_group(version, &r)),
            RequestKind::ListGroups(r) => ResponseKind::ListGroups(self.list_groups(&r)),
            RequestKind::DescribeGroups(r) => {
                ResponseKind::DescribeGroups(self.describe_groups(version, &r))
            }
            RequestKind::DeleteGroups(r) => ResponseKind::DeleteGroups(self.delete_groups(&r)),
            _ => return None,
        })
    }
}
