//! One connection that is kept: it knows its server and can ask whether it
//! still lives.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::netns::Machine;

/// A kept connection to a sample server.
pub struct Session {
    /// The banner of the server that it met.
    pub server: String,
    reader: BufReader<TcpStream>,
}

impl Session {
    /// Connects and reads the banner; `bound` also bounds each later answer.
    pub fn open(machine: &Machine, to: SocketAddr, bound: Duration) -> io::Result<Session> {
        Session::over(machine.connect(to, bound)?, bound)
    }

    /// Takes a connection and reads the banner.
    pub fn over(stream: TcpStream, bound: Duration) -> io::Result<Session> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(bound))?;
        stream.set_write_timeout(Some(bound))?;
        let mut reader = BufReader::new(stream);
        let server = line(&mut reader)?;
        Ok(Session { server, reader })
    }

    /// Says a line and expects it back.
    pub fn ping(&mut self) -> io::Result<()> {
        self.reader.get_mut().write_all(b"ping\n")?;
        match line(&mut self.reader)?.as_str() {
            "ping" => Ok(()),
            other => Err(io::Error::other(format!("echo was {other:?}"))),
        }
    }
}

fn line(reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut text = String::new();
    match reader.read_line(&mut text)? {
        0 => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "closed by the other side",
        )),
        _ => Ok(text.trim_end().into()),
    }
}
