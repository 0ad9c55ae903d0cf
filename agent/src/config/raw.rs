//! The files as written: every key is known, every value may still be wrong.

use super::checks::RawCheck;
use super::units::{Kept, Span};
use ha_core::model::PortRange;
use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCluster {
    pub cluster: Option<RawGlobal>,
    #[serde(default)]
    pub virtual_ip: Vec<RawVirtualIp>,
    #[serde(default)]
    pub frontend: Vec<RawFrontend>,
    #[serde(default)]
    pub backend: Vec<RawBackend>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawGlobal {
    pub name: Option<Spanned<String>>,
    pub timing: Option<Spanned<String>>,
    pub promise: Option<Spanned<Span>>,
    pub failback: Option<Spanned<String>>,
    pub prefer: Option<Spanned<String>>,
    pub failback_after: Option<Span>,
    pub bindings_max: Option<Spanned<u32>>,
    pub certificate_lifetime: Option<Spanned<Kept>>,
    pub voter_timeout: Option<Spanned<Span>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawVirtualIp {
    pub name: Spanned<String>,
    pub address: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawFrontend {
    pub name: Spanned<String>,
    pub virtual_ip: Spanned<RawNames>,
    pub listeners: Spanned<Vec<Spanned<RawPorts>>>,
    pub backend: Spanned<String>,
    #[serde(default)]
    pub maxconn: u32,
    pub limit: Option<RawLimit>,
    pub client_timeout: Option<Span>,
    pub client_fin_timeout: Option<Span>,
    pub keepalive: Option<Spanned<Span>>,
    pub mode: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLimit {
    pub sessions: Option<u32>,
    pub mask: Option<Spanned<u8>>,
    pub mask6: Option<Spanned<u8>>,
}

/// One name or a list of them.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a name, or a list of names such as [\"print\", \"print6\"]"
)]
pub enum RawNames {
    One(String),
    Several(Vec<String>),
}

impl RawNames {
    pub fn all(&self) -> &[String] {
        match self {
            RawNames::One(name) => std::slice::from_ref(name),
            RawNames::Several(names) => names,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum RawPorts {
    One(i64),
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawBackend {
    pub name: Spanned<String>,
    pub balance: Option<Spanned<String>>,
    pub persistence: Option<Spanned<RawPersistence>>,
    pub check: Option<Spanned<RawCheck>>,
    pub on_down: Option<Spanned<String>>,
    pub connect_timeout: Option<Spanned<Span>>,
    pub server_timeout: Option<Span>,
    pub server_fin_timeout: Option<Span>,
    pub keepalive: Option<Spanned<Span>>,
    pub queue_timeout: Option<Span>,
    #[serde(default)]
    pub maxqueue: u32,
    pub retries: Option<Spanned<u32>>,
    pub redispatch: Option<bool>,
    pub observe: Option<Spanned<u32>>,
    #[serde(default)]
    pub server: Vec<RawServer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPersistence {
    pub by: Option<Spanned<String>>,
    pub expire: Option<Spanned<Kept>>,
    pub group: Option<Spanned<String>>,
    pub mask: Option<Spanned<u8>>,
    pub mask6: Option<Spanned<u8>>,
    pub mode: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawServer {
    pub name: Spanned<String>,
    pub node: Option<Spanned<String>>,
    pub address: Option<Spanned<String>>,
    pub port: Option<Spanned<u16>>,
    pub weight: Option<Spanned<u32>>,
    #[serde(default)]
    pub backup: bool,
    #[serde(default)]
    pub maxconn: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAgent {
    pub name: Spanned<String>,
    pub data_dir: Spanned<std::path::PathBuf>,
    pub listen: Spanned<String>,
    pub address: Option<Spanned<String>>,
    pub interface: Option<Spanned<toml::Value>>,
    pub gateway: Option<Spanned<toml::Value>>,
    pub on_claim: Option<Spanned<String>>,
    pub vip: Option<Spanned<String>>,
    pub fence: Option<Spanned<String>>,
    pub role: Option<Spanned<String>>,
    pub workers: Option<Spanned<u16>>,
    pub sessions_max: Option<Spanned<u32>>,
    pub proxy_port: Option<Spanned<u16>>,
    pub socket: Option<Spanned<std::path::PathBuf>>,
}

/// One port or several; what was found when it is neither.
pub fn port_range(raw: &RawPorts) -> Result<PortRange, String> {
    let port = |n: i64| u16::try_from(n).ok().filter(|p| *p > 0);
    match raw {
        RawPorts::One(n) => port(*n)
            .map(|p| PortRange { first: p, last: p })
            .ok_or_else(|| n.to_string()),
        RawPorts::Text(text) => {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let parse = |s: &str| s.trim().parse::<i64>().ok().and_then(port);
            match (parse(first), parse(last)) {
                (Some(first), Some(last)) if first <= last => Ok(PortRange { first, last }),
                _ => Err(format!("{text:?}")),
            }
        }
    }
}
