//! `[[frontend]]`: where clients arrive, and that no two take the same port.

use super::Checker;
use super::bounds::Ports;
use super::problems::listed;
use super::raw::{RawCluster, RawFrontend, RawLimit, port_range};
use super::timeouts;
use ha_core::model::{ClientLimit, Frontend, PortRange};
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;

/// What frontends may refer to.
pub(super) struct Known<'a> {
    virtual_ips: BTreeSet<&'a str>,
    backends: BTreeSet<&'a str>,
}

impl<'a> Known<'a> {
    pub(super) fn of(raw: &'a RawCluster) -> Self {
        let virtual_ips = raw.virtual_ip.iter().map(|v| v.name.get_ref().as_str());
        let backends = raw.backend.iter().map(|b| b.name.get_ref().as_str());
        Known {
            virtual_ips: virtual_ips.collect(),
            backends: backends.collect(),
        }
    }
}

impl Checker<'_> {
    pub(super) fn frontend(&mut self, f: &RawFrontend, known: &Known) -> Frontend {
        let virtual_ips = self.virtual_ips_of(f, known);
        self.refers("frontend.backend", &f.backend, &known.backends, "backend");
        if let Some(mode) = &f.mode
            && mode.get_ref() != "tcp"
        {
            self.problem(
                mode.span().start,
                "frontend.mode",
                format!("{:?}", mode.get_ref()),
                "use \"tcp\": bytes are passed through untouched",
            );
        }
        let mut listeners: Vec<PortRange> = Vec::new();
        let mut ports = Ports::default();
        if f.listeners.get_ref().is_empty() {
            self.problem(
                f.listeners.span().start,
                "frontend.listeners",
                "[]",
                "name at least one port, e.g. [5012, \"5014-5019\"]",
            );
        }
        for l in f.listeners.get_ref() {
            match port_range(l.get_ref()) {
                Ok(range) => {
                    if let Err((twin, ())) = ports.take(range, ()) {
                        self.problem(
                            l.span().start,
                            "frontend.listeners",
                            format!("{range}, which overlaps {twin}"),
                            "name each port once",
                        );
                    }
                    listeners.push(range);
                }
                Err(found) => self.problem(
                    l.span().start,
                    "frontend.listeners",
                    found,
                    "write a port (1 to 65535) or a range such as \"5014-5019\"",
                ),
            }
        }
        listeners.sort_unstable();
        Frontend {
            name: f.name.get_ref().clone(),
            virtual_ips,
            listeners,
            backend: f.backend.get_ref().clone(),
            maxconn: f.maxconn,
            limit: self.limit(f.limit.as_ref()),
            client_timeout: timeouts::idle(f.client_timeout),
            client_fin_timeout: timeouts::half_closed(f.client_fin_timeout),
            keepalive: self.keepalive("frontend.keepalive", f.keepalive.as_ref()),
        }
    }

    fn limit(&mut self, raw: Option<&RawLimit>) -> ClientLimit {
        let usual = ClientLimit::default();
        let Some(raw) = raw else { return usual };
        let (mask, mask6) = (raw.mask.as_ref(), raw.mask6.as_ref());
        ClientLimit {
            sessions: raw.sessions,
            mask_v4: self.leading_bits("frontend.limit.mask", mask, 32, usual.mask_v4),
            mask_v6: self.leading_bits("frontend.limit.mask6", mask6, 128, usual.mask_v6),
        }
    }

    /// The names of a frontend's virtual IPs: there are such, each once, and at least one.
    fn virtual_ips_of(&mut self, f: &RawFrontend, known: &Known) -> Vec<String> {
        let (key, span) = ("frontend.virtual_ip", f.virtual_ip.span());
        let names = f.virtual_ip.get_ref().all();
        if names.is_empty() {
            let remedy = "name at least one, e.g. [\"print\", \"print6\"]";
            self.problem(span.start, key, "[]", remedy);
        }
        let mut seen = BTreeSet::new();
        for name in names {
            if !seen.insert(name) {
                let found = format!("{name:?} twice");
                self.problem(span.start, key, found, "name each virtual_ip once");
            }
            let name = Spanned::new(span.clone(), name.clone());
            self.refers(key, &name, &known.virtual_ips, "virtual_ip");
        }
        names.to_vec()
    }

    /// Two frontends that accept on the same port of the same address.
    pub(super) fn overlapping_binds(&mut self, raw: &[RawFrontend], frontends: &[Frontend]) {
        let mut taken: BTreeMap<&str, Ports<usize>> = BTreeMap::new();
        let each = frontends.iter().zip(raw).enumerate();
        let each = each.flat_map(|(i, (f, raw))| f.virtual_ips.iter().map(move |v| (i, f, raw, v)));
        for (index, f, raw, virtual_ip) in each {
            let ports = taken.entry(virtual_ip).or_default();
            let took = f.listeners.iter().map(|b| (*b, ports.take(*b, index)));
            let twice: Vec<_> = took
                .filter_map(|(b, took)| Some((b, took.err()?)))
                .filter(|(_, (_, owner))| *owner != index)
                .collect();
            // One for each frontend: the rest is mended with it.
            if let Some((b, (a, owner))) = twice.first() {
                let found = format!(
                    "{b} on virtual_ip {virtual_ip}, where frontend {} has {a} already",
                    frontends[*owner].name
                );
                self.problem(
                    raw.listeners.span().start,
                    "frontend.listeners",
                    found,
                    "let each port of an address belong to one frontend",
                );
            }
        }
    }

    fn refers(&mut self, key: &str, name: &Spanned<String>, known: &BTreeSet<&str>, what: &str) {
        if !known.contains(name.get_ref().as_str()) {
            let remedy = if known.is_empty() {
                format!("add a [[{what}]] with that name")
            } else {
                format!("use one of: {}", listed(known.iter().copied()))
            };
            self.problem(
                name.span().start,
                key,
                format!("{:?}, which is no {what}", name.get_ref()),
                remedy,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse_cluster;
    use ha_core::model::ClientLimit;

    fn limit(line: &str) -> Result<ClientLimit, String> {
        let text = format!(
            "[[virtual_ip]]\nname = \"print\"\naddress = \"10.0.0.100/24\"\n\
             [[frontend]]\nname = \"f\"\nvirtual_ip = \"print\"\nlisteners = [5012]\nbackend = \"b\"\n{line}\n\
             [[backend]]\nname = \"b\"\n[[backend.server]]\nname = \"s\"\naddress = \"10.0.0.1\"\n"
        );
        parse_cluster("c", &text)
            .map(|parsed| parsed.config.frontends[0].limit)
            .map_err(|problems| format!("{:?}", problems.0))
    }

    #[test]
    fn each_client_has_a_limit_that_the_file_may_change() {
        assert_eq!(limit(""), Ok(ClientLimit::default()));
        assert_eq!(limit("limit = {}"), Ok(ClientLimit::default()));
        assert_eq!(limit("limit = { sessions = 0 }"), Ok(ClientLimit::NONE));
        let whole = ClientLimit {
            sessions: Some(200),
            mask_v4: 24,
            mask_v6: 128,
        };
        let line = "limit = { sessions = 200, mask = 24, mask6 = 128 }";
        assert_eq!(limit(line), Ok(whole));
        for (line, word) in [
            ("limit = { mask = 33 }", "frontend.limit.mask"),
            ("limit = { mask6 = 129 }", "frontend.limit.mask6"),
            ("limit = { sessions = -1 }", "-1"),
            ("limit = { hosts = 1 }", "hosts"),
        ] {
            let found = limit(line).unwrap_err();
            assert!(found.contains(word), "{line}: {found}");
        }
    }
}
