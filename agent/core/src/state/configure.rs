//! A new configuration, or an earlier one again: numbers for its servers, a line for each change.

use super::{ConfigVersion, Facts, HISTORY_MAX};
use crate::command::{Answer, Outcome, Rejection};
use crate::events::What;
use crate::id::ServerId;
use crate::model::{ClusterConfig, Member};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

impl Facts {
    pub(super) fn configure(
        &mut self,
        config: &ClusterConfig,
        text: &str,
        expect: Option<u64>,
        at: Timestamp,
        by: &str,
    ) -> Answer {
        if let Some(expected) = expect
            && expected != self.config_version
        {
            return Err(Rejection::ConfigMoved {
                now: self.config_version,
                expected,
            });
        }
        let changes = changes(&self.config, config);
        if changes.is_empty() && self.config_version > 0 {
            return Ok(Outcome::Configured(self.config_version, changes));
        }
        check_kinds(config, self.members.values())?;
        Ok(self.take_config(Arc::new(config.clone()), text.to_owned(), changes, at, by))
    }

    pub(super) fn rollback(&mut self, version: Option<u64>, at: Timestamp, by: &str) -> Answer {
        let wanted = match version {
            Some(v) => self
                .history
                .iter()
                .find(|h| h.version == v)
                .ok_or(Rejection::VersionUnknown(v))?,
            None => self
                .history
                .iter()
                .rev()
                .nth(1)
                .ok_or(Rejection::NoEarlierVersion)?,
        };
        let (config, text) = (wanted.config.clone(), wanted.text.clone());
        check_kinds(&config, self.members.values())?;
        let changes = changes(&self.config, &config);
        Ok(self.take_config(config, text, changes, at, by))
    }

    fn take_config(
        &mut self,
        config: Arc<ClusterConfig>,
        text: String,
        changes: Vec<String>,
        at: Timestamp,
        by: &str,
    ) -> Outcome {
        self.config_version += 1;
        self.number_servers(&config);
        let version = ConfigVersion {
            version: self.config_version,
            at,
            by: by.to_owned(),
            changes: changes.clone(),
            text,
            config: config.clone(),
        };
        let history = Arc::make_mut(&mut self.history);
        history.push_back(version);
        while history.len() > HISTORY_MAX {
            history.pop_front();
        }
        self.config = config;
        let what = What::ConfigApplied {
            version: self.config_version,
            changes: changes.clone(),
        };
        self.event(at, what, by);
        Outcome::Configured(self.config_version, changes)
    }

    /// Gives numbers to new servers and forgets those that are gone, with what was known of them.
    fn number_servers(&mut self, config: &ClusterConfig) {
        let mut ids: BTreeMap<(String, String), ServerId> = BTreeMap::new();
        for (backend, server) in config
            .backends
            .iter()
            .flat_map(|b| b.servers.iter().map(move |s| (&b.name, &s.name)))
        {
            let key = (backend.clone(), server.clone());
            let id = self.server_ids.get(&key).copied().unwrap_or_else(|| {
                self.next_server_id += 1;
                ServerId(self.next_server_id)
            });
            ids.insert(key, id);
        }
        if ids == *self.server_ids {
            return;
        }
        let kept = |id: &ServerId| ids.values().any(|i| i == id);
        self.server_admin.retain(|id, _| kept(id));
        Arc::make_mut(&mut self.health).retain(|id, _| kept(id));
        self.server_ids = Arc::new(ids);
    }
}

/// Whether each of `members` carries out every check of `config`. Goes by names alone, so that agents of
/// different versions come to the same answer.
pub(super) fn check_kinds<'a>(
    config: &ClusterConfig,
    mut members: impl Iterator<Item = &'a Member>,
) -> Result<(), Rejection> {
    let used: BTreeSet<&str> = config
        .backends
        .iter()
        .filter_map(|b| b.check.as_ref())
        .map(|check| check.kind.name())
        .collect();
    let lacks = |m: &Member| used.iter().copied().find(|k| !m.checks.contains(*k));
    match members.find_map(|m| Some((m, lacks(m)?))) {
        Some((m, kind)) => Err(Rejection::CheckUnknown {
            kind: kind.to_owned(),
            node: m.name.clone(),
        }),
        None => Ok(()),
    }
}

/// What a person would say changed from `old` to `new`, a line each; empty when nothing did.
pub fn changes(old: &ClusterConfig, new: &ClusterConfig) -> Vec<String> {
    let mut lines = Vec::new();
    let mut setting = |what: &str, a: &dyn Debug, b: &dyn Debug| {
        let (a, b) = (format!("{a:?}"), format!("{b:?}"));
        if a != b {
            lines.push(format!("~ {what}: {a} -> {b}"));
        }
    };
    setting("cluster name", &old.name, &new.name);
    setting("failback", &old.failback, &new.failback);
    setting("bindings_max", &old.bindings_max, &new.bindings_max);
    setting(
        "certificate_lifetime",
        &old.certificate_lifetime,
        &new.certificate_lifetime,
    );
    compare(
        &mut lines,
        "virtual_ip",
        &old.virtual_ips,
        &new.virtual_ips,
        |v| &v.name,
    );
    compare(
        &mut lines,
        "frontend",
        &old.frontends,
        &new.frontends,
        |f| &f.name,
    );
    for b in &new.backends {
        match old.backends.iter().find(|o| o.name == b.name) {
            None => lines.push(format!(
                "+ backend {} with {} servers",
                b.name,
                b.servers.len()
            )),
            Some(o) => {
                let (mut before, mut after) = (o.clone(), b.clone());
                let what = format!("server {}/", b.name);
                compare(&mut lines, &what, &before.servers, &after.servers, |s| {
                    &s.name
                });
                before.servers.clear();
                after.servers.clear();
                if before != after {
                    lines.push(format!(
                        "~ backend {}: {}",
                        b.name,
                        differing_fields(&before, &after)
                    ));
                }
            }
        }
    }
    for o in old
        .backends
        .iter()
        .filter(|o| !new.backends.iter().any(|b| b.name == o.name))
    {
        lines.push(format!("- backend {}", o.name));
    }
    lines
}

fn compare<T: PartialEq + Debug>(
    lines: &mut Vec<String>,
    what: &str,
    old: &[T],
    new: &[T],
    name: impl Fn(&T) -> &String,
) {
    let space = if what.ends_with('/') { "" } else { " " };
    for n in new {
        match old.iter().find(|o| name(o) == name(n)) {
            None => lines.push(format!("+ {what}{space}{}", name(n))),
            Some(o) if o != n => lines.push(format!(
                "~ {what}{space}{}: {}",
                name(n),
                differing_fields(o, n)
            )),
            Some(_) => {}
        }
    }
    for o in old
        .iter()
        .filter(|o| !new.iter().any(|n| name(n) == name(o)))
    {
        lines.push(format!("- {what}{space}{}", name(o)));
    }
    let order = |list: &[T], other: &[T]| -> Vec<String> {
        list.iter()
            .filter(|a| other.iter().any(|b| name(a) == name(b)))
            .map(|a| name(a).clone())
            .collect()
    };
    if order(old, new) != order(new, old) {
        lines.push(format!("~ {what}{space}order"));
    }
}

/// The fields of two records that differ, from their debug text: `weight: 1 -> 2`.
fn differing_fields<T: Debug>(old: &T, new: &T) -> String {
    let (old, new) = (format!("{old:#?}"), format!("{new:#?}"));
    let (a, b): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    if a.len() != b.len() {
        return "changed".to_owned();
    }
    let trim = |s: &str| s.trim().trim_end_matches(',').to_owned();
    let pairs: Vec<String> = a
        .iter()
        .zip(&b)
        .filter(|(x, y)| x != y)
        .map(|(x, y)| {
            let (x, y) = (trim(x), trim(y));
            match (x.split_once(": "), y.split_once(": ")) {
                (Some((k, v)), Some((k2, w))) if k == k2 => format!("{k}: {v} -> {w}"),
                _ => format!("{x} -> {y}"),
            }
        })
        .collect();
    pairs.join(", ")
}
