//! A request takes effect once, however often it is asked for; and a change is made to what its giver saw.

use super::ideal::RegisterKey;
use ha_core::command::{Answer, Outcome, Rejection};
use ha_core::request::RequestId;
use std::collections::BTreeMap;

/// One attempt at a change.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub id: RequestId,
    /// What it is about.
    pub subject: RegisterKey,
    /// The number of the order or configuration that it was made from.
    pub expect: u64,
}

/// Every answer that was given.
#[derive(Debug, Default)]
pub struct Once {
    answers: BTreeMap<RequestId, Answer>,
    /// Changes that were made: from which number to which, and by which request.
    made: BTreeMap<RegisterKey, Vec<(u64, u64, RequestId)>>,
}

impl Once {
    /// An attempt was answered, whether or not anybody still waits for it.
    ///
    /// # Errors
    /// Another attempt at it was answered otherwise, or the change was made to something else than was seen.
    pub fn on_answer(&mut self, change: Change, answer: &Answer) -> Result<(), String> {
        let Change {
            id,
            subject,
            expect,
        } = change;
        if *answer == Err(Rejection::AskedTooLongAgo) {
            return Ok(());
        }
        let first = self.answers.entry(id).or_insert_with(|| answer.clone());
        if first != answer {
            return Err(format!(
                "once: request {id} about {subject:?} was answered {first:?}, and at another attempt {answer:?}"
            ));
        }
        let now = match answer {
            Ok(Outcome::Ordered { number, .. }) => *number,
            Ok(Outcome::Configured(version)) => *version,
            _ => return Ok(()),
        };
        let made = self.made.entry(subject).or_default();
        let between = made
            .iter()
            .find(|(from, to, by)| *by != id && now > expect && *from < now && expect < *to);
        if let Some((from, to, by)) = between {
            return Err(format!(
                "seen: request {id} about {subject:?} was made after {expect} and became {now}, beside request {by}, made after {from}, which became {to}"
            ));
        }
        made.push((expect, now, id));
        Ok(())
    }
}
