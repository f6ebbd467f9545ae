//! Taking partitions over: where they go on, and how much of the changelog is to be restored.
//!
//! In this order: own them in a generation; abort what a dead owner has open ([`TakeOver`]); the
//! stable committed offset, which waits for that; the changelog's end; its last stable offset at or
//! past that end, so that reading to it misses nothing; the committed offset once more. The member
//! does not process a moved partition meanwhile, so it asks at the same time for what needs no
//! order. The changelog's end most often is where it
//! was before the committed offset was known: it is looked at beside that already, and again only
//! if it isn't.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::SourceError;
use super::history::{ChangelogTag, CommittedWith};
use super::policy::{ChangelogMissing, StartFrom};
use super::problem::TopicProblem;
use super::takeover::TakeOver;
use super::tombstones;
use super::worker::Assignment;
use crate::client::CoordinatorWatch;
use crate::client::wire::{Admin, CommittedOffset, Endpoint, Isolation, OffsetAt};
use crate::eos::Snapshot;
use crate::handler::PartitionCounts;
use crate::record::TopicPartition;

/// How long a former owner's open transaction is waited for: longer than the default
/// `transaction.max.timeout.ms` of a broker, after which it is aborted.
const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(16 * 60);
/// One take-over uses three.
const CLIENTS_MAX: usize = 3;
const STABLE_POLL: Duration = Duration::from_millis(2);
const STABLE_POLL_MAX: Duration = Duration::from_millis(250);

/// What preparing needs to know.
#[derive(Clone, Debug)]
pub(crate) struct PrepareSettings {
    pub(crate) endpoint: Endpoint,
    pub(crate) group: String,
    pub(crate) source: Arc<str>,
    pub(crate) changelog: String,
    /// The changelog topic's tag.
    pub(crate) changelog_tag: Option<ChangelogTag>,
    pub(crate) changelog_missing: ChangelogMissing,
    /// The numbers of partitions that handlers know.
    pub(crate) counts: PartitionCounts,
    pub(crate) start_from: StartFrom,
    pub(crate) outage_timeout: Duration,
    pub(crate) take_over: TakeOver,
    pub(crate) clients: Clients,
    /// Shared with the producers.
    pub(crate) coordinator: CoordinatorWatch,
}

/// Clients that are connected already: connecting takes as long as the questions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients(Arc<Mutex<Vec<Admin>>>);

impl Clients {
    pub(crate) fn take(&self, endpoint: &Endpoint) -> Admin {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| Admin::new(endpoint))
    }

    pub(crate) fn put_back(&self, client: Admin) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < CLIENTS_MAX {
            kept.push(client);
        }
    }
}

/// Finds out where these partitions of the source go on. `may_be_open` says that a former owner may
/// have died with a transaction open; one that gave them up had committed all it had begun.
pub(crate) async fn prepare(
    settings: &PrepareSettings,
    partitions: &[i32],
    may_be_open: bool,
) -> Result<Vec<Assignment>, SourceError> {
    if !may_be_open {
        return places(settings, partitions, false).await;
    }
    let (waiting, ends) = tokio::sync::oneshot::channel();
    // Beside the rest, which most often need not wait for it; and to its end, because the readers
    // of the outputs wait for it too.
    tokio::spawn(settings.take_over.clone().run(ends));
    let found = places(settings, partitions, true).await;
    drop(waiting);
    found
}

async fn places(
    settings: &PrepareSettings,
    partitions: &[i32],
    may_be_open: bool,
) -> Result<Vec<Assignment>, SourceError> {
    let mut admin = settings.clients.take(&settings.endpoint);
    let mut beside = settings.clients.take(&settings.endpoint);
    let mut begins = settings.clients.take(&settings.endpoint);
    let (source, changelog) = (&*settings.source, settings.changelog.as_str());
    let group = settings.group.as_str();
    let raw = Isolation::ReadUncommitted;
    let committed = async {
        let found = admin.committed(group, source, partitions, TAKE_OVER_TIMEOUT).await;
        found.map_err(SourceError::from)
    };
    let early = async {
        let ends = beside.offsets(changelog, partitions, OffsetAt::Latest, raw).await?;
        let tails = await_stable(&mut beside, changelog, &ends).await?;
        Ok((ends, tails))
    };
    let begins_at = async {
        let low = begins.offsets(source, partitions, OffsetAt::Earliest, raw).await?;
        let change_low = begins.offsets(changelog, partitions, OffsetAt::Earliest, raw).await?;
        Ok((low, change_low))
    };
    let (mut committed, (mut early, mut tails), (low, change_low)) =
        tokio::try_join!(committed, early, begins_at)?;
    let deadline = Instant::now() + TAKE_OVER_TIMEOUT;
    let (high, change_high) = loop {
        // Not before: what was committed may be the logs' ends.
        let (high, ends) = tokio::try_join!(
            admin.offsets(source, partitions, OffsetAt::Latest, raw),
            beside.offsets(changelog, partitions, OffsetAt::Latest, raw),
        )?;
        let change_high = match ends == early {
            true => tails,
            false => await_stable(&mut beside, changelog, &ends).await?,
        };
        if !may_be_open {
            break (high, change_high);
        }
        // The transaction that was waited for may have committed offsets too: with the state of
        // then, its events must not be processed again.
        let later = admin.committed(group, source, partitions, TAKE_OVER_TIMEOUT).await?;
        if later == committed {
            break (high, change_high);
        }
        tracing::warn!(source, ?partitions, "another member has committed during the take-over");
        if Instant::now() >= deadline {
            let (topic, partitions) = (changelog.to_owned(), partitions.to_vec());
            return Err(SourceError::Undecided { topic, partitions });
        }
        (committed, early, tails) = (later, ends, change_high);
    };
    [admin, beside, begins].into_iter().for_each(|client| settings.clients.put_back(client));
    let of = |offsets: &BTreeMap<i32, i64>, p: i32| offsets.get(&p).copied().unwrap_or(0);
    let assignment = |p: &i32| {
        let range = (of(&low, *p), of(&high, *p));
        let changelog = (of(&change_low, *p), of(&change_high, *p));
        assignment(settings, *p, committed.get(p), range, changelog)
    };
    partitions.iter().map(assignment).collect()
}

fn assignment(
    settings: &PrepareSettings,
    partition: i32,
    committed: Option<&CommittedOffset>,
    source: (i64, i64),
    changelog: (i64, i64),
) -> Result<Assignment, SourceError> {
    let committed_with = committed_with(settings, committed)?;
    let (committed, start) = start(settings, partition, committed, source)?;
    let partition = TopicPartition::new(Arc::clone(&settings.source), partition);
    Ok(Assignment { partition, committed, committed_with, start, changelog })
}

/// The first offset and the end of partitions of the changelog.
pub(crate) async fn changelog_ends(
    settings: &PrepareSettings,
    partitions: &[i32],
    isolation: Isolation,
) -> Result<BTreeMap<i32, (i64, i64)>, SourceError> {
    let mut admin = settings.clients.take(&settings.endpoint);
    let topic = settings.changelog.as_str();
    let low = admin.offsets(topic, partitions, OffsetAt::Earliest, isolation).await?;
    let high = admin.offsets(topic, partitions, OffsetAt::Latest, isolation).await?;
    settings.clients.put_back(admin);
    let ends = low.into_iter().zip(high.into_values());
    Ok(ends.map(|((partition, low), high)| (partition, (low, high))).collect())
}

/// For how long the changelog keeps tombstones; `None` if the broker does not say so.
pub(crate) async fn delete_retention(
    settings: &PrepareSettings,
) -> Result<Option<Duration>, SourceError> {
    let mut admin = settings.clients.take(&settings.endpoint);
    let value = admin.topic_config(&settings.changelog, "delete.retention.ms").await?;
    settings.clients.put_back(admin);
    Ok(value.as_deref().and_then(tombstones::parse))
}

/// Waits until everything before `ends` is committed or aborted. Returns where the records before
/// them end: to have read those is to have read all.
async fn await_stable(
    admin: &mut Admin,
    topic: &str,
    ends: &BTreeMap<i32, i64>,
) -> Result<BTreeMap<i32, i64>, SourceError> {
    let deadline = Instant::now() + TAKE_OVER_TIMEOUT;
    let mut poll = STABLE_POLL;
    loop {
        let tails = admin.tails(topic, ends).await?;
        let is_open = |(p, end): &(&i32, &i64)| tails.get(p).is_none_or(|t| t.stable < **end);
        let open: Vec<_> = ends.iter().filter(is_open).collect();
        if open.is_empty() {
            return Ok(tails.into_iter().map(|(p, tail)| (p, tail.records_end)).collect());
        }
        if Instant::now() >= deadline {
            let partitions = open.iter().map(|(partition, _)| **partition).collect();
            return Err(SourceError::Undecided { topic: topic.to_owned(), partitions });
        }
        tracing::debug!(topic, ?open, "waiting for a former owner's transaction");
        tokio::time::sleep(poll).await;
        poll = (poll * 2).min(STABLE_POLL_MAX);
    }
}

/// The changelog that the committed offset belongs to.
///
/// A start checks it too. The topic may have been created again since then, and another member may
/// have committed with it.
fn committed_with(
    settings: &PrepareSettings,
    committed: Option<&CommittedOffset>,
) -> Result<CommittedWith, SourceError> {
    let compare = |committed| ChangelogTag::compare(settings.changelog_tag, committed);
    let with = committed.map_or(CommittedWith::Unknown, compare);
    let is_accepted = settings.changelog_missing == ChangelogMissing::Accept;
    if with == CommittedWith::Another && !is_accepted {
        let (changelog, group) = (settings.changelog.clone(), settings.group.clone());
        let problem = TopicProblem::ChangelogReplaced { changelog, group };
        return Err(SourceError::Topics(vec![problem]));
    }
    Ok(with)
}

fn start(
    settings: &PrepareSettings,
    partition: i32,
    committed: Option<&CommittedOffset>,
    (low, high): (i64, i64),
) -> Result<(Option<Snapshot>, Snapshot), SourceError> {
    let at = || TopicPartition::new(Arc::clone(&settings.source), partition);
    let Some(committed) = committed else {
        let offset = match settings.start_from {
            StartFrom::Earliest => low,
            StartFrom::Latest => high,
        };
        return Ok((None, Snapshot::at(offset)));
    };
    let offset = committed.offset;
    if offset < low || offset > high {
        let group = settings.group.clone();
        let partition = at();
        return Err(SourceError::OffsetOutOfRange {
            partition,
            group,
            committed: offset,
            low,
            high,
        });
    }
    let snapshot = Snapshot::parse(offset, &committed.metadata)
        .map_err(|reason| SourceError::OffsetMetadata { partition: at(), reason })?;
    Ok((Some(snapshot.clone()), snapshot))
}
