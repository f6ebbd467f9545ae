//! Partitions that are added to the source's topic while the source runs.
//!
//! Each member asks for the number of partitions from time to time. The group can use as many as
//! source *and* changelog have, so the changelog decides: if it is not grown, by
//! [`NewPartitions::Use`] or by hand, the new partitions are assigned to no member.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Control, Done};
use crate::client::wire::ClientError;
use crate::group::GroupCommand;
use crate::runtime::policy::NewPartitions;
use crate::runtime::prepare::PrepareSettings;

/// How often the number of partitions is looked at.
pub(crate) const CHECK_DEFAULT: Duration = Duration::from_secs(60);
pub(crate) const CHECK_MIN: Duration = Duration::from_millis(100);
pub(crate) const CHECK_MAX: Duration = Duration::from_secs(24 * 3_600);

/// What to do about new partitions, and how soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Growth {
    pub(crate) policy: NewPartitions,
    pub(crate) every: Duration,
}

impl Default for Growth {
    fn default() -> Self {
        Self { policy: NewPartitions::default(), every: CHECK_DEFAULT }
    }
}

/// How many partitions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    source: i32,
    changelog: i32,
}

impl Control {
    pub(crate) const fn watching(mut self, growth: Growth) -> Self {
        self.growth = growth;
        self
    }

    /// Asks how many partitions there are, and grows the changelog if it is to be.
    pub(super) fn look_for_partitions(&self) {
        let (settings, done, policy) =
            (self.settings.clone(), self.done.clone(), self.growth.policy);
        tokio::spawn(async move {
            let counted = count(&settings, policy).await;
            let _ = done.send(Done::Counted(counted));
        });
    }

    pub(super) fn counted(&self, counted: Result<Option<Counted>, ClientError>) {
        let topic = &*self.settings.source;
        let Counted { source, changelog } = match counted {
            Ok(Some(counted)) => counted,
            // A broker that has just started may not know them yet.
            Ok(None) => return,
            Err(error) => {
                return tracing::warn!(topic, %error, "can't ask for the number of partitions");
            }
        };
        self.state.unused(changelog.min(source)..source);
        if source > changelog {
            let name = &self.settings.changelog;
            let last = source - 1;
            tracing::error!(
                topic,
                source,
                changelog,
                "topic `{topic}` has grown to {source} partitions, and its changelog `{name}` has \
                 {changelog}: no member reads partitions {changelog} to {last}. Keys have changed \
                 their partition, and their state has not. Choose: copy the topic into a new one, \
                 and process that with a new group; or, if neither state nor the order of a key's \
                 events matters, set `new_partitions(NewPartitions::Use)`; or grow the changelog \
                 by hand. Until then a member that starts anew reports the same, and ends"
            );
        }
        let usable = source.min(changelog);
        let _ = self.group.send(GroupCommand::Partitions(topic.to_owned(), usable));
    }
}

async fn count(
    settings: &PrepareSettings,
    policy: NewPartitions,
) -> Result<Option<Counted>, ClientError> {
    let mut admin = settings.clients.take(&settings.endpoint);
    let (source, changelog) = (settings.source.to_string(), settings.changelog.clone());
    let mut topics = BTreeSet::from([source.clone(), changelog.clone()]);
    topics.extend(settings.counts.topics().map(str::to_owned));
    let counts = admin.counts(&topics).await?;
    let known = counts.iter().filter_map(|(topic, count)| Some((topic.clone(), (*count).ok()?)));
    settings.counts.learn(known);
    let of = |topic: &String| counts.get(topic).copied().and_then(Result::ok);
    let counted = match (of(&source), of(&changelog)) {
        (Some(source), Some(changelog)) => Counted { source, changelog },
        _ => return Ok(None),
    };
    if counted.source > counted.changelog && policy == NewPartitions::Use {
        admin.grow_topic(&changelog, counted.source).await?;
        let (from, to) = (counted.changelog, counted.source);
        tracing::warn!(source, changelog, from, to, "the source has grown: so has its changelog");
        settings.clients.put_back(admin);
        return Ok(Some(Counted { changelog: counted.source, ..counted }));
    }
    settings.clients.put_back(admin);
    Ok(Some(counted))
}
