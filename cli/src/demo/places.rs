//! Where everything in the demo lives, and the files that say so: addresses and ports that are free
//! on this machine, `agent.toml` for each agent, one `cluster.toml`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

pub const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
pub const SERVERS: [&str; 3] = ["alpha", "beta", "gamma"];

#[derive(Debug)]
pub struct Places {
    /// The client asks this one, through whoever holds it.
    pub virtual_address: SocketAddr,
    /// Where the client comes from, always the same.
    pub client: IpAddr,
    pub agents: Vec<SocketAddr>,
    /// The sample servers' sockets, already listening.
    pub servers: Vec<TcpListener>,
}

impl Places {
    /// Lets the system choose free ports, on addresses of 127.0.0.0/8 that show who is who.
    ///
    /// # Errors
    /// When even 127.0.0.1 has no free port.
    pub fn choose() -> io::Result<Places> {
        let listeners = |hosts: [u8; 3]| {
            hosts
                .into_iter()
                .map(listen)
                .collect::<io::Result<Vec<_>>>()
        };
        let servers = listeners([11, 12, 13])?;
        // All are held at once, so that no port is given twice; those for others are then let go.
        let agents = listeners([1, 1, 1])?;
        let virtual_ip = listen(100)?;
        Ok(Places {
            virtual_address: virtual_ip.local_addr()?,
            client: listen(50)?.local_addr()?.ip(),
            agents: agents
                .iter()
                .map(TcpListener::local_addr)
                .collect::<io::Result<_>>()?,
            servers,
        })
    }

    /// Writes the files; the result is the `agent.toml` of each agent and the `cluster.toml`.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn write(&self, dir: &Path) -> io::Result<(Vec<PathBuf>, PathBuf)> {
        let mut agents = Vec::new();
        for (name, listen) in NODES.iter().zip(&self.agents) {
            let data = dir.join(name);
            std::fs::create_dir_all(&data)?;
            let path = dir.join(format!("{name}.toml"));
            std::fs::write(&path, agent_toml(name, &data, *listen))?;
            agents.push(path);
        }
        let cluster = dir.join("cluster.toml");
        std::fs::write(&cluster, self.cluster_toml()?)?;
        Ok((agents, cluster))
    }

    fn cluster_toml(&self) -> io::Result<String> {
        let mut text = format!(
            r#"[cluster]
name = "demo"
timing = "lan"

[[virtual_ip]]
name = "demo"
address = "{}/8"

[[frontend]]
name = "web"
virtual_ip = "demo"
listeners = [{}]
backend = "app"

[[backend]]
name = "app"
balance = "roundrobin"
persistence = {{ by = "client-ip", expire = "30m" }}
check = {{ inter = "1s", fall = 3, rise = 2 }}
"#,
            self.virtual_address.ip(),
            self.virtual_address.port()
        );
        for (name, listener) in SERVERS.iter().zip(&self.servers) {
            let address = listener.local_addr()?;
            text.push_str(&format!(
                "\n[[backend.server]]\nname = \"{name}\"\naddress = \"{}\"\nport = {}\n",
                address.ip(),
                address.port()
            ));
        }
        Ok(text)
    }
}

/// A listener on 127.0.0.HOST, or where the system has only 127.0.0.1, there.
fn listen(host: u8) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::new(127, 0, 0, host), 0))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
}

/// TOML's basic strings escape as JSON's do, so that any temporary directory may be named.
fn agent_toml(name: &str, data_dir: &Path, listen: SocketAddr) -> String {
    let data_dir = serde_json::Value::from(data_dir.display().to_string());
    format!(
        "name = \"{name}\"\ndata_dir = {data_dir}\nlisten = \"{listen}\"\nvip = \"bind\"\nrole = \"server\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_place_is_its_own() {
        let places = Places::choose().unwrap();
        let mut all: BTreeSet<SocketAddr> = places.agents.iter().copied().collect();
        all.extend(places.servers.iter().map(|s| s.local_addr().unwrap()));
        all.insert(places.virtual_address);
        assert_eq!(all.len(), 7);
    }

    #[test]
    fn the_files_name_what_was_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::choose().unwrap();
        let (agents, cluster) = places.write(dir.path()).unwrap();
        let agent = std::fs::read_to_string(&agents[1]).unwrap();
        assert!(
            agent.contains("name = \"node-2\"")
                && agent.contains(&format!("listen = \"{}\"", places.agents[1]))
        );
        let cluster = std::fs::read_to_string(cluster).unwrap();
        assert!(cluster.contains(&format!("listeners = [{}]", places.virtual_address.port())));
        for server in &places.servers {
            assert!(cluster.contains(&format!("port = {}", server.local_addr().unwrap().port())));
        }
    }
}
