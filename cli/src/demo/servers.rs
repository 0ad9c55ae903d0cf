//! The sample servers: each answers every connection with its name and closes it.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Servers that run until this is dropped.
#[derive(Debug)]
pub struct SampleServers {
    stop: Arc<AtomicBool>,
    running: Vec<(SocketAddr, JoinHandle<()>)>,
}

impl SampleServers {
    /// Starts one thread for each name and listener.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(names: &[&'static str], listeners: Vec<TcpListener>) -> io::Result<Self> {
        let mut servers = SampleServers {
            stop: Arc::default(),
            running: Vec::new(),
        };
        for (&name, listener) in names.iter().zip(listeners) {
            let address = listener.local_addr()?;
            let stop = servers.stop.clone();
            let thread = std::thread::Builder::new().name(name.into());
            servers.running.push((
                address,
                thread.spawn(move || serve(name, &listener, &stop))?,
            ));
        }
        Ok(servers)
    }
}

fn serve(name: &str, listener: &TcpListener, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        // A client that is gone again, or a health check that resets, concerns nobody else.
        match listener.accept() {
            Ok((mut client, _)) => {
                let _ = client.set_write_timeout(Some(Duration::from_millis(200)));
                let _ = client.write_all(format!("{name}\n").as_bytes());
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

impl Drop for SampleServers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for (address, thread) in self.running.drain(..) {
            let _ = TcpStream::connect_timeout(&address, Duration::from_millis(200)); // wakes `accept`
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_server_says_its_name_and_goes_away_when_dropped() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let servers = SampleServers::start(&["alpha"], vec![listener]).unwrap();
        let mut text = String::new();
        TcpStream::connect(address)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "alpha\n");
        drop(servers);
        assert!(TcpStream::connect(address).is_err());
    }
}
