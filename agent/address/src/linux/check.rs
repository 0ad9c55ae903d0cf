//! What no outside world can make right in a configuration. Pure.

use std::collections::BTreeSet;

use crate::types::{Intercept, Vip, VipError};

const MAX_VIPS: usize = 256;

/// Refuses a configuration that contradicts itself.
pub(super) fn check(vips: &[Vip], intercepts: &[Intercept]) -> Result<(), VipError> {
    let invalid = |why: String| Err(VipError::Invalid(why));
    if vips.len() > MAX_VIPS {
        return invalid(format!("more than {MAX_VIPS} virtual IPs"));
    }
    let mut addresses = BTreeSet::new();
    for vip in vips {
        let ip = vip.address;
        if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() {
            return invalid(format!("{ip} cannot be a virtual IP"));
        }
        if !addresses.insert(ip) {
            return invalid(format!("the virtual IP {ip} is there twice"));
        }
    }
    for intercept in intercepts {
        if !addresses.contains(&intercept.address) {
            return invalid(format!(
                "{} is intercepted and no virtual IP",
                intercept.address
            ));
        }
        if intercept
            .ports
            .iter()
            .any(|r| *r.start() == 0 || r.start() > r.end())
        {
            return invalid(format!(
                "a port range of {} is empty or has port 0",
                intercept.address
            ));
        }
        if intercept.to_port == 0 {
            return invalid(format!("{} is intercepted to port 0", intercept.address));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::*;

    #[test]
    fn contradictions_are_refused() {
        let vip = |address: &str| Vip {
            name: "v".to_owned(),
            address: address.parse().expect("a literal"),
            interface: None,
        };
        let intercept = |address: &str, ports: RangeInclusive<u16>, to_port| Intercept {
            address: address.parse().expect("a literal"),
            ports: vec![ports],
            to_port,
        };
        let (a, b) = ("10.0.0.100", "fd00::64");
        #[allow(clippy::reversed_empty_ranges, reason = "that is what is tried")]
        let rows = [
            (
                vec![vip(a), vip(b)],
                vec![intercept(a, 1..=65535, 1), intercept(b, 5..=5, 1)],
                true,
            ),
            (vec![vip(a), vip(a)], vec![], false),
            (vec![vip("127.0.0.1")], vec![], false),
            (vec![vip("ff02::1")], vec![], false),
            (vec![vip("0.0.0.0")], vec![], false),
            (vec![vip(a)], vec![intercept(b, 5..=5, 1)], false),
            (vec![vip(a)], vec![intercept(a, 0..=5, 1)], false),
            (vec![vip(a)], vec![intercept(a, 6..=5, 1)], false),
            (vec![vip(a)], vec![intercept(a, 5..=5, 0)], false),
        ];
        for (vips, intercepts, fine) in rows {
            assert_eq!(
                check(&vips, &intercepts).is_ok(),
                fine,
                "{vips:?} {intercepts:?}"
            );
        }
    }
}
