//! Removes what a run that ended badly may have left: managed addresses and our tables.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::addresses;
use super::netlink::Netlink;
use super::nft::Nft;
use super::only::Only;
use super::tables_thread::delete_all;
use crate::types::{VipError, VipSettings};

const TABLES_WITHIN: Duration = Duration::from_secs(2);

/// Removes managed addresses (found by the mark, and `also` on kernels before 5.18) and our
/// tables. Returns what was removed. Takes at most about 3 s. A machine without `nft` has no tables;
/// that is no error.
///
/// # Errors
/// [`VipError::InUse`] while a [`super::Kernel`] runs: nothing is taken away from a holder who lives.
pub fn cleanup(settings: &VipSettings, also: &[IpAddr]) -> Result<Vec<IpAddr>, VipError> {
    remove_leftovers(&Only::take()?, settings, also)
}

/// The same for who is the only one.
pub(super) fn remove_leftovers(
    _: &Only,
    settings: &VipSettings,
    also: &[IpAddr],
) -> Result<Vec<IpAddr>, VipError> {
    let mut route = Netlink::open(libc::NETLINK_ROUTE as isize, Duration::from_millis(500))
        .map_err(VipError::kernel("open rtnetlink"))?;
    let removed = remove_addresses(&mut route, settings.mark, &also.iter().copied().collect())?;
    delete_all(&Nft::new(&settings.nft), TABLES_WITHIN);
    Ok(removed)
}

fn remove_addresses(
    route: &mut Netlink,
    mark: u8,
    known: &BTreeSet<IpAddr>,
) -> Result<Vec<IpAddr>, VipError> {
    let left =
        addresses::managed(route, mark, known).map_err(VipError::kernel("list addresses"))?;
    let mut removed = Vec::new();
    for a in left {
        addresses::delete(route, a.index, a.address, a.prefix)
            .map_err(VipError::kernel("remove a leftover address"))?;
        tracing::info!(address = %a.address, "leftover address removed");
        removed.push(a.address);
    }
    Ok(removed)
}
