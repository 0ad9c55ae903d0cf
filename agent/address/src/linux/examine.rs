//! What this machine has for a virtual IP, looked at without changing anything.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::addresses::KernelAddress;
use super::foreign::{self, Rules};
use super::netlink::Netlink;
use super::nft::Nft;
use super::own::Machine;
use super::place::{Placed, Plan, place, without_ipv6};
use super::probe;
use super::ruleset::{Features, Targets, fence_rules, fence_sets, intercept};
use super::{addresses, links};
use crate::types::{Foreign, Interface, Taken, Vip, VipError, VipSettings};

/// Questions to the network that are open at a time.
const AT_ONCE: usize = 32;

struct Seen {
    plan: Plan,
    links: Vec<links::Link>,
    known: Vec<KernelAddress>,
    errors: Vec<VipError>,
    /// The interface of the default route, if there is one.
    way_out: Option<u32>,
}

fn look(settings: &VipSettings, vips: &[Vip]) -> Result<Seen, VipError> {
    let mut route = Netlink::open(libc::NETLINK_ROUTE as isize, Duration::from_millis(500))
        .map_err(VipError::kernel("open rtnetlink"))?;
    let links = links::list(&mut route).map_err(VipError::kernel("list interfaces"))?;
    let known = addresses::list(&mut route).map_err(VipError::kernel("list addresses"))?;
    let machine = Machine::look(settings.node_address, &mut route);
    let (plan, mut errors) = place(settings, vips, &links, &known, &machine, &BTreeSet::new());
    errors.extend(without_ipv6(&plan));
    Ok(Seen {
        plan,
        links,
        known,
        errors,
        way_out: machine.way_out,
    })
}

impl Seen {
    /// The first error that is about a place; those about whose an address is are told by [`at_home`].
    fn unplaced(&mut self) -> Result<(), VipError> {
        let at = self
            .errors
            .iter()
            .position(|e| !matches!(e, VipError::Own { .. } | VipError::NoIpv6 { .. }));
        at.map_or(Ok(()), |at| Err(self.errors.swap_remove(at)))
    }
}

/// Which of `vips` this machine has, put there by somebody else, and which it cannot have.
///
/// # Errors
/// A kernel that does not answer.
pub fn at_home(settings: &VipSettings, vips: &[Vip]) -> Result<Vec<(IpAddr, Taken)>, VipError> {
    let seen = look(settings, vips)?;
    let own = seen.errors.iter().filter_map(|e| match e {
        VipError::Own { address } => Some((*address, Taken::Own)),
        VipError::NoIpv6 { address, interface } => {
            let interface = interface.clone();
            Some((*address, Taken::NoIpv6 { interface }))
        }
        _ => None,
    });
    Ok(own.chain(seen.plan.left()).collect())
}

/// The interfaces of `vips`; without any, the one that they would go on by default.
///
/// # Errors
/// A virtual IP that fits on none, or a kernel that does not answer.
pub fn interfaces(settings: &VipSettings, vips: &[Vip]) -> Result<Vec<Interface>, VipError> {
    let mut seen = look(settings, vips)?;
    seen.unplaced()?;
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

/// Which of `vips` another machine answers for, and with which hardware address. Takes `wait` for each 32 of them.
///
/// # Errors
/// No `CAP_NET_RAW`, or as [`interfaces`].
pub fn claimed(
    settings: &VipSettings,
    vips: &[Vip],
    wait: Duration,
) -> Result<Vec<(IpAddr, Taken)>, VipError> {
    let mut seen = look(settings, vips)?;
    seen.unplaced()?;
    let managed = |p: &&Placed| {
        let mut here = seen.known.iter().filter(|a| a.address == p.address);
        here.any(|a| a.mark == Some(settings.mark))
    };
    let unmanaged: Vec<&Placed> = seen.plan.placed.iter().filter(|p| !managed(p)).collect();
    let mut found = Vec::new();
    for some in unmanaged.chunks(AT_ONCE) {
        for outcome in ask_all(some, &seen.links, wait) {
            found.extend(outcome.map_err(VipError::kernel("ask for a duplicate"))?);
        }
    }
    Ok(found)
}

/// What other people's rules, or settings of the kernel, do to these virtual IPs and ports.
///
/// # Errors
/// As [`interfaces`], or `nft` cannot list the rules.
pub fn foreign_rules(
    settings: &VipSettings,
    vips: &[Vip],
    ports: &[(IpAddr, Vec<RangeInclusive<u16>>)],
) -> Result<Vec<Foreign>, VipError> {
    let mut seen = look(settings, vips)?;
    seen.unplaced()?;
    let rules = Rules::read(&Nft::new(&settings.nft).rules()?);
    let placed = ports.iter().filter_map(|(address, ranges)| {
        let placed = seen.plan.find(*address)?;
        let ranges = ranges.iter().map(|r| (*r.start(), *r.end())).collect();
        Some((*address, placed.interface.clone(), ranges))
    });
    let placed: Vec<_> = placed.collect();
    let mut found = foreign::judge(&rules, &placed);
    found.extend(seen.plan.interfaces().iter().filter_map(|(index, name)| {
        let strict = is_strict(name) && seen.way_out.is_some_and(|way| way != *index);
        strict.then(|| Foreign {
            found: format!("{name} takes packets only from where its own routes lead (rp_filter), and the default route leads elsewhere"),
            remedy: format!("sysctl net.ipv4.conf.{name}.rp_filter=2, and in /etc/sysctl.d: clients beyond a router are not heard there otherwise"),
        })
    }));
    Ok(found)
}

/// The stricter of the setting for all interfaces and that for this one is in force.
fn is_strict(interface: &str) -> bool {
    let of = |name: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/{name}/rp_filter");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.trim().parse::<u8>().unwrap_or(0)
    };
    of("all").max(of(interface)) == 1
}

type Answer = io::Result<Option<(IpAddr, Taken)>>;

fn ask_all(placed: &[&Placed], links: &[links::Link], wait: Duration) -> Vec<Answer> {
    let ask = |p: &Placed| -> Answer {
        let Some(link) = links.iter().find(|l| l.index == p.index) else {
            return Ok(None);
        };
        let other = probe::ask(link, links, p.address, wait)?;
        Ok(other.map(|mac| (p.address, Taken::Other { mac })))
    };
    std::thread::scope(|scope| {
        let asking: Vec<_> = placed.iter().map(|p| scope.spawn(|| ask(p))).collect();
        let ended = asking.into_iter().map(|a| {
            a.join()
                .unwrap_or_else(|_| Err(io::Error::other("the question was not asked to its end")))
        });
        ended.collect()
    })
}
