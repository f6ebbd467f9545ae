//! What the group looks like to an operator: who has what, what is on its way, and why it moves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Partitions;

/// Whether a member takes partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MemberStatus {
    /// It does.
    #[default]
    Active,
    /// It wants to leave: its partitions move away one by one.
    Inactive,
    /// It wants to leave, and has nothing any more.
    Defunct,
}

/// How far a warm copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Readiness {
    /// It is being restored.
    Preparing,
    /// It has caught up, and follows.
    Ready,
}

/// A member, as the leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberView {
    /// Whether it takes partitions.
    pub status: MemberStatus,
    /// Its rack, if it said so.
    pub rack: Option<String>,
    /// What it owns in this generation.
    pub owned: Partitions,
    /// What it keeps a warm copy of.
    pub warm: BTreeMap<(String, i32), Readiness>,
}

/// Where a transition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Step {
    /// The receiver restores its copy; the owner goes on.
    Preparing,
    /// The receiver is ready, and the owner was told to give the partition up.
    HandingOver,
}

/// A partition on its way from one member to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The partition.
    pub partition: (String, i32),
    /// Who has it.
    pub from: String,
    /// Who gets it.
    pub to: String,
    /// How far it is.
    pub step: Step,
    /// Why it moves.
    pub reason: MoveReason,
}

/// Why a partition moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MoveReason {
    /// Its owner has more than others.
    Balance,
    /// Its owner wants to leave.
    Drain,
    /// Nobody had it, and the receiver has a warm copy.
    UnownedWarm,
    /// Nobody had it, and nobody has a warm copy.
    UnownedCold,
    /// Two members said that it is theirs: both give it up.
    Conflict,
    /// The topics of one source belong together.
    Reunited,
}

/// A partition whose owner changes with this generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The partition.
    pub partition: (String, i32),
    /// Who had it.
    pub from: Option<String>,
    /// Who gets it: in this generation, or in the next if somebody has to give it up first.
    pub to: Option<String>,
    /// Why.
    pub reason: MoveReason,
}

/// The group in one generation, as its leader planned it. Every member gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupView {
    /// The generation.
    pub generation: i32,
    /// The assignor that planned it.
    pub protocol: String,
    /// The members, by id.
    pub members: BTreeMap<String, MemberView>,
    /// Partitions without an owner in this generation.
    pub unowned: Partitions,
    /// What is on its way.
    pub transitions: Vec<Transition>,
    /// What changes its owner with this generation.
    pub moved: Vec<Moved>,
    /// Whether this is only a part: the group is too large to tell everybody everything, or its
    /// leader is another program, and then it is this member's part.
    pub is_partial: bool,
}
