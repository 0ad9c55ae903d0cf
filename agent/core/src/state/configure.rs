//! A new configuration, or an earlier one again: numbers for its servers.

use super::{ConfigVersion, Facts, HISTORY_MAX};
use crate::command::{Answer, Outcome, Rejection};
use crate::events::What;
use crate::id::ServerId;
use crate::model::{ClusterConfig, Member};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
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
        self.check_version(expect)?;
        if *self.config == *config && self.config_version > 0 {
            return Ok(Outcome::Configured(self.config_version));
        }
        check_kinds(config, self.members.values())?;
        Ok(self.take_config(Arc::new(config.clone()), text.to_owned(), at, by))
    }

    pub(super) fn rollback(
        &mut self,
        version: Option<u64>,
        expect: Option<u64>,
        at: Timestamp,
        by: &str,
    ) -> Answer {
        self.check_version(expect)?;
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
        Ok(self.take_config(config, text, at, by))
    }

    /// Whether the version in force is the one that was seen.
    fn check_version(&self, expect: Option<u64>) -> Result<(), Rejection> {
        let now = self.config_version;
        match expect {
            Some(expected) if expected != now => Err(Rejection::ConfigMoved { now, expected }),
            _ => Ok(()),
        }
    }

    fn take_config(
        &mut self,
        config: Arc<ClusterConfig>,
        text: String,
        at: Timestamp,
        by: &str,
    ) -> Outcome {
        self.config_version += 1;
        self.number_servers(&config);
        let version = ConfigVersion {
            version: self.config_version,
            at,
            by: by.to_owned(),
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
        };
        self.event(at, what, by);
        Outcome::Configured(self.config_version)
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
        let kept: BTreeSet<ServerId> = ids.values().copied().collect();
        self.server_admin.retain(|id, _| kept.contains(id));
        Arc::make_mut(&mut self.health).retain(|id, _| kept.contains(id));
        self.server_ids = Arc::new(ids);
        self.forget_orders();
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
