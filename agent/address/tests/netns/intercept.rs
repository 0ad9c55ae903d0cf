//! The proxy gets the virtual IP's ports; the node's applications keep theirs.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, channel};

use ha_address::{FenceMode, Intercept};

use crate::net::{Net, V4, V6, ip};
use crate::probes::{Ask, Prober};
use crate::tools::{Holder, LEASE, ms, sleep, transparent_listener};

/// Says who it is to everyone, and notes what the client asked for.
fn serve(listener: TcpListener, name: &'static str) -> Receiver<String> {
    let (sender, asked) = channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let local = stream.local_addr().expect("local address").to_string();
            let _ = stream.write_all(name.as_bytes());
            if sender.send(local).is_err() {
                return;
            }
        }
    });
    asked
}

fn ask(net: &Net, from: &str, address: &str, port: u16) -> Result<String, std::io::ErrorKind> {
    let at = std::net::SocketAddr::new(ip(address), port);
    net.within(from, move || {
        let mut stream = TcpStream::connect_timeout(&at, ms(1000)).map_err(|e| e.kind())?;
        stream
            .set_read_timeout(Some(ms(1000)))
            .map_err(|e| e.kind())?;
        let mut words = String::new();
        stream.read_to_string(&mut words).map_err(|e| e.kind())?;
        Ok(words)
    })
}

#[test]
fn ports_of_the_virtual_ip_reach_the_proxy_and_no_others_do() {
    for (address, node, any) in [(V4, "10.77.0.1", "0.0.0.0"), (V6, "fd77::1", "::")] {
        let Some(net) = Net::new() else { return };
        let holder = Holder::start(&net, "a", FenceMode::Auto, LEASE);
        let (proxy, application) = net.within("a", move || {
            let application: Vec<_> = [5022, 5017, 22, 80]
                .map(|port| {
                    serve(
                        TcpListener::bind((any, port)).expect("bound"),
                        "application",
                    )
                })
                .into();
            (
                serve(transparent_listener(any == "0.0.0.0", 15000), "proxy"),
                application,
            )
        });
        let intercept = Intercept {
            address: ip(address),
            ports: vec![5012..=5012, 5014..=5019, 5022..=5022],
            to_port: 15000,
        };
        holder.configure(&[address], vec![intercept]);
        holder.renew(true);
        Prober::start(&net, "c", Ask::Icmp, address).wait_answer();
        for port in [5012, 5014, 5017, 5019, 5022] {
            assert_eq!(
                ask(&net, "c", address, port).as_deref(),
                Ok("proxy"),
                "{address} {port}"
            );
            let asked = proxy.recv_timeout(ms(1000)).expect("asked");
            assert_eq!(
                asked,
                std::net::SocketAddr::new(ip(address), port).to_string()
            );
        }
        for port in [5022, 5017, 22, 80] {
            assert_eq!(
                ask(&net, "c", node, port).as_deref(),
                Ok("application"),
                "{node} {port}"
            );
        }
        for port in [22, 80, 5013, 15000] {
            let outcome = ask(&net, "c", address, port);
            assert_eq!(
                outcome,
                Err(std::io::ErrorKind::ConnectionRefused),
                "{address} {port}"
            );
        }
        // From the holder itself, over loopback.
        assert_eq!(
            ask(&net, "a", address, 5022).as_deref(),
            Ok("proxy"),
            "local client"
        );
        assert_eq!(
            ask(&net, "a", address, 22),
            Err(std::io::ErrorKind::ConnectionRefused)
        );
        udp_is_refused(&net, address, any);
        // The proxy's listener is gone: refused, never given to the application.
        drop(proxy);
        let _ = ask(&net, "c", address, 5022);
        sleep(50);
        let outcome = ask(&net, "c", address, 5022);
        assert_eq!(
            outcome,
            Err(std::io::ErrorKind::ConnectionRefused),
            "without a proxy"
        );
        // Not held any more: the holder's own applications do not answer for it either.
        holder.release();
        let outcome = ask(&net, "a", address, 22);
        assert!(outcome.is_err(), "local and not held: {outcome:?}");
        drop(application);
    }
}

fn udp_is_refused(net: &Net, address: &'static str, any: &'static str) {
    let application = net.within("a", move || UdpSocket::bind((any, 5353)).expect("bound"));
    application
        .set_read_timeout(Some(ms(100)))
        .expect("timeout");
    let answer = net.within("c", move || {
        let socket = UdpSocket::bind((any, 0)).expect("bound");
        socket.connect((address, 5353)).expect("connected");
        socket.set_read_timeout(Some(ms(500))).expect("timeout");
        socket.send(b"x").expect("sent");
        socket.recv(&mut [0; 8]).map_err(|e| e.kind())
    });
    assert_eq!(
        answer,
        Err(std::io::ErrorKind::ConnectionRefused),
        "udp to {address}"
    );
    assert!(
        application.recv(&mut [0; 8]).is_err(),
        "the application heard nothing"
    );
}
