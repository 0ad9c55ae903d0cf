//! Which fence works on this machine: tried for real, on the loopback interface.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use super::elements::{Elements, SHORTEST};
use super::nft::Nft;
use super::ruleset::{Features, fence_rules, fence_sets};
use crate::types::{ActiveFence, FenceMode, VipError, VipSettings};

/// The fence that the settings ask for, as far as this machine has it. Makes the empty tables.
pub(super) fn choose_fence(settings: &VipSettings) -> Result<(ActiveFence, Features), VipError> {
    let least = Features::TRIES[Features::TRIES.len() - 1];
    if settings.fence == FenceMode::Lifetime {
        return Ok((ActiveFence::Lifetime, least));
    }
    match try_nftables(settings) {
        Ok(features) if settings.fence == FenceMode::Auto => {
            Ok((ActiveFence::NftablesAndLifetime, features))
        }
        Ok(features) => Ok((ActiveFence::Nftables, features)),
        Err(error) if settings.fence == FenceMode::Auto => {
            tracing::warn!(%error, "no nftables fence: only the addresses' lifetime of 1 s");
            Ok((ActiveFence::Lifetime, least))
        }
        Err(error) => Err(VipError::FenceUnavailable(error.to_string())),
    }
}

fn try_nftables(settings: &VipSettings) -> Result<Features, VipError> {
    let nft = Nft::new(&settings.nft);
    // Addresses for documentation: never on a network.
    let members: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1"]
        .into_iter()
        .filter_map(|a| a.parse().ok())
        .collect();
    let loopback = BTreeMap::from([(1, "lo".to_owned())]);
    let mut last = VipError::Nft("not tried".to_owned());
    for features in Features::TRIES {
        let script = format!(
            "{}{}",
            fence_sets(features),
            fence_rules(&loopback, features)
        );
        match nft.check(&script) {
            Ok(()) => {
                nft.run(&fence_sets(features))?;
                let mut elements =
                    Elements::open(features).map_err(VipError::kernel("open nfnetlink"))?;
                let in_place = try_elements(&mut elements, &members)
                    .map_err(VipError::kernel("try lease elements"))?;
                return Ok(Features {
                    in_place,
                    ..features
                });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Goes through the life of an element; whether a renewal in place takes effect.
fn try_elements(elements: &mut Elements, members: &[IpAddr]) -> io::Result<bool> {
    elements.claim(members, SHORTEST)?;
    elements.renew(members, SHORTEST)?;
    // As `renew` does it in place.
    elements.prolong(members, SHORTEST * 10)?;
    std::thread::sleep(SHORTEST * 2);
    match elements.end_living(members) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
