//! The lease elements: "this node may answer for this address", each with a life of its own.
//!
//! One transaction covers all virtual IPs in all sets, so that they live and die together.
//!
//! - *claim*: add, delete, add. Works whether or not an element is there.
//! - *renew*: the guard, an element that no rule looks at, is deleted and added; the others get a
//!   new life. The kernel refuses the whole of it (`ENOENT`) when the guard has died already. That
//!   makes a renewal harmless that was held up between looking at the clock and entering the
//!   kernel: after a pause longer than the lease it changes nothing.
//! - *remove*: add, delete.
//!
//! Since Linux 6.12 an element that is added again with an expiration gets a new life in place.
//! Before, that was ignored, and elements are deleted and added in the one transaction; a packet
//! that is looked up in that very microsecond may miss both and be dropped.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::addresses::with_bytes;
use super::contents::{self, Change, Element, SetName};
use super::netlink::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, Netlink};
use super::ruleset::{FENCE, Features};
use super::wire::{Message, Messages, attributes};

pub(super) const SUBSYSTEM: u16 = 10 << 8;
pub(super) const NFPROTO_INET: u8 = 1;
pub(super) const NFPROTO_ARP: u8 = 3;
pub(super) const NFPROTO_NETDEV: u8 = 5;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWSETELEM: u16 = SUBSYSTEM | 12;
const GETSETELEM: u16 = SUBSYSTEM | 13;
const DELSETELEM: u16 = SUBSYSTEM | 14;
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_ELEM: u16 = 1;
const ELEM_KEY: u16 = 1;
const ELEM_TIMEOUT: u16 = 4;
const ELEM_EXPIRATION: u16 = 5;
const ELEM_KEY_END: u16 = 10;
const DATA_VALUE: u16 = 1;

/// Shortest life that is ever sent. The kernel rounds down to its tick (10 ms at most), and a life
/// of no ticks at all means "for ever" to some kernels.
pub(super) const SHORTEST: Duration = Duration::from_millis(20);

/// The key of the guard.
const GUARD: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 0));

/// The kernel answers inside the call; this only bounds what should not happen.
const PATIENCE: Duration = Duration::from_millis(50);

/// Elements in one message, and in one transaction: attributes have 16-bit lengths, and a socket's
/// send buffer has 200 KiB.
const IN_MESSAGE: usize = 256;
const IN_TRANSACTION: usize = 2048;

/// The open socket over which elements are renewed.
pub(super) struct Elements {
    netlink: Netlink,
    features: Features,
}

impl Elements {
    pub(super) fn open(features: Features) -> io::Result<Self> {
        let netlink = Netlink::open(libc::NETLINK_NETFILTER as isize, PATIENCE)?;
        Ok(Self { netlink, features })
    }

    /// Gives elements a life, whether or not they are there.
    pub(super) fn claim(&mut self, members: &[IpAddr], life: Duration) -> io::Result<()> {
        let steps = [Step::Add(life), Step::Delete, Step::Add(life)];
        self.send(members, &steps, &steps)
    }

    /// Gives living elements a new life; `NotFound` when they (or their table) are gone.
    pub(super) fn renew(&mut self, members: &[IpAddr], life: Duration) -> io::Result<()> {
        let anew = [Step::Delete, Step::Add(life)];
        match self.features.in_place {
            true => self.send(members, &anew, &[Step::Add(life)]),
            false => self.send(members, &anew, &anew),
        }
    }

    /// Ends the elements now; `NotFound` when the tables are gone.
    pub(super) fn remove(&mut self, members: &[IpAddr]) -> io::Result<()> {
        self.send(members, &[], &[Step::Add(SHORTEST), Step::Delete])
    }

    /// Adds again what is there; of use only to find out what that does.
    pub(super) fn prolong(&mut self, members: &[IpAddr], life: Duration) -> io::Result<()> {
        self.send(members, &[], &[Step::Add(life)])
    }

    /// Ends elements that are alive; `NotFound` when one is not.
    pub(super) fn end_living(&mut self, members: &[IpAddr]) -> io::Result<()> {
        self.send(members, &[], &[Step::Delete])
    }

    /// Lets nobody begin a connection with these addresses for the next 200 ms, or again from now on.
    pub(super) fn park(&mut self, members: &[IpAddr], is_parked: bool) -> io::Result<()> {
        if is_parked {
            return change(&mut self.netlink, &contents::parked(members, true));
        }
        // One by one: each may have ended by itself, or was not there yet.
        let one_by_one = members
            .iter()
            .flat_map(|m| contents::parked(std::slice::from_ref(m), false));
        one_by_one
            .map(|c| change(&mut self.netlink, &[c]))
            .filter(|r| !matches!(r, Err(e) if e.kind() == io::ErrorKind::NotFound))
            .collect()
    }

    fn send(
        &mut self,
        members: &[IpAddr],
        guard_steps: &[Step],
        member_steps: &[Step],
    ) -> io::Result<()> {
        if members.is_empty() {
            return Ok(());
        }
        let sets = self.features.lease_sets();
        batch(&mut self.netlink, |out, next| {
            for step in guard_steps {
                step.write(
                    out,
                    next(),
                    NFPROTO_NETDEV,
                    "guard",
                    std::iter::once(&GUARD),
                );
            }
            for step in member_steps {
                for set in &sets {
                    let keys = || members.iter().filter(|m| m.is_ipv4() == set.ipv4);
                    if keys().next().is_some() {
                        step.write(out, next(), set.family, set.name, keys());
                    }
                }
            }
        })
    }
}

/// One transaction of what `fill` writes with the numbers that it is given.
fn batch(
    netlink: &mut Netlink,
    fill: impl FnOnce(&mut Messages, &mut dyn FnMut() -> u32),
) -> io::Result<()> {
    netlink.transaction(|out, first| {
        let mut sequence = first;
        let mut next = || {
            sequence = sequence.wrapping_add(1);
            sequence.wrapping_sub(1)
        };
        let head = [0, 0, 0, 10];
        out.begin(BATCH_BEGIN, NLM_F_REQUEST, next(), &head);
        out.end();
        fill(out, &mut next);
        out.begin(BATCH_END, NLM_F_REQUEST, next(), &head);
        out.end();
        sequence.wrapping_sub(first)
    })
}

/// Carries out changes of sets without lives. In one transaction, unless there are more than 2048
/// elements; `NotFound` when a table, a set or what should go is not there.
pub(super) fn change(netlink: &mut Netlink, changes: &[Change]) -> io::Result<()> {
    let pieces: Vec<(&Change, &[Element])> = changes
        .iter()
        .flat_map(|c| c.elements.chunks(IN_MESSAGE).map(move |piece| (c, piece)))
        .collect();
    let mut rest = pieces.as_slice();
    while !rest.is_empty() {
        let mut elements = 0;
        let fit = rest.iter().take_while(|(_, piece)| {
            elements += piece.len();
            elements <= IN_TRANSACTION
        });
        let (some, others) = rest.split_at(fit.count().max(1));
        rest = others;
        batch(netlink, |out, next| {
            for (change, piece) in some {
                message(
                    out,
                    next(),
                    change.is_new,
                    (change.set.family, change.set.table, &change.set.set),
                    |out| {
                        for element in *piece {
                            let nest = out.nest(LIST_ELEM);
                            key(out, ELEM_KEY, &element.key);
                            if let Some(last) = &element.last {
                                key(out, ELEM_KEY_END, last);
                            }
                            out.close(nest);
                        }
                    },
                );
            }
        })?;
    }
    Ok(())
}

/// One message that adds or deletes the elements of a set (family, table, name) that `fill` writes.
fn message(
    out: &mut Messages,
    sequence: u32,
    is_new: bool,
    (family, table, set): (u8, &str, &str),
    fill: impl FnOnce(&mut Messages),
) {
    let (kind, create) = if is_new {
        (NEWSETELEM, NLM_F_CREATE)
    } else {
        (DELSETELEM, 0)
    };
    // Acknowledged each: an acknowledgement is sent only after the whole batch was decided.
    out.begin(
        kind,
        NLM_F_REQUEST | NLM_F_ACK | create,
        sequence,
        &[family, 0, 0, 0],
    );
    out.put_str(LIST_TABLE, table);
    out.put_str(LIST_SET, set);
    let elements = out.nest(LIST_ELEMENTS);
    fill(out);
    out.close(elements);
    out.end();
}

/// The elements of a set; `NotFound` without the set.
pub(super) fn list(netlink: &mut Netlink, set: &SetName) -> io::Result<Vec<Element>> {
    let fill = |out: &mut Messages| {
        out.put_str(LIST_TABLE, set.table);
        out.put_str(LIST_SET, &set.set);
    };
    let found = netlink.dump(GETSETELEM, &[set.family, 0, 0, 0], fill, |message| {
        (message.kind == NEWSETELEM).then(|| read(message))
    })?;
    Ok(found.into_iter().flatten().collect())
}

fn read(message: Message<'_>) -> Vec<Element> {
    let within = |value, wanted: u16| {
        attributes(value)
            .filter(move |(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    let key = |element, kind| {
        within(element, kind)
            .flat_map(|key| within(key, DATA_VALUE))
            .next()
            .map(<[u8]>::to_vec)
    };
    let elements = within(message.payload.get(4..).unwrap_or_default(), LIST_ELEMENTS)
        .flat_map(|list| within(list, LIST_ELEM));
    elements
        .filter_map(|element| {
            Some(Element {
                key: key(element, ELEM_KEY)?,
                last: key(element, ELEM_KEY_END),
            })
        })
        .collect()
}

fn key(out: &mut Messages, kind: u16, bytes: &[u8]) {
    let value = out.nest(kind);
    out.put(DATA_VALUE, bytes);
    out.close(value);
}

#[derive(Clone, Copy)]
enum Step {
    Add(Duration),
    Delete,
}

impl Step {
    fn write<'a>(
        self,
        out: &mut Messages,
        sequence: u32,
        family: u8,
        set: &str,
        keys: impl Iterator<Item = &'a IpAddr>,
    ) {
        message(
            out,
            sequence,
            matches!(self, Step::Add(_)),
            (family, FENCE, set),
            |out| {
                for address in keys {
                    let element = out.nest(LIST_ELEM);
                    with_bytes(*address, |bytes| key(out, ELEM_KEY, bytes));
                    if let Step::Add(life) = self {
                        // Rounded down, but never to 0.
                        let life_ms = life.max(SHORTEST).as_millis() as u64;
                        out.put(ELEM_TIMEOUT, &life_ms.to_be_bytes());
                        out.put(ELEM_EXPIRATION, &life_ms.to_be_bytes());
                    }
                    out.close(element);
                }
            },
        );
    }
}
