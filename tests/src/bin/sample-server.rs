//! The sample server: `sample-server NAME BIND PORT...`. On every connection it
//! says its name and a line end, then echoes until the other side closes.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

const STACK: usize = 64 << 10;

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: sample-server NAME BIND PORT...";
    let (name, bind) = (args.next().expect(usage), args.next().expect(usage));
    let listeners = args
        .map(|port| {
            TcpListener::bind(format!("{bind}:{port}"))
                .map_err(|error| io::Error::new(error.kind(), format!("{bind}:{port}: {error}")))
        })
        .collect::<io::Result<Vec<_>>>()?;
    let threads: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let banner = format!("{name}\n");
            thread::spawn(move || accept(&listener, &banner))
        })
        .collect();
    threads.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}

fn accept(listener: &TcpListener, banner: &str) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let banner = banner.to_owned();
        // No thread left: this connection is dropped and the client sees it closed.
        let _ = thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || serve(stream, &banner));
    }
}

fn serve(mut stream: TcpStream, banner: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(banner.as_bytes())?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}
