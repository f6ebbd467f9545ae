//! What `incr_coop`'s members and their leader tell each other beyond the consumer protocol: JSON.
//!
//! The names are GKES's (`IncrGroupMemberMeta`, `IncrGroupMemberInstructions`), so the members of
//! both understand each other; what is ours has names of its own, which GKES does not read. A mixed
//! group is wrong nevertheless, because GKES keeps the offsets in a topic of its own.
//! Everything is read as if it came from an enemy: sizes are bounded, unknown names are skipped.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};

use super::Partitions;
use super::budget::Budget;
use super::view::{GroupView, MemberStatus};
use crate::group::view_wire::WireView;

/// The version of our own part.
const VERSION: u32 = 1;
/// What members say in ranges, and a view of 32 KiB, is far shorter; JSON takes a multiple of its
/// length when it is read.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// A reason is for people.
const REASON_CHARS_MAX: usize = 200;

type Partition = (String, i32);

/// What a member says of itself when it joins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberMeta {
    /// Copies that are being made for a transition.
    pub preparing: Partitions,
    /// Copies for a transition that have caught up.
    pub ready: Partitions,
    /// Standbys that are being made.
    pub restoring: Partitions,
    /// Standbys that have caught up.
    pub standby: Partitions,
    /// Ours, and drained: whoever is ready for one gets it in this generation, else we go on.
    pub released: Partitions,
    /// Copies that could not be made here, and why.
    pub failed: BTreeMap<Partition, String>,
    /// Whether it takes partitions.
    pub status: MemberStatus,
    /// When it began to leave, in milliseconds of the Unix epoch: the first goes first.
    pub left_at_ms: i64,
    /// Whether it knows standbys; GKES's members don't.
    pub knows_standbys: bool,
}

/// What the leader tells a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instructions {
    /// Warm copies to make for a transition: all of them from us, only the new ones from GKES.
    pub transitions: Partitions,
    /// Standbys to keep: all of them.
    pub standbys: Partitions,
    /// The member's own that others prepare for: it may release them when it joins.
    pub outgoing: Partitions,
    /// Of what is assigned to the member: what its former owner has released, so that nothing of it
    /// is in a transaction.
    pub handed_over: Partitions,
    /// Copies that are not needed any more. (GKES; ours are those that are in no list.)
    pub forget: Partitions,
    /// Whether the lists are complete, as ours are.
    pub is_complete: bool,
    /// Nothing that the member has will be moved away: it can leave.
    pub is_drained: bool,
    /// The group as the leader planned it.
    pub view: Option<GroupView>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WirePartition {
    partition: i32,
    topic: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct WireMeta {
    #[serde(deserialize_with = "null_is_empty")]
    preparing: Vec<WirePartition>,
    #[serde(deserialize_with = "null_is_empty")]
    ready: Vec<WirePartition>,
    status: i64,
    left_at: i64,
    version: u32,
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    restoring: Ranges,
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    standby: Ranges,
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    released: Ranges,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<WireFailed>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireFailed {
    partition: i32,
    topic: String,
    #[serde(default)]
    reason: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct WireInstructions {
    #[serde(deserialize_with = "null_is_empty")]
    prepare: Vec<WirePartition>,
    #[serde(deserialize_with = "null_is_empty")]
    forget: Vec<WirePartition>,
    version: u32,
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    transitions: Ranges,
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    standbys: Ranges,
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    outgoing: Ranges,
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    handed_over: Ranges,
    drained: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    view: Option<WireView>,
}

/// Partition numbers by topic, in runs: `{"t":"0-3,7"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ranges(BTreeMap<String, String>);

impl Ranges {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn of(partitions: &Partitions) -> Self {
        let mut ranges: BTreeMap<String, String> = BTreeMap::new();
        let sorted: Vec<&Partition> = partitions.iter().collect();
        for run in sorted.chunk_by(|a, b| a.0 == b.0 && a.1.checked_add(1) == Some(b.1)) {
            let text = ranges.entry(run[0].0.clone()).or_default();
            let comma = if text.is_empty() { "" } else { "," };
            let (first, last) = (run[0].1, run[run.len() - 1].1);
            let _ = match first == last {
                true => write!(text, "{comma}{first}"),
                false => write!(text, "{comma}{first}-{last}"),
            };
        }
        Self(ranges)
    }

    /// The partitions, which `budget` pays for.
    pub(super) fn read(&self, budget: &mut Budget) -> Result<Partitions, String> {
        let mut partitions = Partitions::new();
        for (topic, runs) in &self.0 {
            for run in runs.split(',') {
                let (first, last) = run.split_once('-').unwrap_or((run, run));
                let bounds = (first.parse::<i32>(), last.parse::<i32>());
                let (Ok(first @ 0..), Ok(last)) = bounds else {
                    return Err(format!("`{run}` is no run of partitions"));
                };
                let length = usize::try_from(i64::from(last) - i64::from(first) + 1);
                let length = length.map_err(|_| format!("`{run}` runs backwards"))?;
                budget.pay_for(topic, length)?;
                partitions.extend((first..=last).map(|number| (topic.clone(), number)));
            }
        }
        Ok(partitions)
    }
}

fn from_bytes<'de, T: Deserialize<'de>>(bytes: &'de Bytes) -> Result<T, String> {
    if bytes.len() > BYTES_MAX {
        return Err(format!("{} bytes, and {BYTES_MAX} are the most", bytes.len()));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// Go writes an empty list as `null`.
fn null_is_empty<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn to_list(partitions: &Partitions) -> Vec<WirePartition> {
    let one = |(topic, partition): &Partition| WirePartition {
        partition: *partition,
        topic: topic.clone(),
    };
    partitions.iter().map(one).collect()
}

fn from_list(list: Vec<WirePartition>) -> Partitions {
    list.into_iter().map(|one| (one.topic, one.partition)).collect()
}

fn to_bytes(value: &impl Serialize) -> Bytes {
    // Strings and integers alone: it can't fail.
    serde_json::to_vec(value).map_or_else(|_| Bytes::new(), Bytes::from)
}

impl MemberMeta {
    /// As JSON.
    pub fn encode(&self) -> Bytes {
        let failed = self.failed.iter().map(|((topic, partition), reason)| WireFailed {
            partition: *partition,
            topic: topic.clone(),
            reason: reason.chars().take(REASON_CHARS_MAX).collect(),
        });
        to_bytes(&WireMeta {
            preparing: to_list(&self.preparing),
            ready: to_list(&self.ready),
            status: self.status.code(),
            left_at: self.left_at_ms,
            version: VERSION,
            restoring: Ranges::of(&self.restoring),
            standby: Ranges::of(&self.standby),
            released: Ranges::of(&self.released),
            failed: failed.collect(),
        })
    }

    /// Reads what a member says; one that says nothing is active and has no copies.
    ///
    /// # Errors
    /// If the bytes make no sense.
    pub fn decode(bytes: Option<&Bytes>) -> Result<Self, String> {
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            return Ok(Self::default());
        };
        let wire: WireMeta = from_bytes(bytes)?;
        let mut budget = Budget::new();
        let failed = wire.failed.into_iter().map(|one| {
            let reason = one.reason.chars().take(REASON_CHARS_MAX).collect();
            ((one.topic, one.partition), reason)
        });
        Ok(Self {
            preparing: from_list(wire.preparing),
            ready: from_list(wire.ready),
            restoring: wire.restoring.read(&mut budget)?,
            standby: wire.standby.read(&mut budget)?,
            released: wire.released.read(&mut budget)?,
            failed: failed.collect(),
            status: MemberStatus::from_code(wire.status),
            left_at_ms: wire.left_at,
            knows_standbys: wire.version > 0,
        })
    }
}

/// Instructions in the making: the view is the same for all members.
pub(super) fn encode_instructions(
    instructions: &Instructions,
    prepare: &Partitions,
    view: Option<&WireView>,
) -> Bytes {
    to_bytes(&WireInstructions {
        prepare: to_list(prepare),
        forget: to_list(&instructions.forget),
        version: VERSION,
        transitions: Ranges::of(&instructions.transitions),
        standbys: Ranges::of(&instructions.standbys),
        outgoing: Ranges::of(&instructions.outgoing),
        handed_over: Ranges::of(&instructions.handed_over),
        drained: instructions.is_drained,
        view: view.cloned(),
    })
}

impl Instructions {
    /// Reads what the leader says; one that says nothing wants no copies.
    ///
    /// # Errors
    /// If the bytes make no sense.
    pub fn decode(bytes: Option<&Bytes>) -> Result<Self, String> {
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            return Ok(Self::default());
        };
        let wire: WireInstructions = from_bytes(bytes)?;
        let mut budget = Budget::new();
        let is_complete = wire.version > 0;
        Ok(Self {
            transitions: match is_complete {
                true => wire.transitions.read(&mut budget)?,
                false => from_list(wire.prepare),
            },
            standbys: wire.standbys.read(&mut budget)?,
            outgoing: wire.outgoing.read(&mut budget)?,
            handed_over: wire.handed_over.read(&mut budget)?,
            forget: from_list(wire.forget),
            is_complete,
            is_drained: wire.drained,
            view: wire.view.map(|view| view.read(&mut budget)).transpose()?,
        })
    }
}

impl MemberStatus {
    /// GKES's number of it.
    const fn code(self) -> i64 {
        match self {
            Self::Active => 0,
            Self::Inactive => 1,
            Self::Defunct => 2,
        }
    }

    const fn from_code(code: i64) -> Self {
        match code {
            1 => Self::Inactive,
            2 => Self::Defunct,
            _ => Self::Active,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(numbers: std::ops::Range<i32>) -> Partitions {
        numbers.map(|number| ("orders".to_owned(), number)).collect()
    }

    #[test]
    fn u9_a_short_message_does_not_take_gigabytes() {
        let name = "x".repeat(1_000_000);
        let messages = [
            // A long name for each of many numbers.
            format!(r#"{{"Version":1,"Standby":{{"{name}":"0-199999"}}}}"#),
            format!(r#"{{"Version":1,"Standbys":{{"{name}":"0-199999"}}}}"#),
            // More numbers than there is memory for.
            r#"{"Version":1,"Released":{"t":"0-2147483647"}}"#.to_owned(),
            r#"{"Version":1,"Outgoing":{"t":"0-2147483647"}}"#.to_owned(),
            // A long message as such.
            format!(r#"{{"Version":1,"Extra":"{}"}}"#, "x".repeat(BYTES_MAX)),
        ];
        for message in messages {
            let bytes = Bytes::from(message);
            let (meta, told) =
                (MemberMeta::decode(Some(&bytes)), Instructions::decode(Some(&bytes)));
            let reason = meta.err().or_else(|| told.err());
            assert!(reason.is_some(), "{:?}", bytes.slice(..60));
        }
        // A long id for each of many moves.
        let moved = r#"{"Topic":"t","Partition":0,"From":0,"To":0,"Reason":"Balance"}"#;
        let moved = vec![moved; 20_000].join(",");
        let members = format!(r#"[{{"Id":"{name}","Status":"Active"}}]"#);
        let view = format!(r#"{{"Members":{members},"Moved":[{moved}]}}"#);
        let bytes = Bytes::from(format!(r#"{{"Version":1,"View":{view}}}"#));
        assert!(Instructions::decode(Some(&bytes)).is_err());
    }

    #[test]
    fn u9_a_large_group_can_be_read() {
        let meta = MemberMeta { standby: partitions(0..400_000), ..MemberMeta::default() };
        let read = MemberMeta::decode(Some(&meta.encode())).unwrap();
        assert_eq!(read.standby.len(), 400_000);
    }

    /// Each byte of good messages is turned into others: an error or a value, and no panic.
    #[test]
    fn u9_odd_user_data_is_no_panic() {
        let meta = MemberMeta {
            preparing: partitions(0..2),
            released: partitions(4..9),
            failed: [(("orders".to_owned(), 7), "no disk".to_owned())].into(),
            ..MemberMeta::default()
        };
        let mut view = GroupView { generation: 3, ..GroupView::default() };
        view.unowned = partitions(0..3);
        let told = Instructions { outgoing: partitions(0..3), ..Instructions::default() };
        let told = encode_instructions(&told, &partitions(0..1), WireView::of(&view).as_ref());
        for message in [meta.encode(), told] {
            for at in 0..message.len() {
                for byte in *b"\0\"{}[]0-,9:\\\xff" {
                    let mut odd = message.to_vec();
                    odd[at] = byte;
                    let odd = Bytes::from(odd);
                    let _ = MemberMeta::decode(Some(&odd));
                    let _ = Instructions::decode(Some(&odd));
                }
            }
        }
        let deep = Bytes::from("[".repeat(100_000));
        assert!(MemberMeta::decode(Some(&deep)).is_err());
    }
}
