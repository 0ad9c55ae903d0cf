//! Who has a port: what `ss -ltnp` would say.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state of a socket that listens, in `/proc/net/tcp`.
const LISTENS: &str = "0A";

/// Who listens on an address or on all addresses of its port, as `process 812 (nc, user nobody)`; `None`: nobody that
/// this process may see.
pub fn who_listens(at: SocketAddr) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let text = tables.into_iter().flatten().collect::<String>();
    let (uid, inode) = text.lines().find_map(|line| listener(line, at))?;
    let user = super::super::user_name(uid);
    Some(match process_with(inode) {
        Some((pid, program)) => format!("process {pid} ({program}, user {user})"),
        None => format!("a process of user {user}"),
    })
}

/// User and inode, if the line is of a socket that listens there.
fn listener(line: &str, at: SocketAddr) -> Option<(u32, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    let here = u16::from_str_radix(port, 16).ok()? == at.port() && *fields.get(3)? == LISTENS;
    let address = address_of(address)?;
    let meant =
        here && (address.is_unspecified() || address.to_canonical() == at.ip().to_canonical());
    meant.then(|| Some((fields.get(7)?.parse().ok()?, fields.get(9)?.parse().ok()?)))?
}

/// Words of 32 bits as this machine has them, in hexadecimal digits.
fn address_of(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for word in 0..hex.len() / 8 {
        let word = u32::from_str_radix(hex.get(word * 8..word * 8 + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes)
            .ok()
            .map(|b| Ipv4Addr::from(b).into()),
        _ => <[u8; 16]>::try_from(bytes)
            .ok()
            .map(|b| Ipv6Addr::from(b).into()),
    }
}

/// Its number and its program's name.
fn process_with(inode: u64) -> Option<(u32, String)> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|p| p.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| {
        let open = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        let mut links = open
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok());
        links.any(|link| link.as_os_str() == wanted.as_str())
    })?;
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some((pid, ha_core::text::printable(program.trim()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn whoever_has_a_port_is_named() {
        for any in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let taken = TcpListener::bind(any).unwrap();
            let port = taken.local_addr().unwrap().port();
            let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let who = who_listens(at).unwrap();
            assert!(
                who.starts_with(&format!("process {} (", std::process::id())),
                "{any}: {who}"
            );
            drop(taken);
            assert_eq!(who_listens(at), None, "{any}");
        }
    }
}
