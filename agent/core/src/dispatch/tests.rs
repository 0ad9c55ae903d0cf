//! The rule book of one session, as stories: what happened on the left, the next step on the right.

mod failing;
mod waiting;

use super::*;
use crate::balance::{AllTurns, Loads, Ring};
use crate::model::{
    AdminState, Balance, BindingMode, ClientLimit, Frontend, OnDown, Persistence, PortRange, Sticky,
};
use crate::stick::{StickEntry, StickIndex, StickKey};
use crate::time::Timestamp;
use crate::view::{Cut, FrontendView, Routes};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 7, 21));
const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 100));
const NOW: Timestamp = Timestamp(1_000_000);

/// So many sessions on each server.
struct Each(u32);
impl Loads for Each {
    fn sessions(&self, _: &ServerView) -> u32 {
        self.0
    }
    fn random(&mut self) -> u64 {
        7
    }
}

fn server(id: u32) -> ServerView {
    ServerView {
        id: ServerId(id),
        name: format!("s{id}"),
        address: Some(IpAddr::from([10, 0, 0, id as u8])),
        port: None,
        weight: 1,
        backup: false,
        maxconn: 0,
        admin: AdminState::Ready,
        sticky: Sticky::Honour,
        up: true,
        suspect: false,
        cut: None,
    }
}

/// Two servers, bindings that are committed, three retries elsewhere.
fn backend() -> BackendView {
    let s = Duration::from_secs;
    let servers = vec![server(1), server(2)];
    BackendView {
        name: "b".into(),
        balance: Balance::RoundRobin,
        persistence: Some(Persistence {
            expire: s(1800),
            group: "b".into(),
            mask_v4: 32,
            mask_v6: 128,
            mode: BindingMode::Commit,
        }),
        group: "b".into(),
        on_down: OnDown::Purge,
        connect_timeout: s(5),
        server_timeout: s(60),
        server_fin_timeout: s(20),
        keepalive: s(15),
        queue_timeout: s(4),
        maxqueue: 9,
        retries: 3,
        redispatch: true,
        ring: Ring::of(&servers),
        servers,
    }
}

fn view(backend: BackendView, bound: Option<(u32, Timestamp)>) -> View {
    let mut stick = StickIndex::default();
    if let Some((id, used_at)) = bound {
        let key = backend.stick_key(CLIENT).expect("it binds");
        stick.put(key, entry(id, used_at), 9);
    }
    let spec = Frontend {
        name: "f".into(),
        virtual_ips: vec!["v".into()],
        listeners: vec![PortRange {
            first: 5022,
            last: 5022,
        }],
        backend: "b".into(),
        maxconn: 0,
        limit: ClientLimit::default(),
        client_timeout: Duration::from_secs(30),
        client_fin_timeout: Duration::from_secs(10),
        keepalive: Duration::from_secs(15),
    };
    let frontends = vec![FrontendView {
        spec,
        addresses: vec![VIP],
        backend: 0,
    }];
    View {
        routes: Arc::new(Routes {
            frontends,
            backends: vec![Arc::new(backend)],
        }),
        stick: stick.table().clone(),
    }
}

fn entry(id: u32, used_at: Timestamp) -> StickEntry {
    StickEntry {
        server: ServerId(id),
        host: IpAddr::from([10, 0, 0, id as u8]),
        bound_at: used_at,
        used_at,
        expire: Duration::from_secs(1800),
    }
}

/// A session in one view, and what is done for it.
struct Story {
    dispatch: Dispatch,
    view: View,
    turns: AllTurns,
    sessions: u32,
    under_way: bool,
    waited_for: ServerId,
}

/// Of every client, or of none.
struct All(bool);
impl UnderWay for All {
    fn is_under_way(&self, _: &StickKey) -> bool {
        self.0
    }
}

/// A slot of the server that is waited for.
const SLOT: Happened = Happened::GotSlot(ServerId(0));

impl Story {
    fn in_view(view: View) -> Story {
        Story {
            dispatch: Dispatch::new(CLIENT, SocketAddr::new(VIP, 5022)),
            view,
            turns: AllTurns::default(),
            sessions: 0,
            under_way: false,
            waited_for: ServerId(0),
        }
    }

    fn step(&mut self, happened: Happened) -> Step {
        let happened = match happened {
            SLOT => H::GotSlot(self.waited_for),
            other => other,
        };
        let step = self.dispatch.step(
            happened,
            &mut Around {
                view: &self.view,
                now: NOW,
                turns: &mut self.turns,
                loads: &mut Each(self.sessions),
                under_way: &All(self.under_way),
            },
        );
        if let Step::Wait(PlaceInLine {
            queue: Queue::Server(server),
            ..
        }) = &step
        {
            self.waited_for = *server;
        }
        step
    }

    /// Each step in short.
    fn tell(&mut self, happened: &[Happened]) -> Vec<String> {
        happened.iter().map(|h| short(&self.step(*h))).collect()
    }
}

fn short(step: &Step) -> String {
    match step {
        Step::Settle => "settle".into(),
        Step::Bind {
            proposal,
            remembered,
            ..
        } => match remembered {
            Remembered::Counts => format!("bind {}", proposal.server.0),
            Remembered::IsReplaced => format!("bind anew {}", proposal.server.0),
        },
        Step::Refresh(_, entry) => format!("refresh {}", entry.server.0),
        Step::Wait(line) => match &line.queue {
            Queue::Server(server) => format!("wait {}", server.0),
            Queue::Backend { except } if except.is_empty() => "wait for any".into(),
            Queue::Backend { except } => format!("wait for any but {}", except[0].0),
        },
        Step::Connect {
            server, address, ..
        } => format!("connect {} {address}", server.0),
        Step::Pause(pause) => format!("pause {pause:?}"),
        Step::Commit => "commit".into(),
        Step::Forward(f) => format!("forward {} {:?}", f.server.0, f.binding),
        Step::GiveUp(reason) => format!("give up {reason:?}"),
    }
}

use Happened as H;

fn bound(id: u32) -> Happened {
    H::Bound(entry(id, NOW))
}

#[test]
fn a_new_client_is_bound_and_its_first_byte_waits_for_the_commit() {
    let mut story = Story::in_view(view(backend(), None));
    assert_eq!(
        story.tell(&[H::Arrived, bound(1), SLOT, H::Connected, H::Committed]),
        [
            "bind 1",
            "wait 1",
            "connect 1 10.0.0.1:5022",
            "commit",
            "forward 1 Committed"
        ]
    );
    let mut late = Story::in_view(view(backend(), None));
    late.tell(&[H::Arrived, bound(1), SLOT, H::Connected]);
    assert_eq!(
        short(&late.step(H::Uncommitted)),
        "forward 1 Uncommitted",
        "availability comes first"
    );
}

#[test]
fn a_bound_client_goes_to_its_server_and_a_use_is_logged_when_a_quarter_has_passed() {
    let mut fresh = Story::in_view(view(backend(), Some((2, NOW))));
    assert_eq!(
        fresh.tell(&[H::Arrived, SLOT, H::Connected]),
        ["wait 2", "connect 2 10.0.0.2:5022", "forward 2 AsBefore"]
    );
    let quarter = Timestamp(NOW.0 - 450_000);
    let mut old = Story::in_view(view(backend(), Some((2, quarter))));
    assert_eq!(
        old.tell(&[H::Arrived, H::Refreshed, SLOT, H::Connected, H::Committed])[..2],
        ["refresh 2", "wait 2"]
    );
}

#[test]
fn another_session_of_the_same_client_decides_for_this_one() {
    let mut story = Story::in_view(view(backend(), None));
    assert_eq!(
        story.tell(&[H::Arrived, bound(2), SLOT, H::Connected]),
        ["bind 1", "wait 2", "connect 2 10.0.0.2:5022", "commit"]
    );
}

#[test]
fn what_is_under_way_for_a_client_stands_before_what_the_view_shows() {
    let mut story = Story::in_view(view(backend(), Some((2, NOW))));
    story.under_way = true;
    assert_eq!(
        story.tell(&[H::Arrived, bound(1), SLOT, H::Connected]),
        ["bind 2", "wait 1", "connect 1 10.0.0.1:5022", "commit"]
    );
}

#[test]
fn a_binding_to_a_server_that_is_of_no_use_is_settled_and_made_once_more() {
    let mut down = backend();
    down.servers[1].up = false;
    let mut story = Story::in_view(view(down, None));
    assert_eq!(
        story.tell(&[H::Arrived, bound(2), H::Settled, bound(1)]),
        ["bind 1", "settle", "bind anew 1", "wait 1"]
    );
}

#[test]
fn suspicion_alone_never_rewrites_a_binding() {
    let mut suspect = backend();
    suspect.servers[0].suspect = true;
    let bound_to_1 = || view(suspect.clone(), Some((1, Timestamp(NOW.0 - 450_000))));
    let mut story = Story::in_view(bound_to_1());
    assert_eq!(
        story.tell(&[H::Arrived, SLOT, H::Connected]),
        ["wait 2", "connect 2 10.0.0.2:5022", "forward 2 AsBefore"],
        "served elsewhere meanwhile, and not even refreshed"
    );
    let mut full = Story::in_view(bound_to_1());
    full.view = view(limited(suspect.clone()), Some((1, NOW)));
    full.sessions = 1;
    assert_eq!(
        full.tell(&[H::Arrived, H::GotSlot(ServerId(2)), H::Connected]),
        [
            "wait for any",
            "connect 2 10.0.0.2:5022",
            "forward 2 AsBefore"
        ]
    );
}

fn limited(mut backend: BackendView) -> BackendView {
    backend.servers.iter_mut().for_each(|s| s.maxconn = 1);
    backend
}

#[test]
fn without_a_frontend_or_a_usable_server_the_client_is_reset() {
    let mut gone = view(backend(), None);
    gone.routes = Arc::new(Routes::default());
    assert_eq!(
        short(&Story::in_view(gone).step(H::Arrived)),
        "give up NoFrontend"
    );
    let mut down = backend();
    down.servers.iter_mut().for_each(|s| s.up = false);
    assert_eq!(
        short(&Story::in_view(view(down, None)).step(H::Arrived)),
        "give up NoServer"
    );
}

#[test]
fn in_async_mode_nobody_waits_for_the_commit_and_without_persistence_nobody_is_bound() {
    let mut quick = backend();
    if let Some(p) = &mut quick.persistence {
        p.mode = BindingMode::Async;
    }
    let mut story = Story::in_view(view(quick, None));
    let told = story.tell(&[H::Arrived, bound(1), SLOT, H::Connected]);
    assert_eq!(told[3], "forward 1 NotAwaited");
    let mut plain = backend();
    plain.persistence = None;
    let mut story = Story::in_view(view(plain, None));
    assert_eq!(
        story.tell(&[H::Arrived, SLOT, H::Connected])[2],
        "forward 1 AsBefore"
    );
}
