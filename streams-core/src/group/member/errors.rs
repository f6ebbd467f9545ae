//! What each of the coordinator's errors does.
//!
//! | code | name | what the member does |
//! |---|---|---|
//! | 27 | `REBALANCE_IN_PROGRESS` | joins again; keeps its partitions, if not eager |
//! | 22 | `ILLEGAL_GENERATION` | `Lost`: a generation began without it; joins again |
//! | 25 | `UNKNOWN_MEMBER_ID` | `Lost`: its session ended; joins as a new member |
//! | 69 | `GROUP_ID_NOT_FOUND` | the same: the group is gone |
//! | 79 | `MEMBER_ID_REQUIRED` | joins again at once, with the reply's id (KIP-394) |
//! | 15 | `COORDINATOR_NOT_AVAILABLE` | looks for it, then goes on in its generation |
//! | 16 | `NOT_COORDINATOR` | the same: it moved, or its broker restarts |
//! | 14 | `COORDINATOR_LOAD_IN_PROGRESS` | the same request again: it reads the group's log |
//! | 82 | `FENCED_INSTANCE_ID` | ends: another process has its instance id (KIP-345) |
//! | 81 | `GROUP_MAX_SIZE_REACHED` | ends: the broker's `group.max.size` |
//! | 30 | `GROUP_AUTHORIZATION_FAILED` | ends (`patience`): READ on the group is missing |
//! | 29 | `TOPIC_AUTHORIZATION_FAILED` | ends (`patience`): DESCRIBE, READ on it are missing |
//! | 31 | `CLUSTER_AUTHORIZATION_FAILED` | ends (`patience`) |
//! | 54 | `SECURITY_DISABLED` | ends (`patience`) |
//! | 58 | `SASL_AUTHENTICATION_FAILED` | ends (`patience`) |
//! | 23 | `INCONSISTENT_GROUP_PROTOCOL` | ends: no assignor that all members know |
//! | 26 | `INVALID_SESSION_TIMEOUT` | ends: the broker's bounds don't allow it |
//! | 24 | `INVALID_GROUP_ID` | ends |
//! | 35 | `UNSUPPORTED_VERSION` | ends: the broker is too old |
//! | 42 | `INVALID_REQUEST` | ends: a bug of ours, or of the broker's |
//! | else | | the same request again: it passes |
//!
//! *Again* means: after a back-off of 20 ms that doubles up to 1 s, of which between half and all
//! is waited, so that members that failed together don't come back together; a success ends it.
//! All of it is bounded by the session: when the coordinator has not heard of the member for
//! `session_timeout`, its partitions are `Lost`, whatever it was doing. How long the member goes on
//! asking is said in `patience`.

/// What an error asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Rejoin,
    /// The group went on without us.
    Lost,
    /// The same, and our member id is gone.
    LostMember,
    TakeMemberId,
    FindCoordinator,
    Retry,
    /// A permission is missing: it may be there again soon, if the member has worked before.
    Denied(&'static str),
    Fail(&'static str),
}

/// What each of the coordinator's errors asks for.
pub(super) const fn action(code: i16) -> Action {
    match code {
        27 => Action::Rejoin,
        22 => Action::Lost,
        25 | 69 => Action::LostMember,
        79 => Action::TakeMemberId,
        15 | 16 => Action::FindCoordinator,
        82 => Action::Fail("another process runs under the same instance id: give each its own"),
        81 => Action::Fail("the group is full: raise the broker's group.max.size"),
        30 => Action::Denied("the group may not be joined: grant READ on it"),
        29 => Action::Denied("the topic may not be described: grant DESCRIBE and READ on it"),
        31 => Action::Denied("the cluster does not let this user in: grant it what is missing"),
        54 => Action::Denied("the broker has no authorizer: set one up, or use no ACLs"),
        58 => Action::Denied("the cluster refuses the credentials: check user and password"),
        23 => Action::Fail(
            "the group's other members use other assignors: is the group another application's? \
             To move from one assignor to another, offer both for a while",
        ),
        26 => Action::Fail(
            "the broker does not allow this `session_timeout`: it must lie between its \
             group.min.session.timeout.ms and group.max.session.timeout.ms",
        ),
        24 => Action::Fail("the group's name is not valid"),
        35 => Action::Fail("the broker does not know this request: Kafka 2.5 or later is needed"),
        42 => Action::Fail("the broker does not understand the request: please report this"),
        // 14 and everything else is the broker's trouble.
        _ => Action::Retry,
    }
}
