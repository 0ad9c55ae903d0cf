//! A holder that renews, figures, small helpers.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ha_address::platform::{Kernel, boot_now};
use ha_address::{Done, FenceMode, Intercept, Vip, VipEvent, VipSettings};
use tokio::sync::mpsc::Receiver;

use crate::net::{Net, ip};

pub const LEASE: Duration = Duration::from_millis(240);

pub fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

pub fn sleep(value: u64) {
    std::thread::sleep(ms(value));
}

pub fn vip(address: &str) -> Vip {
    Vip {
        name: address.into(),
        address: ip(address),
        interface: None,
    }
}

/// How often something is tried: often with `HA_FULL=1`.
pub fn runs(few: usize, with_full: usize) -> usize {
    match std::env::var("HA_FULL").as_deref() {
        Ok("1") => with_full,
        _ => few,
    }
}

/// Waits for a condition; how long it took.
pub fn wait_for(what: &str, at_most: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let start = boot_now();
    while !condition() {
        assert!(
            boot_now() < start + at_most,
            "{what}: not within {at_most:?}"
        );
        std::thread::sleep(Duration::from_micros(500));
    }
    boot_now() - start
}

/// Smallest, median, largest, in milliseconds.
pub fn figures(values: &[f64]) -> String {
    let mut v = values.to_vec();
    v.sort_by(f64::total_cmp);
    format!(
        "min {:.1} median {:.1} max {:.1} ms (n={})",
        v[0],
        v[v.len() / 2],
        v[v.len() - 1],
        v.len()
    )
}

pub fn millis(from: Duration, to: Duration) -> f64 {
    (to.as_secs_f64() - from.as_secs_f64()) * 1000.0
}

/// A kernel handle in a node, and a thread that renews while it may.
pub struct Holder {
    pub kernel: Arc<Kernel>,
    pub events: Receiver<VipEvent>,
    renewing: Arc<AtomicBool>,
    quit: Arc<AtomicBool>,
    renewed: Arc<AtomicU64>,
    renewer: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.quit.store(true, Ordering::Relaxed);
        let _ = self.renewer.take().map(std::thread::JoinHandle::join);
    }
}

impl Holder {
    pub fn start(net: &Net, node: &str, fence: FenceMode, lease: Duration) -> Holder {
        let own = net.sh(node, "ip -4 -o addr show dev eth0 scope global");
        let own = own.split([' ', '/']).find(|word| word.starts_with("10."));
        Holder::start_at(net, node, own.expect("an address"), fence, lease)
    }

    /// With this address of the node's own.
    pub fn start_at(net: &Net, node: &str, own: &str, fence: FenceMode, lease: Duration) -> Holder {
        let settings = VipSettings {
            fence,
            overrun: ms(240),
            ..VipSettings::new(ip(own))
        };
        let (sender, events) = tokio::sync::mpsc::channel(256);
        let [renewing, quit] = std::array::from_fn(|_| Arc::<AtomicBool>::default());
        let kernel = net.within(node, move || {
            Arc::new(Kernel::start(settings, sender).expect("started"))
        });
        let (k, on, end) = (kernel.clone(), renewing.clone(), quit.clone());
        let renewed = Arc::<AtomicU64>::default();
        let at = renewed.clone();
        let renewer = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                if on.load(Ordering::Relaxed) {
                    let now = boot_now();
                    at.store(now.as_nanos() as u64, Ordering::Relaxed);
                    k.hold(now + lease);
                    sleep(50);
                } else {
                    sleep(1);
                }
            }
        });
        Holder {
            kernel,
            events,
            renewing,
            quit,
            renewed,
            renewer: Some(renewer),
        }
    }

    /// Blocking; from a thread of the caller, for the module's threads are in the node.
    pub fn configure(&self, vips: &[&str], intercepts: Vec<Intercept>) {
        self.kernel
            .configure(vips.iter().map(|v| vip(v)).collect(), intercepts)
            .expect("configured");
    }

    /// When it renewed last.
    pub fn renewed(&self) -> Duration {
        Duration::from_nanos(self.renewed.load(Ordering::Relaxed))
    }

    pub fn renew(&self, on: bool) {
        self.renewing.store(on, Ordering::Relaxed);
    }

    /// Stops renewing, releases, waits; how long the release took.
    pub fn release(&self) -> Duration {
        self.release_by(Kernel::release)
    }

    /// As `release`, for the next holder.
    pub fn hand_over(&self) -> Duration {
        self.release_by(Kernel::release_for_handover)
    }

    fn release_by(&self, release: fn(&Kernel, Done)) -> Duration {
        self.renew(false);
        sleep(60);
        let (sender, receiver) = std::sync::mpsc::channel();
        let start = boot_now();
        release(
            &self.kernel,
            Box::new(move |r| sender.send((r.is_ok(), boot_now())).expect("heard")),
        );
        let (ok, end) = receiver.recv_timeout(ms(1000)).expect("released");
        assert!(ok);
        end - start
    }

    pub fn news(&mut self) -> Vec<VipEvent> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }
}

/// The example program in a node.
pub struct Vipd {
    pub child: Child,
    state: PathBuf,
}

impl Vipd {
    pub fn start(net: &Net, node: &str, fence: &str, lease_ms: u64, vips: &[&str]) -> Vipd {
        let exe = std::env::current_exe().expect("own path");
        let program = exe
            .parent()
            .and_then(|p| p.parent())
            .expect("target")
            .join("examples/vipd");
        assert!(
            program.exists(),
            "{} is missing: cargo build -p ha-agent --examples",
            program.display()
        );
        let state = std::env::temp_dir().join(net.name("state"));
        let _ = std::fs::remove_file(&state);
        let child = Command::new("ip")
            .args(["netns", "exec", &net.name(node)])
            .arg(program)
            .args(["10.77.0.1", fence, &lease_ms.to_string()])
            .arg(&state)
            .args(vips)
            .stdout(Stdio::null())
            .spawn()
            .expect("vipd");
        let vipd = Vipd { child, state };
        wait_for("vipd renews", ms(5000), || vipd.try_renewed().is_some());
        vipd
    }

    fn try_renewed(&self) -> Option<Duration> {
        let bytes = std::fs::read(&self.state).ok()?;
        Some(Duration::from_nanos(u64::from_ne_bytes(
            bytes.try_into().ok()?,
        )))
    }

    /// When it renewed last.
    pub fn renewed(&self) -> Duration {
        self.try_renewed().expect("renewed once")
    }

    pub fn signal(&self, signal: libc::c_int) {
        // `ip netns exec` replaces itself, so this is the program's own id.
        // SAFETY: plain values; our own child, not yet waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), signal) };
    }
}

impl Drop for Vipd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.state);
    }
}

pub fn socket(family: i32, kind: i32, protocol: i32) -> OwnedFd {
    // SAFETY: plain values; checked; nobody else has the descriptor.
    unsafe {
        let fd = libc::socket(family, kind | libc::SOCK_NONBLOCK, protocol);
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

/// A listener on loopback that may take connections to any address.
pub fn transparent_listener(v4: bool, port: u16) -> TcpListener {
    let family = if v4 { libc::AF_INET } else { libc::AF_INET6 };
    let fd = socket(family, libc::SOCK_STREAM, 0);
    let (level, name) = match v4 {
        true => (libc::SOL_IP, libc::IP_TRANSPARENT),
        false => (libc::SOL_IPV6, libc::IPV6_TRANSPARENT),
    };
    let one: libc::c_int = 1;
    // SAFETY: pointers come with their lengths; sockaddr types are plain data.
    unsafe {
        for (level, name) in [(level, name), (libc::SOL_SOCKET, libc::SO_REUSEADDR)] {
            let set = libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const one).cast(), 4);
            assert_eq!(set, 0, "transparent");
        }
        let bound = if v4 {
            let mut at: libc::sockaddr_in = std::mem::zeroed();
            at.sin_family = libc::AF_INET as u16;
            at.sin_port = port.to_be();
            at.sin_addr.s_addr = u32::from_be_bytes([127, 0, 0, 1]).to_be();
            libc::bind(
                fd.as_raw_fd(),
                (&raw const at).cast(),
                size_of_val(&at) as u32,
            )
        } else {
            let mut at: libc::sockaddr_in6 = std::mem::zeroed();
            at.sin6_family = libc::AF_INET6 as u16;
            at.sin6_port = port.to_be();
            at.sin6_addr.s6_addr[15] = 1;
            libc::bind(
                fd.as_raw_fd(),
                (&raw const at).cast(),
                size_of_val(&at) as u32,
            )
        };
        assert_eq!(bound, 0, "{}", io::Error::last_os_error());
        assert_eq!(libc::listen(fd.as_raw_fd(), 64), 0);
        let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK);
    }
    TcpListener::from(fd)
}
