//! What is waited for, and what ends it.

use super::*;

#[test]
fn when_all_are_full_any_freed_slot_will_do_and_binds() {
    let mut story = Story::in_view(view(limited(backend()), None));
    story.sessions = 1;
    assert_eq!(
        story.tell(&[H::Arrived, H::GotSlot(ServerId(2)), bound(2), H::Connected]),
        [
            "wait for any",
            "bind 2",
            "connect 2 10.0.0.2:5022",
            "commit"
        ]
    );
    let mut other = Story::in_view(view(limited(backend()), None));
    other.sessions = 1;
    assert_eq!(
        other.tell(&[H::Arrived, H::GotSlot(ServerId(2)), bound(1), SLOT]),
        [
            "wait for any",
            "bind 2",
            "wait 1",
            "connect 1 10.0.0.1:5022"
        ],
        "another session of the client was bound meanwhile"
    );
    let mut known = Story::in_view(view(limited(backend()), None));
    known.sessions = 1;
    known.step(H::Arrived);
    known.view = view(limited(backend()), Some((1, NOW)));
    assert_eq!(
        short(&known.step(H::GotSlot(ServerId(2)))),
        "wait 1",
        "the view has it by now"
    );
    let mut bound_client = Story::in_view(view(limited(backend()), Some((1, NOW))));
    bound_client.sessions = 1;
    assert_eq!(short(&bound_client.step(H::Arrived)), "wait 1");
}

#[test]
fn a_full_queue_sends_elsewhere_and_a_change_chooses_again() {
    let mut story = Story::in_view(view(backend(), Some((1, NOW))));
    assert_eq!(
        story.tell(&[H::Arrived, H::QueueFull, bound(2)]),
        ["wait 1", "bind 2", "wait 2"]
    );
    assert_eq!(short(&story.step(H::QueueFull)), "give up QueueFull");
    let mut waits = Story::in_view(view(backend(), Some((1, NOW))));
    assert_eq!(
        waits.tell(&[H::Arrived, H::ServerChanged, H::QueueTimeout]),
        ["wait 1", "wait 1", "give up QueueTimeout"]
    );
}

#[test]
fn a_server_that_is_cut_is_not_waited_for() {
    let mut cut = backend();
    cut.servers[0].cut = Some(Cut::Maintenance);
    let story = Story::in_view(view(cut, None));
    let wants = |id| {
        let queue = Queue::Server(ServerId(id));
        story.dispatch.still_wants(&queue, &story.view, NOW)
    };
    assert_eq!((wants(1), wants(2), wants(9)), (false, true, false));
    let mut any = Story::in_view(view(limited(backend()), None));
    any.sessions = 1;
    any.step(H::Arrived);
    let mut down = limited(backend());
    for (servers_down, wanted) in [(0, true), (1, true), (2, false)] {
        down.servers
            .iter_mut()
            .take(servers_down)
            .for_each(|s| s.up = false);
        let queue = Queue::Backend { except: vec![] };
        let now = view(down.clone(), None);
        assert_eq!(
            any.dispatch.still_wants(&queue, &now, NOW),
            wanted,
            "{servers_down} down"
        );
    }
}

#[test]
fn who_waits_for_any_goes_home_when_the_own_server_serves_again() {
    let mut in_maintenance = limited(backend());
    in_maintenance.servers[0].cut = Some(Cut::Maintenance);
    let mut suspect = limited(backend());
    suspect.servers[0].suspect = true;
    for away in [in_maintenance, suspect] {
        let mut story = Story::in_view(view(away, Some((1, NOW))));
        story.sessions = 1;
        assert!(short(&story.step(H::Arrived)).starts_with("wait for any"));
        let queue = Queue::Backend { except: vec![] };
        let wants = |story: &Story| story.dispatch.still_wants(&queue, &story.view, NOW);
        assert!(wants(&story));
        story.view = view(limited(backend()), Some((1, NOW)));
        assert!(!wants(&story), "it is chosen for anew");
        assert_eq!(
            short(&story.step(H::GotSlot(ServerId(2)))),
            "wait 1",
            "a slot that came before that is given back"
        );
    }
}
