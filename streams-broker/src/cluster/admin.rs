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
            RequestKind::ApiVersions(r) => {
                let transactions = self.settings.transactions.version;
                let names = [&r.client_software_name, &r.client_software_version];
                let legal = version < 3 || names.iter().all(|name| is_software(name));
                let code = if legal { codes::NONE } else { codes::INVALID_REQUEST };
                ResponseKind::ApiVersions(api_versions(version, code, transactions))
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

/// What a client may call itself (KIP-511).
fn is_software(name: &str) -> bool {
    let ends = [name.chars().next(), name.chars().next_back()];
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    ends.iter().all(|end| end.is_some_and(|c| c.is_ascii_alphanumeric())) && name.chars().all(legal)
}
