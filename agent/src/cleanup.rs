//! `cleanup`: takes away what an agent left that was killed. It is found by its mark: no file says where it is.

use crate::sys::platform::machine::missing_privileges;
use ha_address::{VipError, VipSettings};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// What `cleanup` has taken away.
pub struct Cleaned {
    /// Addresses that were left, and are gone.
    pub removed: Vec<String>,
    /// Without privilege nobody sees the rules of nftables.
    pub rules_looked_at: bool,
}

impl fmt::Display for Cleaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.removed.is_empty(), self.rules_looked_at) {
            (false, _) => write!(f, "removed: {}", self.removed.join(", "))?,
            (true, true) => f.write_str("removed: nothing was left")?,
            (true, false) => f.write_str("removed: nothing; no address was left")?,
        }
        if self.rules_looked_at {
            Ok(())
        } else {
            f.write_str("\nnot looked at: the rules of nftables, which needs root or CAP_NET_ADMIN: run it as root")
        }
    }
}

/// Removes managed addresses and our tables.
///
/// # Errors
/// An agent runs and manages them; the kernel refuses.
pub fn cleanup() -> Result<Cleaned, VipError> {
    let settings = VipSettings::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let removed = ha_address::platform::cleanup(&settings, &[])?;
    Ok(Cleaned {
        removed: removed.iter().map(ToString::to_string).collect(),
        rules_looked_at: !missing_privileges().contains(&"CAP_NET_ADMIN"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_looked_at_is_not_said_to_be_gone() {
        let said = |rules_looked_at| {
            let removed = Vec::new();
            Cleaned {
                removed,
                rules_looked_at,
            }
            .to_string()
        };
        assert_eq!(said(true), "removed: nothing was left");
        assert!(!said(false).contains("nothing was left"), "{}", said(false));
        assert!(said(false).contains("not looked at"), "{}", said(false));
    }
}
