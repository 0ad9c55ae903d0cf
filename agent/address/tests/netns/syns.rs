//! What a node hears of connection attempts, below its fence.

use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ha_address::platform::boot_now;

use crate::net::Net;
use crate::tools::{sleep, socket};

/// Collects the SYNs to an address that come to a node, whether or not its fence drops them.
pub struct Syns {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(Duration, Vec<u8>)>>,
}

impl Syns {
    pub fn listen(net: &Net, node: &str) -> Syns {
        let stop = Arc::<AtomicBool>::default();
        let end = stop.clone();
        let thread = net.spawn(node, move || {
            let fd = socket(
                libc::AF_PACKET,
                libc::SOCK_RAW,
                i32::from((libc::ETH_P_ALL as u16).to_be()),
            );
            let room: libc::c_int = 1 << 22;
            // SAFETY: the pointer comes with its length.
            unsafe {
                libc::setsockopt(
                    fd.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_RCVBUFFORCE,
                    (&raw const room).cast(),
                    4,
                )
            };
            let (mut seen, mut buffer) = (vec![], [0; 256]);
            loop {
                let last = end.load(Ordering::Relaxed);
                // SAFETY: the pointer comes with its length.
                while let Ok(length) = usize::try_from(unsafe {
                    libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0)
                }) {
                    let frame = &buffer[..length];
                    let v4 = length >= 54
                        && frame[12..14] == [8, 0]
                        && frame[30..34] == [10, 77, 0, 100]
                        && frame[47] & 0x17 == 2;
                    let v6 = length >= 74
                        && frame[12..14] == [0x86, 0xdd]
                        && frame[20] == 6
                        && frame[38..40] == [0xfd, 0x77]
                        && frame[67] & 0x17 == 2;
                    if v4 || v6 {
                        seen.push((boot_now(), frame.to_vec()));
                    }
                }
                if last {
                    return seen;
                }
                std::thread::sleep(Duration::from_micros(300));
            }
        });
        sleep(20);
        Syns { stop, thread }
    }

    /// What was seen until now.
    pub fn finish(self) -> Vec<(Duration, Vec<u8>)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a listener")
    }
}

pub fn mac(net: &Net, node: &str) -> Vec<u8> {
    let text = net.sh(node, "cat /sys/class/net/eth0/address");
    text.trim()
        .split(':')
        .map(|b| u8::from_str_radix(b, 16).expect("hexadecimal"))
        .collect()
}
