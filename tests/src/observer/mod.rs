//! The observer: listens where frames enter the switch and records every sign
//! that a machine answers for a virtual IP.
//!
//! A *sign* is an ARP packet that claims the address (reply or announcement), a
//! neighbour advertisement for it, or any IP packet that has it as its source.
//! Signs of one machine in a row are a *reign* ([`Reign`]). `A A B B` is one change
//! of hand; `A B A` is two machines answering, unless the test opened a new phase
//! ([`Observer::phase`]) before A came back, which it may do only when it caused that.
//!
//! * `capture`: the packet socket and its thread; [`packet`]: what counts as a sign.
//! * [`report`]: reigns, changes of hand, and the verdict.

mod capture;
pub mod packet;
pub mod report;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub use report::{Reign, Report};

use crate::netns::Topology;
use crate::{sys, wait};
use capture::Capture;

/// Watches until it is dropped or asked for its last report.
pub struct Observer {
    stop: Arc<AtomicBool>,
    log: Arc<Mutex<Log>>,
    names: Vec<([u8; 6], String)>,
    thread: Option<JoinHandle<()>>,
}

/// What the capturing thread writes and reports read.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) reigns: Vec<Reign>,
    /// When each phase after the first began, and its name.
    pub(crate) phases: Vec<(Duration, String)>,
    /// Packets that the kernel could not hand over: with any, there is no verdict.
    pub(crate) lost: u64,
    /// Everything that arrived before this instant (wall clock) has been read.
    pub(crate) read_until: Duration,
}

impl Observer {
    /// Starts watching these virtual IPs; returns when the socket is open.
    pub fn start(topology: &Topology, addresses: &[IpAddr]) -> Observer {
        let stop = Arc::new(AtomicBool::new(false));
        let log = Arc::new(Mutex::new(Log::default()));
        let switch = topology.switch().to_owned();
        let capture = sys::in_netns(&switch, || Capture::open("br0"))
            .and_then(|opened| opened)
            .expect("the observer can listen on the switch");
        let machines = (topology.nodes().iter()).chain(topology.clients());
        let names = machines
            .map(|machine| (machine.mac(), machine.name.clone()))
            .collect();
        let thread = std::thread::spawn({
            let (stop, log, addresses) = (stop.clone(), log.clone(), addresses.to_vec());
            move || capture.watch(&addresses, &stop, &log)
        });
        Observer {
            stop,
            log,
            names,
            thread: Some(thread),
        }
    }

    /// From now a machine that reigned earlier may reign again: the test has moved the address by
    /// intention, or the last fault is over and its new holder established.
    pub fn phase(&self, name: &str) {
        self.log
            .lock()
            .expect("capture does not panic")
            .phases
            .push((sys::wall(), name.into()));
    }

    /// What was seen until now.
    pub fn report(&self) -> Report {
        let asked = sys::wall();
        wait::until(
            "the observer to read what has arrived",
            Duration::from_secs(5),
            || {
                let read_until = self.log.lock().expect("capture does not panic").read_until;
                if read_until >= asked {
                    Ok(())
                } else {
                    Err(format!("{:?} behind", asked.saturating_sub(read_until)))
                }
            },
        );
        let log = self.log.lock().expect("capture does not panic");
        Report::new(&log, &self.names)
    }

    /// Stops watching and says what was seen.
    pub fn finish(self) -> Report {
        self.report()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
