//! What an evil member answers, who that is, and what its node does not say of its own will.

use super::scheduler::{self, between, draw, happens};
use super::universe::Universe;
use super::upgrade::OLD;
use ha_core::id::NodeId;
use ha_core::lease::Refusal;
use ha_node::consensus::plausible::{INDEX_MAX, TERM_AHEAD_MAX};
use ha_node::consensus::terms::TERM_STEP;
use ha_node::outside::Call;
use ha_record::lease::LeaseAnswer;
use ha_record::peer::{AppendAnswer, TransferAnswer, VoteAnswer};
use ha_record::vote::{LogId, Vote};
use ha_record::{Record, decode_message, encode_message};
use std::sync::PoisonError;

/// The member that is evil at the moment.
fn who(universe: &Universe) -> Option<NodeId> {
    *universe.evil.lock().unwrap_or_else(PoisonError::into_inner)
}

/// That member is evil from now on; nobody.
pub fn set(universe: &Universe, member: Option<NodeId>) {
    *universe.evil.lock().unwrap_or_else(PoisonError::into_inner) = member;
}

/// Whether what that node says of its own will is not heard: all that it says in these runs is said here.
pub fn is_gagged(universe: &Universe, from: NodeId, call: Call) -> bool {
    who(universe) == Some(from) && !matches!(call, Call::PreVote)
}

/// What that node answers, with a lie now and then: that it knows better, that it has less.
pub fn answered(universe: &Universe, to: usize, call: Call, answer: Vec<u8>) -> Vec<u8> {
    let is_evil = who(universe) == Some(universe.id_of(to));
    if !is_evil || !happens(100) {
        return answer;
    }
    lie(universe, to, call, &answer).unwrap_or(answer)
}

fn lie(universe: &Universe, to: usize, call: Call, answer: &[u8]) -> Option<Vec<u8>> {
    let running = universe.running(to)?;
    let known = running.consensus.news().term;
    let vote = Vote {
        term: term(known),
        node: NodeId::from_random(u128::from(draw())),
        committed: happens(500),
    };
    let upto = Some(LogId {
        term: term(known),
        index: index(0),
    });
    match call {
        Call::Lease => {
            let mut reply: LeaseAnswer = decode_message(OLD, answer).ok()?;
            reply.result = Err(match scheduler::below(4) {
                0 => Refusal::LaterTerm(vote.term),
                1 => Refusal::Promised(vote.node),
                2 => Refusal::UnknownTerm(vote.term),
                _ => Refusal::Released,
            });
            (reply.report.eligible, reply.report.why_not) = (true, "\u{1b}[2J\n".repeat(100));
            said(&reply)
        }
        Call::AppendEntries => said(&match scheduler::below(3) {
            0 => AppendAnswer::HigherVote(vote),
            1 => AppendAnswer::Conflict,
            _ => AppendAnswer::Partial(upto.filter(|_| happens(700))),
        }),
        Call::Vote | Call::PreVote => said(&VoteAnswer {
            vote,
            granted: false,
            last: upto,
        }),
        Call::TransferLeader => said(&TransferAnswer::VoteChanged {
            expected: vote,
            actual: vote,
        }),
        Call::InstallSnapshot | Call::Release => None,
    }
}

/// A message as its sender writes it.
pub(super) fn said<T: Record>(message: &T) -> Option<Vec<u8>> {
    encode_message(OLD.max, OLD, message).ok()
}

/// A term, as somebody may claim it who knows `known`.
pub(super) fn term(known: u64) -> u64 {
    match scheduler::below(8) {
        0 => u64::MAX,
        1 => known.saturating_add(TERM_AHEAD_MAX).saturating_add(1),
        2 => known.saturating_add(between(1, 4) * TERM_STEP),
        3 if happens(500) => known.saturating_add(between(1, TERM_AHEAD_MAX)),
        3 => known.saturating_sub(between(1, 4)),
        4 => 0,
        5 => known.saturating_add(between(1, 4)),
        _ => known,
    }
}

/// An index, as somebody may claim it who knows `known`.
pub(super) fn index(known: u64) -> u64 {
    match scheduler::below(4) {
        0 => u64::MAX,
        1 => INDEX_MAX - 1,
        2 => known.saturating_add(between(1, 1000)),
        _ => known,
    }
}
