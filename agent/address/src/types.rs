//! What the caller of this module says and hears: settings, configuration, events, errors.

use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// How the kernel is told to stop answering by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FenceMode {
    /// nftables where it works, and the address's lifetime in any case.
    Auto,
    /// Only nftables: addresses are added for ever. Starting fails where nftables does not work.
    Nftables,
    /// Only the address's lifetime, which the kernel counts in whole seconds.
    Lifetime,
}

/// What is really in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActiveFence {
    /// Stops answering within the lease; the address is gone about a second later.
    NftablesAndLifetime,
    /// Stops answering within the lease; the address stays.
    Nftables,
    /// Stops answering 1.00 to 1.28 s after the last refresh.
    Lifetime,
}

impl ActiveFence {
    /// Whether nftables elements are part of it.
    pub fn nftables(self) -> bool {
        self != ActiveFence::Lifetime
    }

    /// Whether addresses are added with a lifetime.
    pub fn lifetime(self) -> bool {
        self != ActiveFence::Nftables
    }
}

/// What is done when another machine claims an address that is held here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnClaim {
    /// The neighbours are told again where it is.
    Defend,
    /// This node is not fit to hold while that machine answers for it, and for 10 s after its last claim.
    Yield,
}

/// What stays the same while the agent runs.
#[derive(Debug, Clone)]
pub struct VipSettings {
    /// Interface of every virtual IP that names none. `None`: the one whose subnet contains the
    /// virtual IP, else the one that has `node_address`.
    pub interface: Option<String>,
    /// This node's own address.
    pub node_address: IpAddr,
    /// Which fence is wanted.
    pub fence: FenceMode,
    /// How long after the instant given to `hold` the kernel may still answer (promise less lease
    /// less drift). Used only with `ActiveFence::Lifetime`: there an address is refreshed only
    /// while `until + overrun` is at least 1.28 s away, so the lease plus this must be longer.
    pub overrun: Duration,
    /// Value of `IFA_PROTO` by which leftover addresses are found (`ip -d addr` shows it).
    pub mark: u8,
    /// The `nft` program, looked up in `PATH` when it has no slash.
    pub nft: PathBuf,
    /// What is done about another machine's claim.
    pub on_claim: OnClaim,
    /// Machines of the segment of which one must answer for this node to be fit to hold; empty: none must.
    pub gateways: Vec<IpAddr>,
    /// Program that is started with the arguments `warden MARK` and calls `platform::warden::run`;
    /// `None`: nothing but the address's lifetime takes it off when this process is killed.
    pub warden: Option<PathBuf>,
}

impl VipSettings {
    /// Settings with the usual defaults: interface by subnet, fence `Auto`, mark 0x48, claims defended, no gateway.
    pub fn new(node_address: IpAddr) -> Self {
        Self {
            interface: None,
            node_address,
            fence: FenceMode::Auto,
            overrun: Duration::ZERO,
            mark: 0x48,
            nft: PathBuf::from("nft"),
            warden: None,
            on_claim: OnClaim::Defend,
            gateways: Vec::new(),
        }
    }
}

/// One virtual IP. It is added as /32 or /128, so that it brings no route of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vip {
    /// The operator's name for it; used in messages only.
    pub name: String,
    /// The address that moves. Unicast; neither loopback nor unspecified.
    pub address: IpAddr,
    /// Its interface, when it is not that of the settings.
    pub interface: Option<String>,
}

/// An interface that virtual IPs go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    /// Whether it is up and the cable is in.
    pub carrier: bool,
}

/// What other people's rules, or settings of the kernel, do to a virtual IP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// What was found, in words.
    pub found: String,
    /// What to add or change.
    pub remedy: String,
}

/// Who has an address already that is to be a virtual IP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// This machine is reached there.
    Own,
    /// This machine has it besides, as keepalived or a network configuration put it there.
    Left {
        interface: String,
        /// With what length of subnet.
        prefix: u8,
    },
    /// It is one of IPv6, and this machine has none where it would go.
    NoIpv6 { interface: String },
    /// Another machine answers for it.
    Other {
        /// With this hardware address.
        mac: [u8; 6],
    },
}

impl Taken {
    /// What was found and what helps, in words.
    pub fn words(&self, address: IpAddr) -> (String, String) {
        match self {
            Taken::Own => (
                format!("{address} is this machine's own address"),
                "give the virtual IP an address of the same subnet that no machine has".to_owned(),
            ),
            Taken::Left { interface, prefix } => (
                format!("{address} is a static address of this machine"),
                format!(
                    "take it away (`ip addr del {address}/{prefix} dev {interface}`), and out of keepalived.conf or the network configuration: the agent alone adds it, where it is held"
                ),
            ),
            Taken::NoIpv6 { interface } => no_ipv6(address, interface),
            Taken::Other { mac } => (
                format!("{address} is answered for by {}", mac_words(*mac)),
                "take the address off that machine first: two of them would answer".to_owned(),
            ),
        }
    }
}

/// What was found and what helps where IPv6 is switched off.
fn no_ipv6(address: IpAddr, interface: &str) -> (String, String) {
    (
        format!("IPv6 is disabled on {interface}, so that {address} cannot be added there"),
        format!(
            "`sysctl net.ipv6.conf.{interface}.disable_ipv6=0`, the same in /etc/sysctl.d, and no `ipv6.disable=1` on the kernel's command line"
        ),
    )
}

/// As people write a hardware address.
pub fn mac_words(mac: [u8; 6]) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

/// TCP ports of one virtual IP that go to a transparent listener on loopback.
///
/// Naming an address here also guards it: other TCP ports are refused with a reset, UDP with port
/// unreachable; ICMP passes. Without any ports everything but ICMP is refused. An address in no
/// `Intercept` is left alone (the proxy binds it plainly).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intercept {
    /// A configured virtual IP.
    pub address: IpAddr,
    /// Ports as the client sees them, 1 to 65535; may overlap.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Port of the listener on 127.0.0.1 or ::1, which must have `IP_TRANSPARENT`.
    pub to_port: u16,
}

/// News from the kernel. Lost when the channel is full: every one of them is also mended here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VipEvent {
    /// An interface of ours got or lost its carrier.
    Carrier {
        interface: String,
        /// Whether the carrier is there now.
        up: bool,
    },
    /// Another machine claimed an address that is held here; at most once a second per address.
    ForeignClaim {
        address: IpAddr,
        /// Hardware address that the other machine gave.
        mac: [u8; 6],
    },
    /// A held address had vanished from its interface.
    AddressGone {
        address: IpAddr,
        /// Where it was missed.
        interface: String,
    },
    /// Something that was lost is back.
    Mended {
        /// What it was, for a log.
        what: String,
    },
    /// A renewal was not sent (or was taken back) because its instant had passed by this much.
    FenceLate {
        /// How late it was, or how long it took.
        by: Duration,
    },
    /// Something could not be done; it is tried again. The same words at most every 5 s.
    Failed {
        /// What was tried and why it failed, for a log.
        what: String,
    },
}

/// Called once, from a thread of this module; must not block.
pub type Done = Box<dyn FnOnce(Result<(), VipError>) + Send>;

/// A process that has something, as far as this one may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldBy {
    /// Its process, where the system tells.
    pub pid: Option<u32>,
    /// Its user, where the system tells.
    pub uid: Option<u32>,
    /// Its program's name; empty: not known.
    pub program: String,
}

impl std::fmt::Display for HeldBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(pid) = self.pid else {
            return f.write_str("another process");
        };
        write!(f, "process {pid}")?;
        match (self.program.as_str(), self.uid) {
            ("", None) => Ok(()),
            ("", Some(uid)) => write!(f, " (uid {uid})"),
            (program, None) => write!(f, " ({program})"),
            (program, Some(uid)) => write!(f, " ({program}, uid {uid})"),
        }
    }
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum VipError {
    /// Another process manages them.
    #[error(
        "{0} manages the virtual IPs of this machine already: stop that ha-agent first (`systemctl stop ha-agent`, or end the process)"
    )]
    InUse(HeldBy),
    /// A call to the kernel failed.
    #[error("{what}: {source}")]
    Kernel {
        /// What was being done.
        what: &'static str,
        /// What the kernel answered to the call.
        #[source]
        source: io::Error,
    },
    /// The `nft` program refused, failed, or took more than 2 s.
    #[error("nft: {0}")]
    Nft(String),
    /// The fence that was asked for does not work on this machine.
    #[error("fence unavailable: {0}")]
    FenceUnavailable(String),
    /// No interface for this address (yet); it is looked for again every second.
    #[error("no interface for the virtual IP {address}: {reason}")]
    NoInterface {
        address: IpAddr,
        /// What was looked for.
        reason: String,
    },
    /// A virtual IP is an address that this machine is reached at: it gets no fence and is not held.
    #[error(
        "{address} is this machine's own address: give the virtual IP an address of the same subnet that no machine has"
    )]
    Own { address: IpAddr },
    /// IPv6 is switched off where a virtual IP of it would go; it is looked for again every few seconds.
    #[error("{}: {}", no_ipv6(*.address, .interface).0, no_ipv6(*.address, .interface).1)]
    NoIpv6 {
        address: IpAddr,
        /// Where it would go.
        interface: String,
    },
    /// The configuration contradicts itself.
    #[error("{0}")]
    Invalid(String),
    /// No answer within the bound.
    #[error("{0} took too long")]
    TimedOut(&'static str),
    /// The kernel threads have stopped.
    #[error("stopped")]
    Stopped,
}

impl VipError {
    /// Wraps an error of the kernel with what was being done.
    pub(crate) fn kernel(what: &'static str) -> impl FnOnce(io::Error) -> VipError {
        move |source| VipError::Kernel { what, source }
    }
}
