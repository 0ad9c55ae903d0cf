//! What clients talk to: the sample server (banner, then echo) on many ports,
//! and real programs: [`nginx`] with TLS, [`cups`].

pub mod cups;
pub mod nginx;

use std::net::SocketAddr;
use std::time::Duration;

use crate::client::Session;
use crate::netns::Machine;
use crate::process::{Process, own_program};
use crate::wait;

/// The ports of one multi-function printer system: one device uses them all. The first is the one that is checked.
pub const PRINT_PORTS: [u16; 10] = [5022, 5012, 5014, 5015, 5016, 5017, 5018, 5019, 50808, 50809];

/// Starts a sample server and waits until every port answers. `bind` is usually `0.0.0.0` or `[::]`: the port clash.
pub fn sample(machine: &Machine, name: &str, bind: &str, ports: &[u16]) -> Process {
    let ports_text: Vec<_> = ports.iter().map(u16::to_string).collect();
    let mut args = vec![name, bind];
    args.extend(ports_text.iter().map(String::as_str));
    let mut server = machine.spawn(
        &format!("server-{name}"),
        own_program("sample-server"),
        &args,
    );
    let address = bind
        .trim_matches(['[', ']'])
        .parse()
        .ok()
        .filter(|ip: &std::net::IpAddr| !ip.is_unspecified())
        .unwrap_or(machine.ip());
    for &port in ports {
        wait::until(
            &format!("{name} to answer on {port}"),
            Duration::from_secs(5),
            || {
                if let Some(status) = server.ended() {
                    panic!("server {name} ended ({status}): {}", server.tail());
                }
                let to = SocketAddr::new(address, port);
                Session::open(machine, to, Duration::from_secs(1))
                    .map(drop)
                    .map_err(|error| error.to_string())
            },
        );
    }
    server
}
