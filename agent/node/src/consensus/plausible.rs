//! What a member may say in the consensus protocol, beyond what the library checks: no member speaks for another, and
//! no number that one of them says stops the others for good.
//!
//! | said | bound | beyond it |
//! |---|---|---|
//! | a term | [`TERM_AHEAD_MAX`] above what this node knows | refused, and believed in time (`terms`): terms could come to an end |
//! | an index | [`INDEX_MAX`] | refused: it could not be counted on |
//! | who leads or wants to | the sender, by a vote that it has, or has not yet | refused |
//! | what it has acknowledged | what it was sent, and for good (`acknowledged`) | refused |
//! | entries | one after the other, of terms up to the sender's | refused: a log with a gap cannot be read again |

use ha_core::id::NodeId;
use ha_record::peer::{
    Append, AppendAnswer, Snapshot, SnapshotAnswer, Transfer, TransferAnswer, VoteAnswer,
    VoteRequest,
};
use ha_record::vote::{LogId, Vote};
use std::io;

/// A term may be so far above what is known: more than the elections that a node misses, few enough that a member
/// which claims it thousands of times a second does not come to the end of terms in centuries. What is further ahead
/// is believed in time (`terms`).
pub const TERM_AHEAD_MAX: u64 = 1 << 10;
/// More entries than can ever be written.
pub const INDEX_MAX: u64 = 1 << 60;

/// What peers say, with what makes it possible at all.
pub trait Plausible {
    /// `from` says it to a node that knows `term`.
    ///
    /// # Errors
    /// What is not possible.
    fn check(&self, from: NodeId, term: u64) -> Result<(), Implausible>;
}

/// What cannot be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Implausible {
    /// Of a term that no election can have reached.
    #[error("it is of term {0}, and this node knows only term {1}")]
    Term(u64, u64),
    /// Of an entry that cannot be.
    #[error("it speaks of entry {0}")]
    Index(u64),
    /// It speaks for another node.
    #[error("it speaks for node {0}")]
    ForAnother(NodeId),
    /// It leads by a vote that nobody has given, or asks for one that was given already.
    #[error("it leads by a vote that it was not given, or asks for one that it has")]
    Vote,
    /// It lacks what comes before the first entry.
    #[error("it lacks what comes before the first entry, which is nothing")]
    NothingBefore,
    /// It acknowledges an entry that it was not sent.
    #[error("it acknowledges entry {0}, which it was not sent")]
    NotSent(u64),
    /// Entries that do not follow each other.
    #[error("its entries do not follow each other at {0}")]
    Order(u64),
}

impl From<Implausible> for io::Error {
    fn from(what: Implausible) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, what)
    }
}

fn term_is_near(term: u64, known: u64) -> Result<(), Implausible> {
    if term <= known.saturating_add(TERM_AHEAD_MAX) && term < u64::MAX {
        Ok(())
    } else {
        Err(Implausible::Term(term, known))
    }
}

fn entry_can_be(id: Option<&LogId>, known: u64) -> Result<(), Implausible> {
    match id {
        Some(id) if id.index > INDEX_MAX => Err(Implausible::Index(id.index)),
        Some(id) => term_is_near(id.term, known),
        None => Ok(()),
    }
}

/// The vote by which `from` leads (then it was given) or wants to.
fn own(vote: &Vote, leads: bool, from: NodeId, known: u64) -> Result<(), Implausible> {
    if vote.node != from {
        return Err(Implausible::ForAnother(vote.node));
    }
    // The library takes whoever sends entries for a leader, whatever its vote says.
    if vote.committed != leads {
        return Err(Implausible::Vote);
    }
    term_is_near(vote.term, known)
}

impl Plausible for Append {
    fn check(&self, from: NodeId, term: u64) -> Result<(), Implausible> {
        own(&self.vote, true, from, term)?;
        entry_can_be(self.previous.as_ref(), term)?;
        entry_can_be(self.committed.as_ref(), term)?;
        let first = self.previous.map_or(0, |id| id.index + 1);
        for (next, entry) in (first..).zip(&self.entries) {
            if entry.id.index != next || entry.id.term > self.vote.term {
                return Err(Implausible::Order(entry.id.index));
            }
        }
        Ok(())
    }
}

impl Plausible for VoteRequest {
    fn check(&self, from: NodeId, term: u64) -> Result<(), Implausible> {
        own(&self.vote, false, from, term)?;
        entry_can_be(self.last.as_ref(), term)
    }
}

impl Plausible for Transfer {
    fn check(&self, from: NodeId, term: u64) -> Result<(), Implausible> {
        own(&self.from, true, from, term)?;
        entry_can_be(self.last.as_ref(), term)
    }
}

impl Plausible for Snapshot {
    fn check(&self, from: NodeId, term: u64) -> Result<(), Implausible> {
        own(&self.vote, true, from, term)?;
        entry_can_be(self.header.last.as_ref(), term)?;
        entry_can_be(self.header.membership.at.as_ref(), term)
    }
}

// Answers name the vote of whoever has that of the answering node: not always its own.

impl Plausible for AppendAnswer {
    fn check(&self, _: NodeId, term: u64) -> Result<(), Implausible> {
        match self {
            AppendAnswer::HigherVote(vote) => term_is_near(vote.term, term),
            AppendAnswer::Partial(upto) => entry_can_be(upto.as_ref(), term),
            AppendAnswer::Success | AppendAnswer::Conflict => Ok(()),
        }
    }
}

impl Plausible for VoteAnswer {
    fn check(&self, _: NodeId, term: u64) -> Result<(), Implausible> {
        term_is_near(self.vote.term, term)?;
        entry_can_be(self.last.as_ref(), term)
    }
}

impl Plausible for TransferAnswer {
    fn check(&self, _: NodeId, term: u64) -> Result<(), Implausible> {
        match self {
            TransferAnswer::Begun => Ok(()),
            TransferAnswer::VoteChanged { actual, .. } => term_is_near(actual.term, term),
            TransferAnswer::LogNotFlushed { actual, .. } => entry_can_be(actual.as_ref(), term),
        }
    }
}

impl Plausible for SnapshotAnswer {
    fn check(&self, _: NodeId, term: u64) -> Result<(), Implausible> {
        term_is_near(self.vote.term, term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_core::version::RecordVersion;
    use ha_record::entry::{Entry, Payload};
    use ha_record::snapshot::Header;

    const KNOWN: u64 = 7;

    fn node(i: u128) -> NodeId {
        NodeId::from_random(i)
    }

    fn vote(term: u64) -> Vote {
        Vote {
            term,
            node: node(1),
            committed: true,
        }
    }

    fn at(term: u64, index: u64) -> LogId {
        LogId { term, index }
    }

    fn append(previous: Option<LogId>, ids: &[LogId]) -> Append {
        let entry = |id: &LogId| Entry {
            version: RecordVersion(1),
            id: *id,
            payload: Payload::Blank,
        };
        Append {
            vote: vote(KNOWN),
            previous,
            committed: None,
            entries: ids.iter().map(entry).collect(),
        }
    }

    fn questions(vote: Vote, last: Option<LogId>) -> Vec<(&'static str, Box<dyn Plausible>)> {
        let header = Header {
            last,
            ..Header::default()
        };
        vec![
            (
                "append",
                Box::new(Append {
                    vote,
                    previous: last,
                    committed: last,
                    entries: Vec::new(),
                }),
            ),
            (
                "vote",
                Box::new(VoteRequest {
                    vote: Vote {
                        committed: !vote.committed,
                        ..vote
                    },
                    last,
                    transfer: true,
                }),
            ),
            (
                "transfer",
                Box::new(Transfer {
                    from: vote,
                    to: node(2),
                    last,
                }),
            ),
            (
                "snapshot",
                Box::new(Snapshot {
                    vote,
                    header,
                    state: Vec::new(),
                }),
            ),
        ]
    }

    #[test]
    fn a_member_speaks_for_itself_of_terms_and_entries_that_can_be() {
        let far = KNOWN + TERM_AHEAD_MAX + 1;
        let (good, beyond) = (Some(at(KNOWN, 9)), Some(at(KNOWN, u64::MAX)));
        for (what, message) in questions(vote(KNOWN + 1), good) {
            assert_eq!(message.check(node(1), KNOWN), Ok(()), "{what}");
            let refused = message.check(node(2), KNOWN);
            assert_eq!(refused, Err(Implausible::ForAnother(node(1))), "{what}");
            assert_eq!(message.check(node(1), 0), Ok(()), "{what}: a young node");
        }
        let not_given = Vote {
            committed: false,
            ..vote(KNOWN + 1)
        };
        for (what, message) in questions(not_given, good) {
            assert_eq!(
                message.check(node(1), KNOWN),
                Err(Implausible::Vote),
                "{what}"
            );
        }
        for term in [far, u64::MAX] {
            for (what, message) in questions(vote(term), None) {
                let refused = message.check(node(1), KNOWN);
                assert_eq!(refused, Err(Implausible::Term(term, KNOWN)), "{what}");
            }
        }
        for (what, message) in questions(vote(KNOWN), beyond) {
            let refused = message.check(node(1), KNOWN);
            assert_eq!(refused, Err(Implausible::Index(u64::MAX)), "{what}");
        }
        assert!(
            Implausible::Term(u64::MAX, u64::MAX)
                .to_string()
                .contains("18446744073709551615")
        );
        assert!(term_is_near(u64::MAX, u64::MAX).is_err());
    }

    #[test]
    fn entries_follow_each_other() {
        let before = Some(at(6, 3));
        let good = append(before, &[at(6, 4), at(7, 5)]);
        assert_eq!(good.check(node(1), KNOWN), Ok(()));
        assert_eq!(append(None, &[at(1, 0)]).check(node(1), KNOWN), Ok(()));
        for (previous, ids) in [
            (before, vec![at(6, 5)]),
            (before, vec![at(6, 4), at(6, 6)]),
            (before, vec![at(6, 4), at(6, 4)]),
            (before, vec![at(8, 4)]),
            (None, vec![at(1, 1)]),
        ] {
            let refused = append(previous, &ids).check(node(1), KNOWN);
            assert!(matches!(refused, Err(Implausible::Order(_))), "{ids:?}");
        }
    }

    #[test]
    fn no_answer_takes_terms_to_their_end() {
        let (near, far) = (vote(KNOWN + 1), vote(u64::MAX));
        let answers = |vote: Vote, id: LogId| -> Vec<Box<dyn Plausible>> {
            vec![
                Box::new(AppendAnswer::HigherVote(vote)),
                Box::new(VoteAnswer {
                    vote,
                    granted: true,
                    last: Some(id),
                }),
                Box::new(TransferAnswer::VoteChanged {
                    expected: Vote::default(),
                    actual: vote,
                }),
                Box::new(SnapshotAnswer { vote }),
            ]
        };
        for (n, answer) in answers(near, at(KNOWN, 1)).iter().enumerate() {
            assert_eq!(answer.check(node(2), KNOWN), Ok(()), "{n}");
        }
        for (n, answer) in answers(far, at(KNOWN, 1)).iter().enumerate() {
            assert!(answer.check(node(2), KNOWN).is_err(), "{n}");
        }
        let beyond = Some(at(KNOWN, u64::MAX));
        assert!(AppendAnswer::Partial(beyond).check(node(2), KNOWN).is_err());
    }
}
