//! The print service CUPS on its port, and a client that asks it over IPP's HTTP.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use crate::guard::find_program;
use crate::netns::Machine;
use crate::process::{Finished, Process};
use crate::wait;

/// The port of the print service.
pub const PORT: u16 = 631;

/// Starts cupsd on 0.0.0.0:631 with everything it writes in the machine's directory.
pub fn start(machine: &Machine) -> Process {
    let dir = machine.dir().join("cups");
    for name in ["root", "spool", "cache", "state", "log"] {
        fs::create_dir_all(dir.join(name)).expect("cups directory");
    }
    let at = dir.display();
    let files = format!(
        "SystemGroup root\nServerRoot {at}/root\nRequestRoot {at}/spool\nTempDir {at}/spool\nCacheDir {at}/cache\n\
         StateDir {at}/state\nAccessLog {at}/log/access\nErrorLog {at}/log/error\nPageLog {at}/log/page\n"
    );
    let daemon = format!(
        "LogLevel warn\nListen 0.0.0.0:{PORT}\nServerName {}\nServerAlias *\nBrowsing Off\nWebInterface Yes\n\
         DefaultEncryption Never\n<Location />\n  Order allow,deny\n  Allow all\n</Location>\n",
        machine.name
    );
    fs::write(dir.join("cups-files.conf"), files).expect("cups-files.conf");
    fs::write(dir.join("cupsd.conf"), daemon).expect("cupsd.conf");
    let program = find_program("cupsd").expect("cupsd is installed: the guard looked");
    let (config, paths) = (dir.join("cupsd.conf"), dir.join("cups-files.conf"));
    let args = [
        "-f",
        "-c",
        &config.to_string_lossy(),
        "-s",
        &paths.to_string_lossy(),
    ];
    let mut process = machine.spawn("cupsd", program, &args);
    let own = SocketAddr::new(machine.ip4(), PORT);
    wait::until("cupsd to listen", Duration::from_secs(10), || {
        assert!(process.ended().is_none(), "cupsd ended: {}", process.tail());
        machine
            .connect(own, Duration::from_secs(1))
            .map(drop)
            .map_err(|error| error.to_string())
    });
    process
}

/// Asks for the printers over IPP (CUPS-Get-Printers); a working print service answers with an IPP status.
pub fn get_printers(client: &Machine, to: SocketAddr) -> Finished {
    let request = client.dir().join("get-printers.ipp");
    fs::write(&request, ipp_get_printers()).expect("request file");
    let (url, data) = (format!("http://{to}/"), format!("@{}", request.display()));
    let header = "Content-Type: application/ipp";
    let words = [
        "curl",
        "-sS",
        "--fail",
        "--max-time",
        "10",
        "-H",
        header,
        "--data-binary",
        &data,
        &url,
    ];
    client.run(&words, Duration::from_secs(15))
}

/// Panics unless the answer is IPP and knows our request (its id is 7).
pub fn assert_ipp_answer(answer: &Finished) {
    assert_eq!(answer.code, Some(0), "curl: {}", answer.stderr);
    let head = answer.stdout.get(..8).unwrap_or_default();
    assert_eq!(
        head.get(4..8),
        Some(&[0, 0, 0, 7][..]),
        "not an IPP answer to our request: {:?}",
        answer.text()
    );
}

fn ipp_get_printers() -> Vec<u8> {
    // Version 2.0, operation 0x4002, request 7, then the two attributes that every request has.
    let mut bytes = vec![2, 0, 0x40, 0x02, 0, 0, 0, 7, 0x01];
    for (tag, name, value) in [
        (0x47, "attributes-charset", "utf-8"),
        (0x48, "attributes-natural-language", "en"),
    ] {
        bytes.push(tag);
        for text in [name, value] {
            bytes.extend((text.len() as u16).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
    }
    bytes.push(0x03);
    bytes
}
