//! Ids, times, addresses, and what nodes and operators are.

use crate::RecordError;
use crate::bytes::{In, Out};
use crate::form::Form;
use ha_core::command::DrainEnd;
use ha_core::id::{Epoch, NodeId, ServerId};
use ha_core::model::{AdminState, Member, Role, Sticky, Timing};
use ha_core::time::{Instant, Timestamp};
use ha_core::version::{RecordVersion, Speaks};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

macro_rules! wrapped {
    ($($name:ident($ty:ty)),* $(,)?) => {$(
        impl Form for $name {
            #[inline]
            fn write(&self, out: &mut Out) {
                <$ty as Form>::write(&self.0, out);
            }
            #[inline]
            fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
                <$ty as Form>::read(from).map($name)
            }
        }
    )*};
}

wrapped! { ServerId(u32), Epoch(u64), Instant(u64), Timestamp(u64), RecordVersion(u32) }

/// Written as its 16 bytes.
impl Form for NodeId {
    fn write(&self, out: &mut Out) {
        out.raw(self.0.as_bytes());
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        NodeId::from_slice(from.raw(16)?).ok_or(RecordError::CUT)
    }
}

/// Written as whole seconds and nanoseconds.
impl Form for Duration {
    fn write(&self, out: &mut Out) {
        out.number(self.as_secs());
        out.number(self.subsec_nanos().into());
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        let (seconds, nanos) = (u64::read(from)?, u32::read(from)?);
        if nanos >= 1_000_000_000 {
            return Err(RecordError::Malformed("a second of too many nanoseconds"));
        }
        Ok(Duration::new(seconds, nanos))
    }
}

/// A 4 or a 6, then its octets.
impl Form for IpAddr {
    fn write(&self, out: &mut Out) {
        match self {
            IpAddr::V4(address) => {
                out.byte(4);
                out.raw(&address.octets());
            }
            IpAddr::V6(address) => {
                out.byte(6);
                out.raw(&address.octets());
            }
        }
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        match from.byte()? {
            4 => Ok(IpAddr::from(from.array::<4>()?)),
            6 => Ok(IpAddr::from(from.array::<16>()?)),
            _ => Err(RecordError::Malformed("no family of addresses")),
        }
    }
}

/// Address and port; the scope of an IPv6 address means nothing on another machine.
impl Form for SocketAddr {
    fn write(&self, out: &mut Out) {
        self.ip().write(out);
        self.port().write(out);
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        Ok(SocketAddr::new(IpAddr::read(from)?, u16::read(from)?))
    }
}

structs! {
    Speaks { min: RecordVersion, max: RecordVersion }
    Member {
        id: NodeId,
        name: String,
        listen: SocketAddr,
        address: IpAddr,
        role: Role,
        version: String,
        speaks: Speaks,
        checks: BTreeSet<String>,
    }
}

enums! {
    Timing { 0 => Lan, 1 => Fast, 2 => Wan }
    Role { 0 => Server, 1 => Witness }
    AdminState { 0 => Ready, 1 => Drain, 2 => Maintenance }
    Sticky { 0 => Honour, 1 => Move }
    DrainEnd { 0 => Empty, 1 => Deadline }
}
