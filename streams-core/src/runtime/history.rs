//! Whether a changelog and the group's committed offsets belong together.

use std::fmt;

use crate::client::wire::CommittedOffset;
use crate::eos::changelog_tag;

/// A short form of a changelog topic's id. It travels in the metadata of each committed offset, so
/// that a topic of the same name that was created later is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChangelogTag(u32);

impl ChangelogTag {
    /// The tag of the topic with this id: its 128 bits, folded into 32.
    #[expect(clippy::cast_possible_truncation, reason = "each step keeps 32 bits")]
    pub(crate) const fn of(id: u128) -> Self {
        Self((id ^ (id >> 32) ^ (id >> 64) ^ (id >> 96)) as u32)
    }

    /// Returns which changelog a committed offset belongs to; `None` is a tag that is not known.
    pub(crate) fn compare(this: Option<Self>, committed: &CommittedOffset) -> CommittedWith {
        let tag = changelog_tag(&committed.metadata);
        match this.map(|this| this.to_string()).zip(tag) {
            None => CommittedWith::Unknown,
            Some((this, tag)) if this == tag => CommittedWith::This,
            Some(_) => CommittedWith::Another,
        }
    }
}

impl fmt::Display for ChangelogTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// The changelog topic that a committed offset belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CommittedWith {
    /// The offset has no tag: no offset is committed, or an earlier version or a tool committed it,
    /// or the brokers have no topic ids.
    #[default]
    Unknown,
    /// The topic that the source uses now.
    This,
    /// Another topic, which had this name before or has another name.
    Another,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_committed_offset_tells_the_topic_that_it_belongs_to() {
        let this = ChangelogTag::of(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        let committed = |metadata: String| CommittedOffset { offset: 7, metadata };
        let tagged = committed(format!("s1:#5eed.0.7~{this}"));
        assert_eq!(ChangelogTag::compare(Some(this), &tagged), CommittedWith::This);
        let other = ChangelogTag::of(0x0123_4567_89ab_cdef_0011_2233_4455_6678);
        assert_eq!(ChangelogTag::compare(Some(other), &tagged), CommittedWith::Another);
        assert_eq!(ChangelogTag::compare(None, &tagged), CommittedWith::Unknown);
        let earlier = committed("s1:#5eed.0.7".to_owned());
        assert_eq!(ChangelogTag::compare(Some(this), &earlier), CommittedWith::Unknown);
        assert_eq!(this.to_string().len(), 8);
    }
}
