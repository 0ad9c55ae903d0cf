//! What this machine has for a virtual IP, looked at without changing anything.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::netlink::Netlink;
use super::nft::Nft;
use super::place::{Plan, place};
use super::probe;
use super::ruleset::{Features, Targets, fence_rules, fence_sets, intercept};
use super::{addresses, links};
use crate::types::{Interface, Vip, VipError, VipSettings};

struct Seen {
    plan: Plan,
    links: Vec<links::Link>,
    managed: Vec<IpAddr>,
}

fn look(settings: &VipSettings, vips: &[Vip]) -> Result<Seen, VipError> {
    let mut route = Netlink::open(libc::NETLINK_ROUTE as isize, Duration::from_millis(500))
        .map_err(VipError::kernel("open rtnetlink"))?;
    let links = links::list(&mut route).map_err(VipError::kernel("list interfaces"))?;
    let known = addresses::list(&mut route).map_err(VipError::kernel("list addresses"))?;
    let (plan, errors) = place(settings, vips, &links, &known);
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    let managed = known
        .iter()
        .filter(|a| a.mark == Some(settings.mark))
        .map(|a| a.address)
        .collect();
    Ok(Seen {
        plan,
        links,
        managed,
    })
}

/// The interfaces of `vips`; without any, the one that they would go on by default.
///
/// # Errors
/// A virtual IP that fits on none, or a kernel that does not answer.
pub fn interfaces(settings: &VipSettings, vips: &[Vip]) -> Result<Vec<Interface>, VipError> {
    let seen = look(settings, vips)?;
    let carrier = |index| seen.links.iter().any(|l| l.index == index && l.carrier);
    Ok(seen
        .plan
        .interfaces()
        .into_iter()
        .map(|(index, name)| Interface {
            carrier: carrier(index),
            name,
        })
        .collect())
}

/// Whether this machine takes the rules of the fence and of the interception.
///
/// # Errors
/// What `nft` or the kernel said.
pub fn rules(settings: &VipSettings, proxy_port: u16) -> Result<(), VipError> {
    let nft = Nft::new(&settings.nft);
    let loopback = BTreeMap::from([(1, "lo".to_owned())]);
    let mut fence = Ok(());
    for features in Features::TRIES {
        fence = nft.check(&format!(
            "{}{}",
            fence_sets(features),
            fence_rules(&loopback, features)
        ));
        if fence.is_ok() {
            break;
        }
    }
    fence?;
    nft.check(&intercept(
        &Targets::new(),
        &Targets::from([(true, proxy_port), (false, proxy_port)]),
    ))
}

/// Which of `vips` another machine answers for, and with which hardware address. Takes `wait` for each.
///
/// # Errors
/// No `CAP_NET_RAW`, or as [`interfaces`].
pub fn claimed(
    settings: &VipSettings,
    vips: &[Vip],
    wait: Duration,
) -> Result<Vec<(IpAddr, [u8; 6])>, VipError> {
    let seen = look(settings, vips)?;
    let mut found = Vec::new();
    for placed in seen
        .plan
        .placed
        .iter()
        .filter(|p| !seen.managed.contains(&p.address))
    {
        let Some(link) = seen.links.iter().find(|l| l.index == placed.index) else {
            continue;
        };
        let other = probe::ask(link, &seen.links, placed.address, wait)
            .map_err(VipError::kernel("ask for a duplicate"))?;
        found.extend(other.map(|mac| (placed.address, mac)));
    }
    Ok(found)
}
