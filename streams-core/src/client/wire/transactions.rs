//! Open transactions of others, and who of a group is alive: what a take-over asks.

use std::collections::BTreeSet;

use kafka_protocol::messages::{
    DescribeGroupsRequest, DescribeTransactionsRequest, GroupId, InitProducerIdRequest,
    ListTransactionsRequest, ProducerId, TransactionalId,
};

use super::ClientError;
use super::admin::{Admin, text};

/// The state of a transaction that its producer may still go on with.
const ONGOING: &str = "Ongoing";
const GROUP_KEY: i8 = 0;
const TRANSACTION_KEY: i8 = 1;

const INVALID_PRODUCER_EPOCH: i16 = 47;
const CONCURRENT_TRANSACTIONS: i16 = 51;
const PRODUCER_FENCED: i16 = 90;
const TRANSACTIONAL_ID_NOT_FOUND: i16 = 105;

/// A transaction that is neither committed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    /// Its transactional id.
    pub transactional_id: String,
    /// Its producer's id and epoch.
    pub producer: (i64, i16),
    /// Its producer's `transaction.timeout.ms`.
    pub timeout_ms: i32,
    /// The topics that it has written to; offsets of groups are `__consumer_offsets`.
    pub topics: BTreeSet<String>,
}

/// A member of a group, as its coordinator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The name of its connection.
    pub client_id: String,
    /// `group.instance.id` (KIP-345), if it has one.
    pub instance_id: Option<String>,
}

impl Admin {
    /// The transactional ids, of those that we may describe, with an open transaction.
    ///
    /// # Errors
    /// If a broker can't be asked, or does not know how to answer (before Kafka 3.0).
    pub async fn ongoing_transactions(&mut self) -> Result<Vec<String>, ClientError> {
        let request = ListTransactionsRequest::default().with_state_filters(vec![text(ONGOING)]);
        let mut found = Vec::new();
        for broker in self.brokers().await? {
            let reply = self.call_at(&broker, &request, 0).await?;
            if reply.error_code != 0 {
                return Err(ClientError::refused("listing transactions", reply.error_code));
            }
            let listed = reply.transaction_states.into_iter();
            found.extend(listed.map(|state| state.transactional_id.to_string()));
        }
        Ok(found)
    }

    /// The open transaction of a transactional id; `None` if it has ended.
    ///
    /// # Errors
    /// If the coordinator can't be asked, or the id may not be described.
    pub async fn open_transaction(
        &mut self,
        transactional_id: &str,
    ) -> Result<Option<OpenTransaction>, ClientError> {
        let coordinator =
            self.coordinator("transactional id", transactional_id, TRANSACTION_KEY).await?;
        let request = DescribeTransactionsRequest::default()
            .with_transactional_ids(vec![TransactionalId(text(transactional_id))]);
        let reply = self.call_at(&coordinator, &request, 0).await?;
        let Some(state) = reply.transaction_states.into_iter().next() else {
            return Ok(None);
        };
        match state.error_code {
            0 if &*state.transaction_state == ONGOING => {}
            0 | TRANSACTIONAL_ID_NOT_FOUND => return Ok(None),
            code => {
                let what = format!("describing the transaction of `{transactional_id}`");
                return Err(ClientError::refused(what, code));
            }
        }
        Ok(Some(OpenTransaction {
            transactional_id: transactional_id.to_owned(),
            producer: (state.producer_id.0, state.producer_epoch),
            timeout_ms: state.transaction_timeout_ms,
            topics: state.topics.iter().map(|topic| topic.topic.to_string()).collect(),
        }))
    }

    /// The members of a group.
    ///
    /// # Errors
    /// If the coordinator can't be asked, or the group may not be described.
    pub async fn group_members(&mut self, group: &str) -> Result<Vec<GroupMember>, ClientError> {
        let coordinator = self.coordinator("group", group, GROUP_KEY).await?;
        let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
        let reply = self.call_at(&coordinator, &request, 5).await?;
        let mut members = Vec::new();
        for described in reply.groups {
            if described.error_code != 0 {
                let what = format!("describing group `{group}`");
                return Err(ClientError::refused(what, described.error_code));
            }
            members.extend(described.members.into_iter().map(|member| GroupMember {
                client_id: member.client_id.to_string(),
                instance_id: member.group_instance_id.map(|id| id.to_string()),
            }));
        }
        Ok(members)
    }

    /// Aborts an open transaction, and fences its producer; the producer id goes with the request
    /// (KIP-360), so that nothing is done if the transactional id has another one meanwhile.
    ///
    /// Returns whether it was aborted by this. The markers are written a moment later.
    ///
    /// # Errors
    /// If the coordinator can't be asked, or we may not use the transactional id.
    pub async fn abort_transaction(&mut self, open: &OpenTransaction) -> Result<bool, ClientError> {
        let id = &open.transactional_id;
        let coordinator = self.coordinator("transactional id", id, TRANSACTION_KEY).await?;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(id))))
            .with_transaction_timeout_ms(open.timeout_ms)
            .with_producer_id(ProducerId(open.producer.0))
            .with_producer_epoch(open.producer.1);
        let reply = self.call_at(&coordinator, &request, 4).await?;
        match reply.error_code {
            // The abort has begun.
            0 | CONCURRENT_TRANSACTIONS => Ok(true),
            INVALID_PRODUCER_EPOCH | PRODUCER_FENCED => Ok(false),
            code => {
                let what = format!("aborting what `{id}` left open");
                Err(ClientError::refused(what, code))
            }
        }
    }
}
