//! What a member of the cluster says: whether it is reached, reaches back, and has the same time and version.

use super::{Inspection, Moment, Said};
use crate::found::JOIN_WITHIN;
use crate::sys::{boot_now, wall_now};
use crate::wire::channels::{self, Idle};
use ha_core::trust::Digest;
use ha_proto::control as pb;
use ha_proto::control::control_client::ControlClient;
use ha_trust::tls::{self, cause};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;
use tonic::transport::Channel;

/// A member that does not answer within this is not reached.
const WITHIN: Duration = Duration::from_secs(3);
/// Between two tries to reach one that may just be starting.
const AGAIN: Duration = Duration::from_millis(250);
/// Questions whose round-trip is measured.
const ROUNDS: usize = 5;
/// Leases and heartbeats must come and go several times within a promise.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(100);
/// A cluster of one room has less.
const ROUND_TRIP_WANTED: Duration = Duration::from_millis(20);
/// Event times and drain deadlines are wrong by as much.
const SKEW_WANTED: u64 = 1000;

const MEMBER: &str = "member";
const OLDER: &str = "its agent is older than this one and cannot be asked";

pub(super) async fn look(s: &Inspection<'_>) -> Vec<(&'static str, Said)> {
    let Some(address) = s.member else {
        return Vec::new();
    };
    let channel = match channel(address, s.authority) {
        Ok(channel) => channel,
        Err(_) => {
            return vec![(
                MEMBER,
                Said::failed(
                    format!("{address} is no HOST:PORT"),
                    "name the `listen` address of any member",
                ),
            )];
        }
    };
    let mut client = ControlClient::new(channel);
    // Who joins may come a moment after the member was started.
    let patience = if s.moment == Moment::Joining {
        JOIN_WITHIN
    } else {
        Duration::ZERO
    };
    match until_it_answers(&mut client, patience).await {
        Ok(()) => {}
        Err(why) if why == OLDER => {
            return vec![(
                MEMBER,
                Said::warning(
                    format!("{address}: {why}"),
                    "run the same version on all nodes once the upgrade is done",
                ),
            )];
        }
        Err(why) => {
            return vec![(
                MEMBER,
                Said::failed(
                    format!("{address}: {why}"),
                    "name the `listen` address of any member that runs, and let that port through",
                ),
            )];
        }
    }
    let mut rounds = Vec::new();
    let mut last = None;
    for _ in 0..ROUNDS {
        let began = (boot_now(), wall_now());
        match ask(&mut client, String::new()).await {
            Ok(reply) => {
                let took = boot_now() - began.0;
                rounds.push(took);
                last = Some((reply, began.1.0 + took.as_millis() as u64 / 2));
            }
            Err(why) => {
                return vec![(
                    MEMBER,
                    Said::failed(
                        format!("{address}: {why}"),
                        "its agent, or the network to it, is not steady",
                    ),
                )];
            }
        }
    }
    rounds.sort();
    let round = rounds[rounds.len() / 2];
    let mut said = vec![(MEMBER, round_trip(address, round))];
    if let Some((reply, here)) = last {
        said.push(("skew", skew(reply.wall_ms.abs_diff(here))));
        said.push(("version", version(&reply.version)));
    }
    said.push(("way back", way_back(s, &mut client, address).await));
    said
}

/// Who joins knows which authority the member must show; who only looks believes whoever answers, and tells it nothing.
fn channel(address: &str, authority: Option<Digest>) -> Result<Channel, crate::error::Failure> {
    let config = Arc::new(tls::client_by_fingerprint(authority)?);
    Ok(channels::channel(
        address,
        None,
        Arc::new(move || config.clone()),
        Idle::LookedAfter,
    )?)
}

async fn until_it_answers(
    client: &mut ControlClient<Channel>,
    patience: Duration,
) -> Result<(), String> {
    let deadline = boot_now() + patience;
    loop {
        match ask(client, String::new()).await {
            Ok(_) => return Ok(()),
            Err(why)
                if why == OLDER || why.contains(tls::OTHER_CLUSTER) || boot_now() >= deadline =>
            {
                return Err(why);
            }
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

async fn ask(
    client: &mut ControlClient<Channel>,
    listen: String,
) -> Result<pb::ReachReply, String> {
    match tokio::time::timeout(WITHIN, client.reach(pb::ReachRequest { listen })).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) if status.code() == Code::Unimplemented => Err(OLDER.to_owned()),
        Ok(Err(status)) => Err(cause(&status)),
        Err(_) => Err(format!("no answer within {WITHIN:?}")),
    }
}

fn round_trip(address: &str, round: Duration) -> Said {
    let found = format!("{address} answers in {:.1} ms", round.as_secs_f64() * 1e3);
    if round >= ROUND_TRIP_MAX {
        Said::failed(
            found,
            format!("members must be less than {ROUND_TRIP_MAX:?} apart"),
        )
    } else if round >= ROUND_TRIP_WANTED {
        Said::warning(
            found,
            "found the cluster with timing = \"wan\" if its members are in several places",
        )
    } else {
        Said::ok(found)
    }
}

fn skew(apart: u64) -> Said {
    let found = format!("the wall clocks are {apart} ms apart");
    if apart <= SKEW_WANTED {
        Said::ok(found)
    } else {
        Said::warning(found, "synchronise both with the same source of time")
    }
}

fn version(other: &str) -> Said {
    let own = env!("CARGO_PKG_VERSION");
    if other == own {
        Said::ok(format!("{own}, as this node"))
    } else {
        Said::warning(
            format!("{other}, and this node has {own}"),
            "run the same version on all nodes once the upgrade is done",
        )
    }
}

/// Whether peers will reach this node where it says that it listens.
async fn way_back(s: &Inspection<'_>, client: &mut ControlClient<Channel>, address: &str) -> Said {
    // Kept until the answer is there; when the agent of this node runs, it is the one that listens.
    let _listener = TcpListener::bind(s.config.listen);
    match ask(client, s.config.listen.to_string()).await {
        Err(why) => Said::warning(why, ""),
        Ok(reply) if reply.not_tried => Said::warning(
            format!(
                "{address} did not try {}: {}",
                s.config.listen, reply.why_not
            ),
            "see that members reach this node there",
        ),
        Ok(reply) if reply.why_not.is_empty() => {
            Said::ok(format!("{address} reaches {}", s.config.listen))
        }
        Ok(reply) => Said::failed(
            format!(
                "{address} does not reach {}: {}",
                s.config.listen, reply.why_not
            ),
            "let that port through, and set `listen` to the address that peers see",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn members_must_be_near_and_of_one_time_and_version() {
        let ms = Duration::from_millis;
        assert_eq!(
            [ms(1), ms(20), ms(100)].map(|round| round_trip("m:1", round).0),
            [Verdict::Ok, Verdict::Warning, Verdict::Failed]
        );
        assert_eq!(
            [0, 1000, 1001].map(|apart| skew(apart).0),
            [Verdict::Ok, Verdict::Ok, Verdict::Warning]
        );
        assert_eq!(
            [env!("CARGO_PKG_VERSION"), "9.9.9"].map(|other| version(other).0),
            [Verdict::Ok, Verdict::Warning]
        );
    }
}
