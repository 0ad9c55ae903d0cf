//! Platforms on which the kernel side is not there yet: every question is answered with how to do without.

use crate::{
    ActiveFence, Foreign, Intercept, Interface, Taken, Traffic, Vip, VipError, VipEvent,
    VipSettings, VirtualIps,
};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Sender;

fn unsupported<T>() -> Result<T, VipError> {
    Err(VipError::Invalid(
        "vip = \"kernel\" is available on Linux only so far: set vip = \"bind\"".to_owned(),
    ))
}

/// Always refused.
///
/// # Errors
/// Always.
pub fn start(
    _: VipSettings,
    _: Arc<dyn Traffic>,
    _: Sender<VipEvent>,
) -> Result<(Arc<dyn VirtualIps>, ActiveFence), VipError> {
    unsupported()
}

/// Nothing can have been left.
///
/// # Errors
/// None.
pub fn cleanup(_: &VipSettings, _: &[IpAddr]) -> Result<Vec<IpAddr>, VipError> {
    Ok(Vec::new())
}

/// What `preflight` looks at; there is nothing to look at here.
pub mod examine {
    use super::*;

    /// # Errors
    /// Always: there is no such thing on this system.
    pub fn interfaces(_: &VipSettings, _: &[Vip]) -> Result<Vec<Interface>, VipError> {
        unsupported()
    }

    /// # Errors
    /// Always: there is no such thing on this system.
    pub fn foreign_rules(
        _: &VipSettings,
        _: &[Vip],
        _: &[(IpAddr, Vec<RangeInclusive<u16>>)],
    ) -> Result<Vec<Foreign>, VipError> {
        unsupported()
    }

    /// # Errors
    /// Always: there is no such thing on this system.
    pub fn rules(_: &VipSettings, _: u16) -> Result<(), VipError> {
        unsupported()
    }

    /// # Errors
    /// Always: there is no such thing on this system.
    pub fn at_home(_: &VipSettings, _: &[Vip]) -> Result<Vec<(IpAddr, Taken)>, VipError> {
        unsupported()
    }

    /// # Errors
    /// Always: there is no such thing on this system.
    pub fn claimed(
        _: &VipSettings,
        _: &[Vip],
        _: Duration,
    ) -> Result<Vec<(IpAddr, Taken)>, VipError> {
        unsupported()
    }
}

/// There is no warden where there are no addresses to take off.
pub mod warden {
    /// # Errors
    /// None on this system; the others have some.
    pub fn run(_: u8, _: impl std::io::Read) -> std::io::Result<()> {
        Ok(())
    }
}
