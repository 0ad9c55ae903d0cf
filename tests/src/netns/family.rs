//! The two families of addresses, and a test for each.

use std::fmt;

use super::{VIP4, VIP6};

/// The addresses of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4; machines have an address of IPv6 besides.
    Four,
    /// IPv6, and no address of IPv4 anywhere.
    Six,
}

impl Family {
    /// The virtual IP of tests, with the length of its subnet.
    pub fn vip(self) -> String {
        match self {
            Family::Four => format!("{VIP4}/24"),
            Family::Six => format!("{VIP6}/64"),
        }
    }

    /// What a server binds that listens on all addresses.
    pub fn any(self) -> &'static str {
        match self {
            Family::Four => "0.0.0.0",
            Family::Six => "[::]",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Four => "IPv4",
            Family::Six => "IPv6",
        })
    }
}

/// Makes a test in each family of functions that take one: `ipv4::NAME` and `ipv6::NAME`.
#[macro_export]
macro_rules! in_both_families {
    ($($test:ident),+ $(,)?) => {
        $crate::in_both_families!(@ipv4 Four $($test)+);
        $crate::in_both_families!(@ipv6 Six $($test)+);
    };
    (@$module:ident $family:ident $($test:ident)+) => {
        mod $module {
            $(#[test]
            fn $test() {
                $crate::require_root!();
                super::$test($crate::netns::Family::$family);
            })+
        }
    };
}
