//! What follows a connect that failed.

use super::*;

#[test]
fn a_connect_that_fails_is_tried_elsewhere_until_the_retries_are_over() {
    let mut story = Story::in_view(view(backend(), None));
    let first = story.tell(&[H::Arrived, bound(1), SLOT, H::ConnectFailed]);
    assert_eq!(
        first[3], "settle",
        "the binding to the one that failed is under way"
    );
    assert_eq!(
        story.tell(&[H::Settled, bound(2), SLOT, H::ConnectFailed]),
        [
            "bind anew 2",
            "wait 2",
            "connect 2 10.0.0.2:5022",
            "give up ConnectFailed"
        ],
        "both have failed"
    );
    let mut never = backend();
    never.retries = 0;
    let mut story = Story::in_view(view(never, Some((1, NOW))));
    assert_eq!(
        story.tell(&[H::Arrived, SLOT, H::ConnectFailed])[2],
        "give up ConnectFailed"
    );
}

#[test]
fn without_redispatch_the_same_server_is_tried_after_the_turn_around() {
    let mut stays = backend();
    stays.redispatch = false;
    let mut story = Story::in_view(view(stays, Some((1, NOW))));
    let again = [SLOT, H::ConnectFailed, H::Paused];
    assert_eq!(short(&story.step(H::Arrived)), "wait 1");
    for _ in 0..3 {
        assert_eq!(
            story.tell(&again),
            ["connect 1 10.0.0.1:5022", "pause 1s", "wait 1"]
        );
    }
    assert_eq!(story.tell(&again[..2])[1], "give up ConnectFailed");
}

/// Bound to server 1, which fails in this way again and again.
fn failing(backend: BackendView, how: Happened) -> Vec<String> {
    let mut story = Story::in_view(view(backend, Some((1, NOW))));
    let mut told = vec![short(&story.step(H::Arrived))];
    let mut next = SLOT;
    while told.len() < 12 && !told.iter().any(|t| t.starts_with("give up")) {
        let step = short(&story.step(next));
        next = match step.split(' ').next() {
            Some("connect") if step.starts_with("connect 1") => how,
            Some("connect") => H::Connected,
            Some("pause") => H::Paused,
            Some("bind") => bound(2),
            Some("forward" | "commit") => {
                told.push(step);
                break;
            }
            _ => SLOT,
        };
        if !step.starts_with("wait") {
            told.push(step);
        }
    }
    told
}

#[test]
fn a_bound_client_is_tried_at_its_server_again_and_goes_elsewhere_with_its_last_try_only() {
    let connect = "connect 1 10.0.0.1:5022";
    assert_eq!(
        failing(backend(), H::ConnectFailed),
        [
            "wait 1",
            connect,
            "pause 1s",
            connect,
            "pause 1s",
            connect,
            "bind anew 2",
            "connect 2 10.0.0.2:5022",
            "commit"
        ][..9]
    );
    let mut quick = backend();
    quick.connect_timeout = Duration::from_millis(300);
    assert_eq!(
        failing(quick, H::ConnectFailed)[2],
        "pause 300ms",
        "the turn-around is as long as a connect may take, a second at most"
    );
    assert_eq!(
        failing(backend(), H::ConnectTimedOut)[1..5],
        [connect, connect, connect, "bind anew 2"],
        "what took its whole time has waited long enough"
    );
}

#[test]
fn who_came_back_within_the_turn_around_keeps_its_client() {
    let mut story = Story::in_view(view(backend(), Some((1, NOW))));
    assert_eq!(
        story.tell(&[
            H::Arrived,
            SLOT,
            H::ConnectFailed,
            H::Paused,
            SLOT,
            H::Connected
        ])[2..],
        [
            "pause 1s",
            "wait 1",
            "connect 1 10.0.0.1:5022",
            "forward 1 AsBefore"
        ]
    );
}

#[test]
fn a_server_found_down_or_all_alone_is_left_at_once_or_never() {
    let mut story = Story::in_view(view(backend(), Some((1, NOW))));
    story.tell(&[H::Arrived, SLOT]);
    let mut down = backend();
    down.servers[0].up = false;
    story.view = view(down, Some((1, NOW)));
    assert_eq!(
        short(&story.step(H::ConnectFailed)),
        "bind anew 2",
        "the checks know by now"
    );
    let mut alone = backend();
    alone.servers[1].up = false;
    let told = failing(alone, H::ConnectFailed);
    assert_eq!(
        told.iter().filter(|t| t.starts_with("connect 1")).count(),
        4
    );
    assert_eq!(
        told.last().map(String::as_str),
        Some("give up ConnectFailed")
    );
}

#[test]
fn who_belongs_to_a_server_by_its_hash_is_tried_there_again_too() {
    let mut hashed = backend();
    (hashed.balance, hashed.persistence) = (crate::model::Balance::Source, None);
    let mut story = Story::in_view(view(hashed, None));
    story.tell(&[H::Arrived, SLOT]);
    assert_eq!(short(&story.step(H::ConnectFailed)), "pause 1s");
}

#[test]
fn without_a_port_towards_its_server_a_client_is_served_elsewhere_and_stays_bound() {
    let mut story = Story::in_view(view(backend(), Some((1, NOW))));
    assert_eq!(
        story.tell(&[H::Arrived, SLOT, H::NoPortLeft, SLOT, H::Connected])[2..],
        ["wait 2", "connect 2 10.0.0.2:5022", "forward 2 AsBefore"]
    );
    let mut never = backend();
    never.retries = 0;
    let mut story = Story::in_view(view(never, None));
    assert_eq!(
        story.tell(&[H::Arrived, bound(1), SLOT, H::NoPortLeft])[3],
        "give up Resources"
    );
}
