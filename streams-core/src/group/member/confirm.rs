//! Confirmations: an answer of the coordinator that is newer than a worker's question.
//!
//! A producer that is fenced may be a zombie's or a twin's, and the group knows which. So the
//! worker asks the member, and the member reports the first answer of the coordinator to a request
//! that it sent *after* the question and that names its member id. An answer to an earlier request
//! proves nothing: the coordinator may have expelled the member since. A heartbeat confirms the
//! generation also if it says `REBALANCE_IN_PROGRESS`, because the coordinator checks member id,
//! instance id and generation first. If all partitions are lost, `Lost` is the answer.

use std::time::Instant;

use super::{Member, State};
use crate::group::GroupEvent;

/// The questions that wait for an answer of the coordinator.
#[derive(Clone, Debug, Default)]
pub(super) struct Confirmations {
    /// The number of requests that the member has sent.
    requests: u64,
    /// Each question with the number of requests that were sent before it.
    questions: Vec<(u64, u64)>,
}

impl Confirmations {
    /// Counts a request.
    pub(super) const fn sent(&mut self) {
        self.requests += 1;
    }

    /// Drops all questions: `Lost` is their answer.
    pub(super) fn clear(&mut self) {
        self.questions.clear();
    }
}

impl Member {
    /// Asks for a proof that the coordinator still counts on this member in its generation.
    /// [`GroupEvent::Confirmed`] repeats `question`; if the partitions are lost meanwhile, `Lost`
    /// comes instead. The next heartbeat is due at once.
    pub fn confirm(&mut self, now: Instant, question: u64) {
        self.confirmations.questions.push((self.confirmations.requests, question));
        if let State::Stable { heartbeat_at, asked: false, .. } = &mut self.state {
            *heartbeat_at = now.min(*heartbeat_at);
        }
    }

    /// The coordinator has accepted the last request, and so this member and its generation.
    pub(super) fn confirmed(&mut self) {
        let Confirmations { requests, questions } = &mut self.confirmations;
        let answered = questions.extract_if(.., |(before, _)| *before < *requests);
        let confirmed = answered.map(|(_, question)| GroupEvent::Confirmed { question });
        self.events.extend(confirmed);
    }
}

#[cfg(test)]
mod tests {
    use crate::group::member::tests::Bench;
    use crate::group::{GroupEvent, GroupReply, GroupRequest};

    const NONE: [u64; 0] = [];

    fn confirmed(bench: &mut Bench) -> Vec<u64> {
        let events = bench.events().into_iter();
        let question = |event| match event {
            GroupEvent::Confirmed { question } => Some(question),
            _ => None,
        };
        events.filter_map(question).collect()
    }

    #[test]
    fn a_heartbeat_that_was_sent_before_the_question_confirms_nothing() {
        let mut bench = Bench::new();
        bench.join(1, &[0], &[]);
        bench.wait(std::time::Duration::from_millis(150));
        assert!(matches!(bench.request(), Some(GroupRequest::Heartbeat { .. })));
        bench.member.confirm(bench.now, 7);
        bench.member.confirm(bench.now, 8);
        bench.reply(GroupReply::Heartbeat { code: 0 });
        assert_eq!(confirmed(&mut bench), NONE);
        bench.heartbeat(0);
        assert_eq!(confirmed(&mut bench), [7, 8]);
        bench.heartbeat(0);
        assert_eq!(confirmed(&mut bench), NONE, "once");
    }

    #[test]
    fn a_question_makes_the_next_heartbeat_due_at_once() {
        let mut bench = Bench::new();
        bench.join(1, &[0], &[]);
        bench.heartbeat(0);
        assert_eq!(bench.request(), None);
        bench.member.confirm(bench.now, 1);
        assert!(matches!(bench.request(), Some(GroupRequest::Heartbeat { .. })));
        bench.reply(GroupReply::Heartbeat { code: 0 });
        assert_eq!(confirmed(&mut bench), [1]);
    }

    #[test]
    fn a_rebalance_and_a_new_generation_confirm_the_member() {
        let mut bench = Bench::new();
        bench.join(1, &[0], &[]);
        bench.member.confirm(bench.now, 1);
        bench.heartbeat(27);
        assert_eq!(confirmed(&mut bench), [1], "the generation is checked before the rebalance");
        bench.member.confirm(bench.now, 2);
        bench.join_request();
        assert_eq!(confirmed(&mut bench), NONE);
        bench.joined(2);
        assert_eq!(confirmed(&mut bench), [2]);
    }

    #[test]
    fn a_loss_is_the_answer_too() {
        for code in [22, 25] {
            let mut bench = Bench::new();
            bench.join(1, &[0], &[]);
            bench.member.confirm(bench.now, 1);
            bench.heartbeat(code);
            let events = bench.events();
            assert!(matches!(events[..], [GroupEvent::Lost { .. }]), "{events:?}");
            bench.join(2, &[0], &[]);
            bench.heartbeat(0);
            assert_eq!(confirmed(&mut bench), NONE, "the question is answered");
        }
    }
}
