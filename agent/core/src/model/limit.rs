//! How many sessions one client may have at a frontend at once.

use crate::stick::mask;
use serde::Serialize;
use std::net::IpAddr;

/// Leading bits of an IPv6 client's address that count, when the file does not say: what one site is given.
const MASK6: u8 = 64;
/// The share of a node's sessions that one client may have when the file names no number.
const SHARE: u64 = 4;

/// For each client, or client network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ClientLimit {
    /// Sessions at once; 0 = as many as come; `None`: a quarter of all that the node takes.
    pub sessions: Option<u32>,
    /// Leading bits of an IPv4 address that count.
    pub mask_v4: u8,
    /// Leading bits of an IPv6 address that count.
    pub mask_v6: u8,
}

impl Default for ClientLimit {
    fn default() -> Self {
        ClientLimit {
            sessions: None,
            mask_v4: 32,
            mask_v6: MASK6,
        }
    }
}

impl ClientLimit {
    pub const NONE: ClientLimit = ClientLimit {
        sessions: Some(0),
        mask_v4: 32,
        mask_v6: MASK6,
    };

    /// The bound on a node that takes `sessions_max` sessions in all; `None`: there is none.
    pub fn of_node(&self, sessions_max: u64) -> Option<u64> {
        match self.sessions {
            Some(0) => None,
            Some(sessions) => Some(u64::from(sessions)),
            None => Some((sessions_max / SHARE).max(1)),
        }
    }

    /// Whose sessions are counted together with those of `client`.
    pub fn network_of(&self, client: IpAddr) -> IpAddr {
        mask(client, self.mask_v4, self.mask_v6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_has_a_quarter_of_a_node_unless_the_file_says_otherwise() {
        let with = |sessions| ClientLimit {
            sessions,
            ..ClientLimit::default()
        };
        assert_eq!(with(None).of_node(393_120), Some(98_280));
        assert_eq!(with(None).of_node(3), Some(1), "it is let in at all");
        assert_eq!(with(Some(7)).of_node(3), Some(7));
        assert_eq!(with(Some(0)).of_node(3), None);
        assert_eq!(ClientLimit::NONE.of_node(3), None);
    }

    #[test]
    fn who_has_a_whole_network_of_addresses_is_one_client() {
        let limit = ClientLimit::default();
        let network = |a: &str| limit.network_of(a.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
        assert_eq!(network("10.0.0.1"), network("::ffff:10.0.0.1"));
    }
}
