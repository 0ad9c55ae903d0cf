//! `apply`, `diff`, `rollback`, `config history`.

use super::reading::Place;
use super::{Operations, RequestError, rejection_error, wire_problem};
use crate::config::{
    ClusterFile, PROBLEMS_MAX, Problem, own_addresses, parse_cluster, virtual_ip_problem,
};
use ha_core::changes::changes;
use ha_core::command::{Command, Outcome, Rejection};
use ha_core::model::{ClusterConfig, Timing, VirtualIp};
use ha_core::own_address;
use ha_core::state::{ConfigVersion, Facts};
use ha_core::stick::StickIndex;
use ha_core::time::words;
use ha_proto::control as pb;
use ha_proxy::ProxyCounters;
use ha_record::backup::Backup;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

impl Operations {
    pub(crate) async fn apply(&self, r: pb::ApplyRequest) -> Result<pb::ApplyReply, RequestError> {
        let file = if r.file.is_empty() {
            "cluster.toml".to_owned()
        } else {
            r.file
        };
        let now = self.outside.clock.wall();
        if let Some(before) = self
            .answered_before(now, r.asked.as_ref())
            .filter(|_| !r.dry_run)
        {
            return Ok(self.configured(&before?));
        }
        let facts = self.consensus.read().facts;
        let founded = Founded {
            timing: facts.timing,
            promise: self.consensus.promise_length(),
        };
        let place = self.reading.place(r.dry_run)?;
        let (known, text, counters) = (facts.clone(), r.text, self.proxy.counters());
        let work = move || {
            let read = read(&file, &text, &known, &founded, &counters);
            (read, file, text)
        };
        let ((read, file, text), place) = self.reading.done(place, work).await?;
        let Read {
            config,
            changes,
            notes,
        } = match read {
            Ok(read) => read,
            Err(problems) => return Ok(refused(&facts, problems)),
        };
        let problems = self.taken(place, &file, &text, &facts, &config).await?;
        if !problems.is_empty() {
            return Ok(refused(&facts, problems));
        }
        if r.dry_run {
            return Ok(pb::ApplyReply {
                version: facts.config_version,
                changes,
                problems: Vec::new(),
                notes,
            });
        }
        let expect = (r.expect_version > 0).then_some(r.expect_version);
        let outcome = self
            .propose_asked(
                &r.by,
                r.asked.as_ref(),
                Command::Configure {
                    config,
                    text,
                    expect,
                },
            )
            .await?;
        Ok(pb::ApplyReply {
            notes,
            ..self.configured(&outcome)
        })
    }

    /// Virtual IPs that are a machine's own address, or that somebody has already: whoever took one of those would
    /// cut a machine off, or answer beside it. This is asked before the proposal, and not decided in the log, where
    /// agents that do not look would come to another answer.
    async fn taken(
        &self,
        place: Place,
        file: &str,
        text: &str,
        facts: &Facts,
        config: &ClusterConfig,
    ) -> Result<Vec<Problem>, RequestError> {
        let members = facts.members.values().flat_map(own_address::of);
        let own = own_address::among(&config.virtual_ips, members);
        if !own.is_empty() {
            return Ok(own_addresses(file, text, &own));
        }
        let known: BTreeSet<IpAddr> = facts.config.virtual_ips.iter().map(|v| v.address).collect();
        let new: Vec<VirtualIp> = config
            .virtual_ips
            .iter()
            .filter(|v| !known.contains(&v.address))
            .cloned()
            .collect();
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let addresses = self.outside.addresses.clone();
        let asking = move || (addresses.taken(&new), new);
        let ((taken, new), _) = self.reading.done(place, asking).await?;
        let problem = |(name, words): (String, String)| {
            let address = new.iter().find(|v| v.name == name)?.address;
            let (found, remedy) = words.split_once("; ").unwrap_or((&words, ""));
            Some(virtual_ip_problem(
                file,
                text,
                address,
                found.to_owned(),
                remedy.to_owned(),
            ))
        };
        let all = taken.into_iter().filter_map(problem);
        Ok(all.take(PROBLEMS_MAX).collect())
    }

    pub(crate) async fn rollback(
        &self,
        r: pb::RollbackRequest,
    ) -> Result<pb::ApplyReply, RequestError> {
        let version = (r.version > 0).then_some(r.version);
        let at = self.outside.clock.wall();
        if let Some(before) = self.answered_before(at, r.asked.as_ref()) {
            return Ok(self.configured(&before?));
        }
        let facts = self.consensus.read().facts;
        let now = facts.config_version;
        if r.expect_version > 0 && r.expect_version != now {
            let expected = r.expect_version;
            return Err(rejection_error(&Rejection::ConfigMoved { now, expected }));
        }
        let earlier = facts.history.iter().rev().nth(1).map(|h| h.version);
        let wanted = version.or(earlier);
        if let Some(h) = facts.history.iter().find(|h| Some(h.version) == wanted) {
            let place = self.reading.place(false)?;
            let problems = self
                .taken(place, "cluster.toml", &h.text, &facts, &h.config)
                .await?;
            if !problems.is_empty() {
                return Ok(refused(&facts, problems));
            }
        }
        let command = Command::Rollback {
            version,
            expect: (r.expect_version > 0).then_some(r.expect_version),
        };
        let outcome = self.propose_asked(&r.by, r.asked.as_ref(), command).await?;
        Ok(self.configured(&outcome))
    }

    /// The reply to a change that was made.
    fn configured(&self, outcome: &Outcome) -> pb::ApplyReply {
        let Outcome::Configured(version) = outcome else {
            return pb::ApplyReply::default();
        };
        let facts = self.consensus.read().facts;
        pb::ApplyReply {
            version: *version,
            changes: brought(&facts, *version).unwrap_or_default(),
            ..pb::ApplyReply::default()
        }
    }

    pub(crate) async fn backup(
        &self,
        r: pb::BackupRequest,
    ) -> Result<pb::BackupReply, RequestError> {
        // Told first: who takes one can sign for anybody.
        self.propose(
            &r.by,
            Command::Note {
                kind: "trust".to_owned(),
                text: "a backup was taken: it holds what opens the authority's key".to_owned(),
            },
        )
        .await?;
        let backup = Backup {
            made: self.outside.clock.wall(),
            version: self.member.version.clone(),
            promise_ms: u64::try_from(self.consensus.promise_length().as_millis())
                .unwrap_or(u64::MAX),
            seal: self.trust.live().keyring.seal.0,
            facts: Facts::clone(&self.consensus.read().facts),
            bindings: StickIndex::default(),
        };
        let content = backup
            .to_bytes()
            .map_err(|e| RequestError::internal(e.to_string()))?;
        Ok(pb::BackupReply {
            content,
            cluster: backup.facts.config.name.clone(),
        })
    }

    pub(crate) async fn config_history(
        &self,
        r: pb::ConfigHistoryRequest,
    ) -> Result<pb::ConfigHistoryReply, RequestError> {
        let may_be_old = self.may_be_old().await?;
        let facts = self.consensus.read().facts;
        let one = |h: &ConfigVersion, with_text: bool| pb::ConfigVersion {
            version: h.version,
            at_ms: h.at.0,
            by: h.by.clone(),
            summary: brought(&facts, h.version).unwrap_or_default().join("; "),
            text: if with_text {
                h.text.clone()
            } else {
                String::new()
            },
        };
        if r.version > 0 {
            let found = facts.history.iter().find(|h| h.version == r.version);
            let found = found.ok_or_else(|| RequestError::not_found(format!("version {} of the configuration is not kept: `ha-cli config history` shows those that are", r.version)))?;
            return Ok(pb::ConfigHistoryReply {
                may_be_old: may_be_old.clone(),
                versions: vec![one(found, true)],
            });
        }
        Ok(pb::ConfigHistoryReply {
            may_be_old: may_be_old.clone(),
            versions: facts.history.iter().rev().map(|h| one(h, false)).collect(),
        })
    }
}

/// What cannot be changed later.
struct Founded {
    timing: Timing,
    promise: Duration,
}

/// A file without problems, and what it would do.
struct Read {
    config: ClusterConfig,
    changes: Vec<String>,
    notes: Vec<String>,
}

/// Reads a file. This takes as long as the largest file takes.
fn read(
    file: &str,
    text: &str,
    facts: &Facts,
    founded: &Founded,
    counters: &ProxyCounters,
) -> Result<Read, Vec<Problem>> {
    let parsed = parse_cluster(file, text).map_err(|problems| problems.0)?;
    let problems = founded.problems(file, text, &parsed);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Read {
        changes: changes(&facts.config, &parsed.config),
        notes: notes(facts, &parsed.config, counters),
        config: parsed.config,
    })
}

impl Founded {
    fn problems(&self, file: &str, text: &str, parsed: &ClusterFile) -> Vec<Problem> {
        let problem = |key: &str, found: String, remedy: &str| Problem {
            file: file.to_owned(),
            line: line_of(text, key),
            key: format!("cluster.{key}"),
            found,
            remedy: remedy.to_owned(),
        };
        let timing = parsed.timing.filter(|t| *t != self.timing).map(|other| {
            let (other, this) = (other.word(), self.timing.word());
            let found = format!("{other:?}, but this cluster was founded with {this:?}");
            let remedy = "keep it: all nodes have the same timers, which a running cluster cannot change. docs/operate.md, \"Moving house\", says how to with a stop";
            problem("timing", found, remedy)
        });
        let promise = parsed.promise.filter(|p| *p != self.promise).map(|other| {
            let (other, this) = (words(other), words(self.promise));
            let found = format!("{other}, but this cluster was founded with {this}");
            let remedy = "keep it, or leave it out: all nodes have the same timers, which a running cluster cannot change. docs/operate.md, \"Moving house\", says how to with a stop";
            problem("promise", found, remedy)
        });
        timing.into_iter().chain(promise).collect()
    }
}

/// Lines that somebody reads before an apply; more are counted.
const NOTES_MAX: usize = 100;

/// What the difference does not say: nodes that nobody knows, and what becomes of the sessions to servers that go.
fn notes(facts: &Facts, new: &ClusterConfig, counters: &ProxyCounters) -> Vec<String> {
    let known: Vec<&str> = facts.members.values().map(|m| m.name.as_str()).collect();
    let servers = |config: &'_ ClusterConfig| {
        let backends = config.backends.iter();
        let named = backends.flat_map(|b| {
            let names = b.servers.iter();
            names.map(|s| ((b.name.clone(), s.name.clone()), s.node.clone()))
        });
        named.collect::<BTreeMap<_, _>>()
    };
    let (old, new) = (servers(&facts.config), servers(new));
    let strangers = new.iter().filter_map(|((b, s), node)| {
        let node = node.as_deref().filter(|n| !known.contains(n))?;
        Some(format!(
            "server {b}/{s} is on node {node}, which has not joined: it gets nobody until then. The nodes are {}",
            known.join(", ")
        ))
    });
    let gone = old.keys().filter(|name| !new.contains_key(name)).map(|(b, s)| {
        let id = facts.server_id(b, s);
        let sessions = id.and_then(|id| counters.servers.get(&id)).map_or(0, |c| c.now);
        format!(
            "server {b}/{s} goes: its {sessions} sessions go on until they end, its clients are bound elsewhere on their next connection. `ha-cli maintenance {b}/{s}` first would end them"
        )
    });
    let mut all: Vec<String> = strangers.chain(gone).collect();
    if let Some(more) = all.len().checked_sub(NOTES_MAX).filter(|n| *n > 0) {
        all.truncate(NOTES_MAX);
        all.push(format!("and {more} more like these"));
    }
    all
}

fn refused(facts: &Facts, problems: Vec<Problem>) -> pb::ApplyReply {
    pb::ApplyReply {
        version: facts.config_version,
        problems: problems.into_iter().map(wire_problem).collect(),
        ..pb::ApplyReply::default()
    }
}

/// What a version changed, a line each; `None`: it or the one before it is not kept any more.
pub(super) fn brought(facts: &Facts, version: u64) -> Option<Vec<String>> {
    let at = facts.history.iter().position(|h| h.version == version)?;
    let new = &facts.history[at].config;
    if version == 1 {
        return Some(changes(&ClusterConfig::default(), new));
    }
    let old = facts.history.get(at.checked_sub(1)?)?;
    (old.version + 1 == version).then(|| changes(&old.config, new))
}

fn line_of(text: &str, key: &str) -> u32 {
    let found = text.lines().position(|l| l.trim_start().starts_with(key));
    found.map_or(0, |n| u32::try_from(n + 1).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_core::command::Stamped;
    use ha_core::state::ClusterState;
    use ha_core::time::Timestamp;

    fn config(nodes: [u8; 2]) -> ClusterConfig {
        let [a, b] = nodes.map(|n| {
            format!("[[backend.server]]\nname = \"s{n}\"\nnode = \"node-{n}\"\nport = 1\n")
        });
        let text = format!("[[backend]]\nname = \"b\"\n{a}{b}");
        parse_cluster("c", &text).unwrap().config
    }

    #[test]
    fn who_applies_hears_of_nodes_that_nobody_knows_and_of_sessions_to_servers_that_go() {
        let mut state = ClusterState::default();
        state
            .apply(&Stamped {
                at: Timestamp(1),
                by: String::new(),
                command: Command::Configure {
                    config: config([1, 2]),
                    text: String::new(),
                    expect: None,
                },
                request: None,
            })
            .unwrap();
        let notes = notes(&state.facts, &config([1, 22]), &ProxyCounters::default());
        let gone = "server b/s2 goes: its 0 sessions go on until they end";
        assert!(notes.iter().any(|n| n.starts_with(gone)), "{notes:#?}");
        let stranger = "server b/s22 is on node node-22, which has not joined";
        assert!(notes.iter().any(|n| n.starts_with(stranger)), "{notes:#?}");
    }
}
