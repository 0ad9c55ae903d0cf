//! nginx with TLS and a certificate of its own, and clients that check what
//! came through: openssl sees the certificate, curl the bytes.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::guard::find_program;
use crate::netns::Machine;
use crate::process::{self, Finished, Process, must};
use crate::wait;

pub struct Nginx {
    /// The process (master; its workers are its children).
    pub process: Process,
    /// SHA-256 fingerprint of its certificate, as openssl prints it.
    pub fingerprint: String,
    /// The file that it serves as `/big`.
    pub big: PathBuf,
}

/// Starts nginx with TLS on 0.0.0.0:`port`, serving a file of `size` bytes as `/big` and its name as `/name`.
pub fn start(machine: &Machine, port: u16, size: usize) -> Nginx {
    let dir = machine.dir().join("nginx");
    fs::create_dir_all(dir.join("html")).expect("nginx directory");
    let fingerprint = certificate(&dir, &machine.name);
    let big = dir.join("html/big");
    fs::write(&big, noise(size, u64::from(machine.number))).expect("large file");
    fs::write(dir.join("html/name"), format!("{}\n", machine.name)).expect("name file");
    let file = dir.join("nginx.conf");
    fs::write(&file, configuration(&dir, port)).expect("nginx.conf");
    let program = find_program("nginx").expect("nginx is installed: the guard looked");
    let mut process = machine.spawn(
        "nginx",
        program,
        &["-c", &file.to_string_lossy(), "-g", "daemon off;"],
    );
    let own = SocketAddr::new(machine.ip4(), port);
    wait::until("nginx to listen", Duration::from_secs(10), || {
        assert!(process.ended().is_none(), "nginx ended: {}", process.tail());
        machine
            .connect(own, Duration::from_secs(1))
            .map(drop)
            .map_err(|error| error.to_string())
    });
    Nginx {
        process,
        fingerprint,
        big,
    }
}

/// The fingerprint of the certificate that a client meets at an address.
pub fn met_certificate(client: &Machine, to: SocketAddr) -> Result<String, String> {
    let script = format!(
        "openssl s_client -connect {to} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256"
    );
    let printed = client
        .run(&["sh", "-c", &script], Duration::from_secs(10))
        .ok()?;
    Ok(printed.trim().to_owned())
}

/// Downloads by curl over TLS; the certificate must be the one in `trusted`, asked for as `name`.
pub fn download(
    client: &Machine,
    name: &str,
    to: SocketAddr,
    path: &str,
    trusted: &Path,
) -> Finished {
    let (url, resolve) = (
        format!("https://{name}:{}{path}", to.port()),
        resolve(name, to.ip(), to.port()),
    );
    let trusted = trusted.to_string_lossy();
    let words = [
        "curl",
        "-sS",
        "--fail",
        "--max-time",
        "60",
        "--cacert",
        &trusted,
        "--resolve",
        &resolve,
        &url,
    ];
    client.run(&words, Duration::from_secs(70))
}

/// The certificate file of the nginx on a machine.
pub fn certificate_file(machine: &Machine) -> PathBuf {
    machine.dir().join("nginx/cert.pem")
}

fn resolve(name: &str, ip: IpAddr, port: u16) -> String {
    match ip {
        IpAddr::V4(four) => format!("{name}:{port}:{four}"),
        IpAddr::V6(six) => format!("{name}:{port}:[{six}]"),
    }
}

fn certificate(dir: &Path, name: &str) -> String {
    let (key, cert) = (dir.join("key.pem"), dir.join("cert.pem"));
    let (key, cert) = (key.to_string_lossy(), cert.to_string_lossy());
    let (subject, alternative) = (
        format!("/CN={name}"),
        format!("subjectAltName=DNS:{name},DNS:print.test"),
    );
    let curve = "ec_paramgen_curve:prime256v1";
    let words = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", curve, "-nodes", "-days", "2",
    ];
    let more = [
        "-subj",
        &subject,
        "-addext",
        &alternative,
        "-keyout",
        &key,
        "-out",
        &cert,
    ];
    must(&[&words[..], &more[..]].concat(), "");
    must(
        &[
            "openssl",
            "x509",
            "-in",
            &cert,
            "-noout",
            "-fingerprint",
            "-sha256",
        ],
        "",
    )
    .trim()
    .to_owned()
}

fn configuration(dir: &Path, port: u16) -> String {
    let dir = dir.display();
    format!(
        "pid {dir}/nginx.pid;\nerror_log {dir}/error.log;\nworker_processes 1;\nuser root;\nevents {{ worker_connections 512; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {dir}/b;\n  proxy_temp_path {dir}/p;\n\
           fastcgi_temp_path {dir}/f;\n  uwsgi_temp_path {dir}/u;\n  scgi_temp_path {dir}/s;\n\
           server {{\n    listen 0.0.0.0:{port} ssl;\n    ssl_certificate {dir}/cert.pem;\n\
             ssl_certificate_key {dir}/key.pem;\n    root {dir}/html;\n  }}\n}}\n"
    )
}

/// Bytes that do not repeat, the same for the same seed.
fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Compares a download with the file that was served.
pub fn assert_same_bytes(downloaded: &process::Finished, served: &Path) {
    assert_eq!(downloaded.code, Some(0), "curl: {}", downloaded.stderr);
    let served = fs::read(served).expect("the served file is there");
    assert_eq!(
        downloaded.stdout.len(),
        served.len(),
        "length of the download"
    );
    let first = downloaded
        .stdout
        .iter()
        .zip(&served)
        .position(|(got, sent)| got != sent);
    assert_eq!(first, None, "first byte that differs");
}
