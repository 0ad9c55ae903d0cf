//! `restore`, `export`, `recover` and `rejoin`: what is done when a cluster, or one node's data, is lost.

use super::args::{ExportArgs, Output, RecoverArgs, RejoinArgs, RestoreArgs};
use super::making::look_first;
use super::{read_agent, tell};
use ha_agent::config::AgentConfig;
use ha_agent::error::Failure;
use ha_agent::found::recover::Stopped;
use ha_agent::found::{self, switch};
use ha_agent::identity::Identity;
use ha_agent::preflight::{Inspection, Moment};
use ha_agent::sys::wall_now;
use ha_core::model::ClusterConfig;
use ha_record::backup::Backup;
use ha_trust::passphrase;
use ha_trust::token::Token;
use std::collections::BTreeSet;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

/// The one that a cluster takes the place of must not answer for its addresses any more.
fn founding<'a>(
    config: &'a AgentConfig,
    cluster: &'a ClusterConfig,
    promise: Duration,
) -> Inspection<'a> {
    Inspection {
        config,
        cluster: Some(cluster),
        promise: Some(promise),
        member: None,
        authority: None,
        moment: Moment::Founding,
    }
}

pub async fn restore(args: RestoreArgs, output: Output) -> Result<(), Failure> {
    let RestoreArgs {
        file,
        config,
        passphrase_file,
        id,
        timing,
        skip_preflight,
    } = args;
    let agent = read_agent(&config)?;
    Identity::check_unclaimed(&agent.data_dir)?;
    let locked = std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let said = |e: String| format!("{}: {e}", file.display());
    let passphrase = passphrase::ask(passphrase_file.as_deref(), false)?;
    let backup = passphrase::unlock(&passphrase, &locked).map_err(said)?;
    let backup = Backup::from_bytes(&backup).map_err(|e| said(e.to_string()))?;
    let subject = founding(&agent, &backup.facts.config, backup.promise());
    look_first(&subject, skip_preflight).await?;
    let cluster = backup.facts.config.name.clone();
    let operators: Vec<String> = backup.facts.trust.users.keys().cloned().collect();
    let hours = wall_now().saturating_since(backup.made).as_secs() / 3600;
    let identity = found::restore(&agent, backup, id, timing).await?;
    let say = format!(
        "cluster {cluster} ({}) is restored, this node is {} ({})\n\
         the backup is {hours} h old, and who was removed since may enter again: operators are {}. If anybody was: `ha-cli user remove`, `ha-cli ca rotate`, `ha-cli ca retire`\n\
         next: ha-agent run --config {}; the other nodes: `ha-agent rejoin` with a new token, or `ha-agent join` where data_dir is empty",
        identity.cluster_id,
        agent.name,
        identity.node_id,
        if operators.is_empty() {
            "none".to_owned()
        } else {
            operators.join(", ")
        },
        config.display()
    );
    let told = serde_json::json!({
        "cluster": cluster, "cluster_id": identity.cluster_id, "node_id": identity.node_id, "name": agent.name, "hours_old": hours, "operators": operators,
    });
    tell(output, &say, &told);
    Ok(())
}

pub fn export(args: &ExportArgs, output: Output) -> Result<(), Failure> {
    let agent = read_agent(&args.config)?;
    switch::finish(&agent.data_dir)?;
    let stopped = Stopped::open(&agent)?;
    if args.file.exists() {
        return Err(format!(
            "{} is there already: name another file",
            args.file.display()
        )
        .into());
    }
    let passphrase = passphrase::ask(args.passphrase_file.as_deref(), true)?;
    let bindings = found::export::export(&stopped, &args.file, &passphrase)?;
    let end = stopped.disk.end();
    let say = format!(
        "{} holds what {} knows, with {bindings} bindings: {end}. What other nodes acknowledged after that is not in it",
        args.file.display(),
        agent.name
    );
    let last = stopped.disk.last.map(|l| l.index);
    let told = serde_json::json!({ "file": args.file, "bindings": bindings, "last_index": last, "last_ms": stopped.disk.last_at.0 });
    tell(output, &say, &told);
    Ok(())
}

pub async fn recover(args: RecoverArgs, output: Output) -> Result<(), Failure> {
    let RecoverArgs {
        alone,
        switched_off,
        config,
        id,
        skip_preflight,
    } = args;
    if !alone {
        return Err("one node goes on alone, and every other one is given up: say so with --alone. While a majority of the machines can be started, start them instead".into());
    }
    let agent = read_agent(&config)?;
    if let Some(kept) = switch::finish(&agent.data_dir)? {
        let say = format!(
            "an earlier recover or rejoin was cut short, and is ended now: the data of before are in {}\nnext: ha-agent run --config {}",
            kept.display(),
            config.display()
        );
        tell(output, &say, &serde_json::json!({ "kept": kept }));
        return Ok(());
    }
    let stopped = Stopped::open(&agent)?;
    stopped.may_go_on(&agent)?;
    let (disk, others) = (&stopped.disk, stopped.others());
    let (index, at) = (disk.last.map_or(0, |l| l.index), disk.last_at);
    let generation = stopped
        .identity
        .generation
        .max(disk.state.facts.generation());
    eprintln!(
        "{} of generation {generation}: {}\nafter index {index}, time {at}: unknown. What the others acknowledged after that, this node does not have, and nobody will",
        agent.name,
        disk.end()
    );
    for (place, why) in stopped.nobody_answers().await? {
        eprintln!("{} at {} does not answer: {why}", place.name, place.listen);
    }
    confirm(&others, switched_off)?;
    let promise = stopped.identity.promise();
    let subject = founding(&agent, &disk.state.facts.config, promise);
    look_first(&subject, skip_preflight).await?;
    let cluster = disk.state.facts.config.name.clone();
    let done = stopped.go_on(&agent, id).await?;
    let others: Vec<String> = others.into_iter().collect();
    let mut say = format!(
        "cluster {cluster} goes on as generation {}, with {} ({}) alone and {} bindings; after index {index}, time {at}: unknown\n\
         the data of before are kept in {}\n\
         next: ha-agent run --config {}; then, on {}: `ha-agent rejoin` with a token that `ha-cli token create` prints here. Until then none of them may be started while this one is off or cut off: only that keeps them from serving on their own",
        done.identity.generation,
        agent.name,
        done.identity.node_id,
        done.bindings,
        done.kept.display(),
        config.display(),
        others.join(", ")
    );
    if done.left_out > 0 {
        say += &format!(
            "\n{} of the oldest events did not fit into one entry and are left out; they are in the data of before",
            done.left_out
        );
    }
    let told = serde_json::json!({
        "cluster": cluster, "cluster_id": done.identity.cluster_id, "node_id": done.identity.node_id, "name": agent.name,
        "generation": done.identity.generation, "last_index": index, "last_ms": at.0, "bindings": done.bindings,
        "kept": done.kept, "events_left_out": done.left_out, "switched_off": others,
    });
    tell(output, &say, &told);
    Ok(())
}

/// A person names every machine that is switched off, so that nobody forgets one.
fn confirm(others: &BTreeSet<String>, named: Vec<String>) -> Result<(), Failure> {
    let all: Vec<&str> = others.iter().map(String::as_str).collect();
    let all = all.join(", ");
    let named: BTreeSet<String> = if !named.is_empty() {
        named.into_iter().collect()
    } else if io::stdin().is_terminal() {
        eprint!(
            "Machines that run on would serve beside this one. Go and switch off {all}; then type their names: "
        );
        io::stderr().flush()?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        let words = line.split(|c: char| c.is_whitespace() || c == ',');
        words.filter(|w| !w.is_empty()).map(str::to_owned).collect()
    } else {
        return Err(format!("nothing was changed: switch off {all}, then name each machine that is: --switched-off NAME").into());
    };
    let unknown: Vec<&str> = named.difference(others).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(format!(
            "nothing was changed: {} is no other member of this cluster; the others are {all}",
            unknown.join(", ")
        )
        .into());
    }
    let missing: Vec<&str> = others.difference(&named).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(format!("nothing was changed: {} was not named. Every other machine must be switched off: name each one", missing.join(", ")).into());
    }
    Ok(())
}

pub async fn rejoin(args: RejoinArgs, output: Output) -> Result<(), Failure> {
    let RejoinArgs {
        address,
        token,
        config,
        id,
        skip_preflight,
    } = args;
    let agent = read_agent(&config)?;
    switch::finish(&agent.data_dir)?;
    found::check_stopped(&agent.data_dir)?;
    let token = token.ok_or("a node comes back with a token: `ha-cli token create` on any member prints one; give it with --token or HA_TOKEN. Nothing was asked of anybody")?;
    let token: Token = token.parse()?;
    let subject = Inspection {
        config: &agent,
        cluster: None,
        promise: None,
        member: Some(&address),
        authority: Some(token.authority),
        moment: Moment::Joining,
    };
    look_first(&subject, skip_preflight).await?;
    let done = found::rejoin(&agent, &address, &token, id).await?;
    let say = format!(
        "{} ({}) is in cluster {} again{}\nnext: ha-agent run --config {}",
        agent.name,
        done.identity.node_id,
        done.cluster,
        if done.kept.exists() {
            format!("; the data of before are kept in {}", done.kept.display())
        } else {
            String::new()
        },
        config.display()
    );
    let told = serde_json::json!({
        "cluster": done.cluster, "cluster_id": done.identity.cluster_id, "node_id": done.identity.node_id, "name": agent.name, "kept": done.kept,
    });
    tell(output, &say, &told);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_machine_is_named_and_no_other_one() {
        let others = BTreeSet::from(["node-2".to_owned(), "node-3".to_owned()]);
        let named = |names: &[&str]| {
            let names = names.iter().map(|n| (*n).to_owned()).collect();
            confirm(&others, names).map_err(|e| e.to_string())
        };
        named(&["node-3", "node-2"]).unwrap();
        let missing = named(&["node-2"]).unwrap_err();
        assert!(missing.contains("node-3 was not named"), "{missing}");
        let wrong = named(&["node-2", "node-3", "node-1"]).unwrap_err();
        assert!(
            wrong.contains("node-1 is no other member") && wrong.contains("node-2, node-3"),
            "{wrong}"
        );
    }
}
