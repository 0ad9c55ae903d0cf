//! Checks: which kinds there are, what a prober is told, and the state machine that results go through.
//!
//! ```text
//!   cluster.toml --> Kind --Kind::probe(where the server is)--> Probe --prober--> CheckResult --> ServerHealth
//!                     |  ^
//!                name and settings, as text: the form in records
//! ```
//!
//! A new kind is a variant of [`Kind`] with its arms here, a prober that carries it out, its keys in the
//! configuration file and its page in the documentation. Nothing else knows the kinds apart.

mod health;
mod settings;

pub use health::{CheckResult, ServerHealth, Transition};

use serde::Serialize;
use settings::{SettingsText, Value};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How a check finds out whether a server works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// Connects, and closes again.
    Tcp {
        /// `None`: the server's own.
        port: Option<u16>,
        /// How the connection ends.
        close: CheckClose,
    },
    /// Asks nobody and always says the same: for tests, and for a server whose state only its operator knows.
    Always { up: bool },
    /// Of another version of this program. It is kept as it was written, and nothing is checked by it.
    Other { name: String, settings: String },
}

/// How a TCP check closes its connection (HAProxy's `linger`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum CheckClose {
    /// One RST: leaves nothing behind on the server.
    #[default]
    Rst,
    /// With a FIN, as a client that is done.
    Fin,
}

impl CheckClose {
    /// The word in the configuration file and in records.
    pub const fn word(self) -> &'static str {
        match self {
            CheckClose::Rst => "rst",
            CheckClose::Fin => "fin",
        }
    }

    /// The close that a word names.
    pub fn from_word(word: &str) -> Option<CheckClose> {
        [CheckClose::Rst, CheckClose::Fin]
            .into_iter()
            .find(|c| c.word() == word)
    }
}

impl Kind {
    /// The names of the kinds that this version carries out.
    pub const fn known() -> &'static [&'static str] {
        &["tcp", "always"]
    }

    /// The same as a set, as a member carries it.
    pub fn known_set() -> BTreeSet<String> {
        Kind::known().iter().map(|k| (*k).to_owned()).collect()
    }

    /// The word in the configuration file and in records.
    pub fn name(&self) -> &str {
        match self {
            Kind::Tcp { .. } => "tcp",
            Kind::Always { .. } => "always",
            Kind::Other { name, .. } => name,
        }
    }

    /// What the kind was told, in the one text that every node makes of it: `port = 5022, close = "rst"`.
    pub fn settings(&self) -> String {
        match self {
            Kind::Tcp { port, close } => SettingsText::default()
                .with("port", port.map(|p| Value::Number(p.into())))
                .with("close", Some(Value::Text(close.word().to_owned())))
                .to_string(),
            Kind::Always { up } => SettingsText::default()
                .with("always", Some(Value::Text(up_word(*up).to_owned())))
                .to_string(),
            Kind::Other { settings, .. } => settings.clone(),
        }
    }

    /// The kind that a record names. One that this version does not know, or whose settings it does not
    /// understand, is kept as [`Kind::Other`], so that nothing is lost when it is written again.
    pub fn from_record(name: &str, settings: &str) -> Kind {
        let known = SettingsText::parse(settings).and_then(|given| match name {
            "tcp" => tcp(given),
            "always" => always(given),
            _ => None,
        });
        known.unwrap_or_else(|| Kind::Other {
            name: name.to_owned(),
            settings: settings.to_owned(),
        })
    }

    /// Whether a look of this kind shows that the server is there.
    pub const fn asks_the_server(&self) -> bool {
        match self {
            Kind::Tcp { .. } => true,
            Kind::Always { .. } | Kind::Other { .. } => false,
        }
    }

    /// The port that a probe connects to when it is not the server's own.
    pub const fn port(&self) -> Option<u16> {
        match self {
            Kind::Tcp { port, .. } => *port,
            Kind::Always { .. } | Kind::Other { .. } => None,
        }
    }

    /// What a prober is told about a server at `address` with a port of its own or none. `None`: it cannot be
    /// checked, because it has no port or this version does not know the kind.
    pub fn probe(
        &self,
        address: IpAddr,
        server_port: Option<u16>,
        within: Duration,
    ) -> Option<Probe> {
        let port = match self {
            Kind::Tcp { port, .. } => port.or(server_port)?,
            Kind::Always { .. } => server_port.unwrap_or(0),
            Kind::Other { .. } => return None,
        };
        Some(Probe {
            kind: self.clone(),
            address,
            port,
            within,
        })
    }
}

fn tcp(mut given: SettingsText) -> Option<Kind> {
    let port = match given.take("port") {
        None => None,
        Some(Value::Number(port)) => Some(u16::try_from(port).ok().filter(|p| *p > 0)?),
        Some(Value::Text(_)) => return None,
    };
    let close = match given.take("close") {
        None => CheckClose::default(),
        Some(Value::Text(word)) => CheckClose::from_word(&word)?,
        Some(Value::Number(_)) => return None,
    };
    given.is_empty().then_some(Kind::Tcp { port, close })
}

fn always(mut given: SettingsText) -> Option<Kind> {
    let up = match given.take("always") {
        None => true,
        Some(Value::Text(word)) if word == up_word(true) => true,
        Some(Value::Text(word)) if word == up_word(false) => false,
        Some(_) => return None,
    };
    given.is_empty().then_some(Kind::Always { up })
}

const fn up_word(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

/// One look at one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// How it is looked at.
    pub kind: Kind,
    /// Where it is looked at.
    pub address: IpAddr,
    /// The check's, else the server's; 0 for a kind that uses none.
    pub port: u16,
    /// What has not answered by then is a [`CheckResult::TimedOut`].
    pub within: Duration,
}

impl Probe {
    /// Whether something accepts connections there.
    pub const fn connect(to: SocketAddr, within: Duration) -> Probe {
        Probe {
            kind: Kind::Tcp {
                port: None,
                close: CheckClose::Rst,
            },
            address: to.ip(),
            port: to.port(),
            within,
        }
    }

    /// The same look, with no more time than `bound`.
    #[must_use]
    pub fn at_most(self, bound: Duration) -> Probe {
        Probe {
            within: self.within.min(bound),
            ..self
        }
    }

    pub const fn to(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(1);

    fn tcp(port: Option<u16>, close: CheckClose) -> Kind {
        Kind::Tcp { port, close }
    }

    #[test]
    fn a_kind_comes_back_from_its_record() {
        for (kind, settings) in [
            (
                tcp(Some(5022), CheckClose::Rst),
                "port = 5022, close = \"rst\"",
            ),
            (tcp(None, CheckClose::Fin), "close = \"fin\""),
            (Kind::Always { up: true }, "always = \"up\""),
            (Kind::Always { up: false }, "always = \"down\""),
        ] {
            assert_eq!(kind.settings(), settings);
            assert_eq!(Kind::from_record(kind.name(), settings), kind);
        }
        assert_eq!(
            Kind::from_record("tcp", ""),
            tcp(None, CheckClose::Rst),
            "what is not said is the default"
        );
    }

    #[test]
    fn what_is_not_understood_is_kept_as_it_was_written() {
        for (name, settings) in [
            ("http", "port = 80, path = \"/\""),
            ("tcp", "port = 0"),
            ("tcp", "port = 70000"),
            ("tcp", "port = \"5022\""),
            ("tcp", "close = \"bye\""),
            ("tcp", "port = 5022, tls = \"yes\""),
            ("tcp", "port = 1, port = 2"),
            ("tcp", "port ="),
            ("always", "always = \"perhaps\""),
            ("always", "port = 1"),
            ("", "\u{0}"),
        ] {
            let kind = Kind::from_record(name, settings);
            assert!(matches!(kind, Kind::Other { .. }), "{name} {settings}");
            assert_eq!((kind.name(), kind.settings().as_str()), (name, settings));
        }
    }

    #[test]
    fn every_known_name_is_a_kind() {
        for name in Kind::known() {
            assert!(!matches!(Kind::from_record(name, ""), Kind::Other { .. }));
        }
    }

    #[test]
    fn a_probe_goes_to_the_port_of_the_check_before_that_of_the_server() {
        let ip = IpAddr::from([10, 0, 0, 1]);
        let port =
            |kind: Kind, own: Option<u16>| kind.probe(ip, own, WITHIN).map(|p| p.to().port());
        assert_eq!(port(tcp(Some(1), CheckClose::Rst), Some(2)), Some(1));
        assert_eq!(port(tcp(None, CheckClose::Rst), Some(2)), Some(2));
        assert_eq!(port(tcp(None, CheckClose::Rst), None), None);
        assert_eq!(port(Kind::from_record("later", ""), Some(2)), None);
        let always = Kind::Always { up: true };
        assert_eq!(port(always, None), Some(0), "it needs none");
    }
}
