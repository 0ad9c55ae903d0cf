//! What is in the sets that follow the configuration, and how they get from one to the next.
//!
//! The rules never name an address or a port: they look into these sets. So a new configuration
//! changes only the elements that differ, in one transaction on a socket that stays open:
//! - what stays configured is not touched, not for one packet. Rules that are replaced take their
//!   unnamed sets with them, and a packet between the two finds neither (before Linux 6.17);
//! - no rule is deleted. A program that deleted one and closes its socket makes the kernel wait for
//!   an RCU grace period while it holds the lock that lease renewals need: 10 ms on an idle
//!   machine, several hundred on a busy one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::addresses::with_bytes;
use super::elements::{self, NFPROTO_ARP, NFPROTO_INET, NFPROTO_NETDEV};
use super::netlink::Netlink;
use super::place::Plan;
use super::ruleset::{FENCE, Features, INTERCEPT};
use crate::types::Intercept;

/// A set of ours that the configuration fills.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SetName {
    pub(super) family: u8,
    pub(super) table: &'static str,
    pub(super) set: String,
}

/// One element, as the kernel spells it: its key, and for a range its last key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Element {
    pub(super) key: Vec<u8>,
    pub(super) last: Option<Vec<u8>>,
}

/// Every set with its elements; an empty set is one that shall be empty.
pub(super) type Contents = BTreeMap<SetName, BTreeSet<Element>>;

/// One step from one content to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) set: SetName,
    pub(super) is_new: bool,
    pub(super) elements: Vec<Element>,
}

/// The name of the set with the ports that go to `to_port`.
pub(super) fn ports_set(ipv4: bool, to_port: u16) -> String {
    format!("ports{}_{to_port}", if ipv4 { 4 } else { 6 })
}

/// The sets of the fence tables for a plan.
pub(super) fn of_fence(plan: &Plan, features: Features) -> Contents {
    let mut contents = Contents::new();
    let mut fill = |family, name: &str, ipv4: bool| {
        let elements = plan
            .addresses()
            .into_iter()
            .filter(|a| a.is_ipv4() == ipv4)
            .map(of_address)
            .collect();
        contents.insert(
            SetName {
                family,
                table: FENCE,
                set: name.to_owned(),
            },
            elements,
        );
    };
    fill(NFPROTO_ARP, "vip4", true);
    for family in [NFPROTO_NETDEV, NFPROTO_INET] {
        fill(family, "vip4", true);
        fill(family, "vip6", false);
        if features.targets {
            fill(family, "vip_target6", false);
        }
    }
    contents
}

/// What parks addresses, or ends that.
pub(super) fn parked(members: &[IpAddr], is_parked: bool) -> Vec<Change> {
    let change = |set: &str, ipv4: bool| {
        let elements: Vec<Element> = members
            .iter()
            .filter(|a| a.is_ipv4() == ipv4)
            .map(|a| of_address(*a))
            .collect();
        let set = SetName {
            family: NFPROTO_INET,
            table: FENCE,
            set: set.to_owned(),
        };
        (!elements.is_empty()).then_some(Change {
            set,
            is_new: is_parked,
            elements,
        })
    };
    [change("parked4", true), change("parked6", false)]
        .into_iter()
        .flatten()
        .collect()
}

/// The sets of the interception table.
pub(super) fn of_intercepts(intercepts: &[Intercept]) -> Contents {
    let mut contents = Contents::new();
    let at = |set: String| SetName {
        family: NFPROTO_INET,
        table: INTERCEPT,
        set,
    };
    for (name, ipv4) in [("guarded4", true), ("guarded6", false)] {
        let elements = intercepts
            .iter()
            .map(|i| i.address)
            .filter(|a| a.is_ipv4() == ipv4)
            .map(of_address)
            .collect();
        contents.insert(at(name.to_owned()), elements);
    }
    for intercept in intercepts {
        let set = contents
            .entry(at(ports_set(
                intercept.address.is_ipv4(),
                intercept.to_port,
            )))
            .or_default();
        set.extend(
            merged(&intercept.ports)
                .into_iter()
                .map(|range| of_ports(intercept.address, range)),
        );
    }
    contents
}

/// The steps from what is there to what is wanted, in an order that the kernel takes in one
/// transaction: what goes, then what comes. A range that is wanted as part of a larger one stays
/// as it is, and only the rest of the larger one is new.
pub(super) fn changes(have: &Contents, wanted: &Contents) -> Vec<Change> {
    let (mut going, mut coming) = (Vec::new(), Vec::new());
    let none = BTreeSet::new();
    for (set, wanted) in wanted {
        let have = have.get(set).unwrap_or(&none);
        let stays: BTreeSet<&Element> = have
            .iter()
            .filter(|h| wanted.iter().any(|w| w.covers(h)))
            .collect();
        let goes: Vec<Element> = have
            .iter()
            .filter(|h| !stays.contains(h))
            .cloned()
            .collect();
        let comes: Vec<Element> = wanted
            .iter()
            .flat_map(|w| w.without(stays.iter().copied().filter(|s| w.covers(s))))
            .collect();
        let step = |is_new, elements: Vec<Element>| {
            (!elements.is_empty()).then(|| Change {
                set: set.clone(),
                is_new,
                elements,
            })
        };
        going.extend(step(false, goes));
        coming.extend(step(true, comes));
    }
    // Sets that are not wanted any more are deleted with the rules that look into them.
    going.into_iter().chain(coming).collect()
}

/// Whether the sets hold what is wanted, in whatever pieces.
pub(super) fn agree(have: &Contents, wanted: &Contents) -> bool {
    changes(have, wanted).is_empty()
}

/// What is in the kernel's sets of these names; a set that is not there counts as empty.
pub(super) fn read(netlink: &mut Netlink, wanted: &Contents) -> io::Result<Contents> {
    let mut contents = Contents::new();
    for set in wanted.keys() {
        let found = match elements::list(netlink, set) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            other => other?.into_iter().collect(),
        };
        contents.insert(set.clone(), found);
    }
    Ok(contents)
}

impl Element {
    /// The range of the key's last field, which is the only one that differs within an element.
    fn range(&self) -> Option<(&[u8], RangeInclusive<u16>)> {
        let last = self.last.as_ref()?;
        let (head, first_port) = split(&self.key)?;
        let (_, last_port) = split(last)?;
        Some((head, first_port..=last_port))
    }

    fn covers(&self, other: &Element) -> bool {
        match (self.range(), other.range()) {
            (Some((head, range)), Some((others_head, others))) => {
                head == others_head
                    && range.start() <= others.start()
                    && others.end() <= range.end()
            }
            _ => self == other,
        }
    }

    /// What of this element is left besides `parts`, which it covers and which are in order.
    fn without<'a>(&self, parts: impl Iterator<Item = &'a Element>) -> Vec<Element> {
        let Some((head, range)) = self.range() else {
            return if parts.count() == 0 {
                vec![self.clone()]
            } else {
                Vec::new()
            };
        };
        let (mut left, mut next) = (Vec::new(), u32::from(*range.start()));
        let ends = u32::from(*range.end()) + 1;
        let taken = parts
            .filter_map(Element::range)
            .map(|(_, r)| (u32::from(*r.start()), u32::from(*r.end()) + 1));
        for (start, after) in taken.chain(std::iter::once((ends, ends))) {
            if next < start {
                // Both are ports: `next` is at least a port and below `start`, which is at most 65536.
                left.push(ports_element(head, next as u16..=(start - 1) as u16));
            }
            next = next.max(after);
        }
        left
    }
}

fn of_address(address: IpAddr) -> Element {
    Element {
        key: with_bytes(address, <[u8]>::to_vec),
        last: None,
    }
}

fn of_ports(address: IpAddr, range: RangeInclusive<u16>) -> Element {
    with_bytes(address, |head| ports_element(head, range))
}

/// Each field of a key of several is padded to 4 bytes.
fn ports_element(head: &[u8], range: RangeInclusive<u16>) -> Element {
    let key = |port: u16| {
        let mut key = head.to_vec();
        key.extend_from_slice(&port.to_be_bytes());
        key.extend_from_slice(&[0, 0]);
        key
    };
    Element {
        key: key(*range.start()),
        last: Some(key(*range.end())),
    }
}

fn split(key: &[u8]) -> Option<(&[u8], u16)> {
    let (head, tail) = key.split_at_checked(key.len().checked_sub(4)?)?;
    let known = [size_of::<Ipv4Addr>(), size_of::<Ipv6Addr>()].contains(&head.len());
    known.then_some((head, u16::from_be_bytes([*tail.first()?, *tail.get(1)?])))
}

/// The same ports in order, overlapping and adjoining ranges as one.
fn merged(ports: &[RangeInclusive<u16>]) -> Vec<RangeInclusive<u16>> {
    let mut ranges: Vec<(u16, u16)> = ports
        .iter()
        .map(|r| (*r.start(), *r.end()))
        .filter(|(a, b)| a <= b)
        .collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (start, end) in ranges {
        match merged.last_mut() {
            Some(last) if start <= last.1.saturating_add(1) => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged.into_iter().map(|(a, b)| a..=b).collect()
}

#[cfg(test)]
mod tests;
