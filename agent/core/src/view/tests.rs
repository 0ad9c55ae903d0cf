//! What becomes of sessions, and what two views share.

use super::*;
use crate::command::{AdminOrder, AdminTarget, Command, DrainEnd, Stamped};
use crate::state::ClusterState;
use crate::testing::{backend, config, member, node, server};

/// What becomes of the sessions of the only server after these commands.
fn cut(on_down: OnDown, commands: Vec<Command>) -> Option<Cut> {
    let mut state = ClusterState::default();
    let mut b = backend("b", vec![server(1)]);
    b.on_down = on_down;
    let configure = Command::Configure {
        config: config(vec![b]),
        text: String::new(),
        expect: None,
    };
    let first = [Command::AddMember(member(1)), configure];
    for command in first.into_iter().chain(commands) {
        let (at, by) = (Timestamp(1), String::new());
        state
            .apply(&Stamped {
                at,
                by,
                command,
                request: None,
            })
            .unwrap();
    }
    let routes = Routes::from_facts(&state.facts, &Overlay::default());
    routes.backends[0].servers[0].cut
}

#[test]
fn what_has_not_changed_is_shared_with_the_routes_before() {
    let mut state = ClusterState::default();
    let mut apply = |command| {
        let (at, by) = (Timestamp(1), String::new());
        state
            .apply(&Stamped {
                at,
                by,
                command,
                request: None,
            })
            .unwrap();
        state.facts.clone()
    };
    let mut moves = backend("moves", vec![server(1)]);
    moves.servers[0].address = Some([10, 0, 0, 1].into());
    let mut stays = moves.clone();
    stays.name = "stays".to_owned();
    let facts = apply(Command::Configure {
        config: config(vec![moves, stays]),
        text: String::new(),
        expect: None,
    });
    let first = Arc::new(Routes::from_facts(&facts, &Overlay::default()));
    let same = Routes::following(&first, &facts, &Overlay::default());
    assert!(Arc::ptr_eq(&first, &same));

    first.backends[0].ring.pick([10, 9, 9, 9].into(), |_| true);
    let down = Overlay {
        health: BTreeMap::from([(first.backends[0].servers[0].id, false)]),
        ..Overlay::default()
    };
    let after = Routes::following(&first, &facts, &down);
    assert!(!after.backends[0].servers[0].up);
    assert!(!Arc::ptr_eq(&after.backends[0], &first.backends[0]));
    assert!(Arc::ptr_eq(&after.backends[1], &first.backends[1]));
    assert!(after.backends[0].ring.is_made(), "health moves no points");
}

fn order(state: AdminState, then: Option<AdminState>) -> Command {
    Command::SetAdmin {
        target: AdminTarget::Node(node(1)),
        order: AdminOrder {
            state,
            then,
            ..AdminOrder::default()
        },
        force: true,
        expect: None,
    }
}

#[test]
fn maintenance_cuts_sessions_as_on_down_says_and_the_end_of_a_drain_in_any_case() {
    let maintenance = || vec![order(AdminState::Maintenance, None)];
    let drained = |then| {
        let end = Command::DrainEnded {
            target: AdminTarget::Node(node(1)),
            began: Timestamp(1),
            end: DrainEnd::Deadline,
        };
        vec![order(AdminState::Drain, then), end]
    };
    let then_maintenance = || drained(Some(AdminState::Maintenance));
    for (on_down, commands, expected) in [
        (OnDown::Purge, maintenance(), Some(Cut::Maintenance)),
        (OnDown::Keep, maintenance(), None),
        (OnDown::Purge, then_maintenance(), Some(Cut::Maintenance)),
        (OnDown::Keep, then_maintenance(), Some(Cut::Drained)),
        (OnDown::Keep, drained(None), Some(Cut::Drained)),
        (OnDown::Keep, drained(Some(AdminState::Ready)), None),
    ] {
        assert_eq!(cut(on_down, commands.clone()), expected, "{commands:?}");
    }
}
