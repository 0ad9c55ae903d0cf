//! Which node is next, and whether it may be taken out. Pure.

use ha_core::controller::VOTERS_MAX;
use ha_proto::control::{NodeStatus, ServerStatus, StatusReply};

use crate::exit::{Exit, Failure};

/// The nodes to do: those that were named, in that order, else all.
///
/// # Errors
/// A name that no node has, or a node that does not take part now.
pub(super) fn nodes(status: &StatusReply, named: &[String]) -> Result<Vec<String>, Failure> {
    let known: Vec<&str> = status.nodes.iter().map(|n| n.name.as_str()).collect();
    if let Some(stranger) = named.iter().find(|n| !known.contains(&n.as_str())) {
        return Err(Failure::new(
            Exit::NotFound,
            format!(
                "there is no node {stranger}; the nodes are {}",
                known.join(", ")
            ),
        ));
    }
    if let Some(away) = status.nodes.iter().find(|n| !is_well(status, n)) {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "{} is {}: with another one out the cluster could stand still",
                away.name, away.state
            ),
        )
        .remedy("bring it back first"));
    }
    Ok(if named.is_empty() {
        known.into_iter().map(str::to_owned).collect()
    } else {
        named.to_vec()
    })
}

/// Takes the next node out of the list: the one that leads waits for its turn.
pub(super) fn next(status: &StatusReply, left: &mut Vec<String>, leader_last: bool) -> String {
    let at = left
        .iter()
        .position(|n| !leader_last || *n != status.leader)
        .unwrap_or(0);
    left.remove(at)
}

/// Whether it gets clients. `ready --wait` is stricter: there `UP 2/3` is not enough.
pub(super) fn serves(server: &ServerStatus) -> bool {
    server.status.starts_with("UP") || server.status == "no check"
}

/// Whether it takes part as it should: it votes, or it is one of those that need not: beyond seven voters nodes stay learners,
/// and so does one of an even number.
pub(super) fn is_well(status: &StatusReply, node: &NodeStatus) -> bool {
    let votes = |n: &NodeStatus| ["leader", "follower"].contains(&n.state.as_str());
    votes(node)
        || (node.state == "learner"
            && (status.nodes.len().is_multiple_of(2)
                || status.nodes.iter().filter(|n| votes(n)).count() + 1 >= VOTERS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(states: &[(&str, &str)]) -> StatusReply {
        let nodes = states
            .iter()
            .map(|(name, state)| NodeStatus {
                name: (*name).into(),
                state: (*state).into(),
                ..NodeStatus::default()
            })
            .collect();
        StatusReply {
            nodes,
            ..StatusReply::default()
        }
    }

    #[test]
    fn all_must_be_well_before_one_is_taken_out() {
        let well = status(&[("a", "leader"), ("b", "follower")]);
        assert_eq!(nodes(&well, &[]).unwrap(), ["a", "b"]);
        assert_eq!(nodes(&well, &["b".into()]).unwrap(), ["b"]);
        assert_eq!(
            nodes(&well, &["c".into()]).unwrap_err().exit,
            Exit::NotFound
        );
        let three = [("c", "follower"), ("a", "leader"), ("b", "learner")];
        assert_eq!(
            nodes(&status(&[("a", "leader"), ("b", "unreachable")]), &[])
                .unwrap_err()
                .exit,
            Exit::Refused
        );
        assert_eq!(
            nodes(&status(&three), &["a".into()]).unwrap_err().exit,
            Exit::Refused
        );
        assert_eq!(
            nodes(&status(&three[1..]), &["a".into()]).unwrap().len(),
            1,
            "of two one votes"
        );
        let many = [
            ("a", "leader"),
            ("b", "follower"),
            ("c", "follower"),
            ("d", "follower"),
            ("e", "follower"),
            ("f", "follower"),
            ("g", "follower"),
            ("h", "learner"),
            ("i", "learner"),
        ];
        assert_eq!(
            nodes(&status(&many), &[]).unwrap().len(),
            9,
            "beyond seven nodes learn for ever"
        );
        assert_eq!(
            next(
                &StatusReply {
                    leader: "a".into(),
                    ..StatusReply::default()
                },
                &mut vec!["a".into(), "b".into()],
                true
            ),
            "b"
        );
        assert_eq!(
            next(
                &StatusReply {
                    leader: "a".into(),
                    ..StatusReply::default()
                },
                &mut vec!["a".into(), "b".into()],
                false
            ),
            "a"
        );
    }
}
