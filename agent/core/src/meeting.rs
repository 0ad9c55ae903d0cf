//! What a node learns of itself when it meets others of its cluster: whether it still belongs to them.

use crate::id::NodeId;
use crate::state::Facts;
use crate::time::Timestamp;
use std::fmt;

/// How a node knows its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// See [`Facts::generation`].
    pub generation: u64,
    /// Which node went on alone last, by its id, its name, and when.
    pub recovered: Option<(NodeId, String, Timestamp)>,
}

impl Known {
    /// As the log says.
    pub fn of(facts: &Facts) -> Known {
        let recovery = facts.recovery.as_ref();
        Known {
            generation: facts.generation(),
            recovered: recovery.map(|r| (r.node, r.by.clone(), r.at)),
        }
    }
}

/// What another node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// Its name.
    pub name: String,
    /// How it knows the cluster.
    pub known: Known,
    /// Who asks was removed from it.
    pub removed: bool,
}

/// Why a node must take no part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outdated {
    /// The cluster went on without it.
    Superseded {
        /// The cluster's own by now.
        generation: u64,
        /// The name of the node that went on.
        by: String,
        /// When.
        at: Timestamp,
        /// That of this node's log.
        own: u64,
    },
    /// It was removed.
    Removed {
        /// The name of who says so.
        says: String,
    },
    /// Two nodes went on alone, each by itself: a person has to say which one counts.
    Rival {
        /// That of both.
        generation: u64,
        /// The name of the other one.
        by: String,
        /// When that was.
        at: Timestamp,
    },
}

impl Outdated {
    /// Whether nothing can make it good again but a new id.
    pub const fn is_for_good(&self) -> bool {
        !matches!(self, Outdated::Rival { .. })
    }
}

impl fmt::Display for Outdated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outdated::Superseded {
                generation,
                by,
                at,
                own,
            } => write!(
                f,
                "this cluster was recovered as generation {generation} by {by} at {at}; what is here is of generation {own} and must not serve any more. \
                 Nothing was changed. `ha-agent rejoin ADDRESS --token ...` brings this node back under its name: `ha-cli token create` on {by} prints the token"
            ),
            Outdated::Removed { says } => write!(
                f,
                "{says} says that this node was removed from the cluster. Nothing was changed. \
                 `ha-agent rejoin ADDRESS --token ...` brings it back under its name: `ha-cli token create` on {says} prints the token"
            ),
            Outdated::Rival { generation, by, at } => write!(
                f,
                "this cluster was recovered twice as generation {generation}: here, and by {by} at {at}. Nothing was changed. \
                 Decide which of both goes on, stop the agent of the other one, and run `ha-agent rejoin` there"
            ),
        }
    }
}

/// What a node that knows `own` has to take from those it met; `None`: it belongs to them, or nobody says otherwise.
pub fn judge(own: &Known, met: &[Met]) -> Option<Outdated> {
    let newest = met.iter().max_by_key(|m| m.known.generation)?;
    if newest.known.generation > own.generation {
        let (by, at) = match &newest.known.recovered {
            Some((_, by, at)) => (by.clone(), *at),
            None => (newest.name.clone(), Timestamp::default()),
        };
        return Some(Outdated::Superseded {
            generation: newest.known.generation,
            by,
            at,
            own: own.generation,
        });
    }
    let mut same = met.iter().filter(|m| m.known.generation == own.generation);
    let id = |k: &Known| k.recovered.as_ref().map(|(id, ..)| *id);
    // Who has just joined has no log yet that says by whom.
    same.clone()
        .find(|m| own.recovered.is_some() && id(&m.known) != id(own))
        .and_then(|m| m.known.recovered.clone())
        .map(|(_, by, at)| Outdated::Rival {
            generation: own.generation,
            by,
            at,
        })
        .or_else(|| {
            same.find(|m| m.removed).map(|m| Outdated::Removed {
                says: m.name.clone(),
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    fn known(generation: u64, by: u8) -> Known {
        let recovered = (generation > 1).then(|| (node(by), format!("node-{by}"), Timestamp(7)));
        Known {
            generation,
            recovered,
        }
    }

    fn met(generation: u64, by: u8, removed: bool) -> Met {
        Met {
            name: "node-9".into(),
            known: known(generation, by),
            removed,
        }
    }

    #[test]
    fn a_later_generation_ends_an_earlier_one_and_never_the_other_way_round() {
        let own = known(2, 1);
        assert_eq!(judge(&own, &[]), None, "nobody answers");
        assert_eq!(judge(&own, &[met(2, 1, false), met(1, 0, false)]), None);
        assert_eq!(
            judge(&own, &[met(1, 0, true)]),
            None,
            "what an earlier one removed is of no matter"
        );
        let later = judge(&own, &[met(1, 0, false), met(3, 2, true), met(2, 1, false)]);
        let superseded = Outdated::Superseded {
            generation: 3,
            by: "node-2".into(),
            at: Timestamp(7),
            own: 2,
        };
        assert_eq!(later, Some(superseded));
        assert!(later.is_some_and(|l| l.is_for_good()));
    }

    #[test]
    fn who_was_removed_is_told_and_two_that_went_on_alone_need_a_person() {
        let removed = judge(&known(1, 0), &[met(1, 0, false), met(1, 0, true)]);
        assert_eq!(
            removed,
            Some(Outdated::Removed {
                says: "node-9".into()
            })
        );
        let rival = judge(&known(2, 1), &[met(2, 3, true)]).unwrap();
        assert!(matches!(&rival, Outdated::Rival { by, .. } if by == "node-3"));
        assert!(!rival.is_for_good());
        for words in [rival.to_string(), removed.unwrap().to_string()] {
            assert!(words.contains("ha-agent rejoin"), "{words}");
        }
    }
}
