//! `ha-agent`: found a cluster, join one, run.

mod args;
mod making;
mod ways_out;

use args::{AgentCommand, Args, Output};
use clap::{CommandFactory as _, Parser as _};
use ha_agent::config::{self, AgentConfig, parse_cluster};
use ha_agent::error::Failure;
use ha_agent::preflight::{self, Inspection, Moment};
use ha_agent::run;
use ha_agent::run::belonging::SomebodyMustAct;
use ha_agent::stderr;
use ha_agent::sys::platform;
use ha_agent::threads;
use ha_core::model::ClusterConfig;
use ha_core::text::printable_lines;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

pub(crate) fn main() -> ExitCode {
    let args = Args::parse();
    let lines = match stderr::tell_what_happens() {
        Ok(lines) => lines,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    };
    let result = match threads::control() {
        Ok(runtime) => {
            let result = runtime.block_on(act(args.command, args.output));
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            result
        }
        Err(e) => Err(e.into()),
    };
    lines.end(std::time::Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let wrong_file = e.is::<config::Problems>() || e.is::<SomebodyMustAct>();
            if e.is::<Told>() {
                // Nothing more to say.
            } else if args.output == Output::Json {
                let findings = e.downcast_ref::<making::NotReady>().map(|n| &n.findings);
                println!(
                    "{}",
                    serde_json::json!({ "error": e.to_string(), "findings": findings })
                );
            } else {
                let before = if platform::process::stderr_is_the_journal() {
                    "<3>"
                } else {
                    ""
                };
                // Others had a say in some of these.
                eprintln!("{before}{}", printable_lines(&e.to_string()));
            }
            ExitCode::from(if wrong_file { 8 } else { 1 })
        }
    }
}

async fn act(what: AgentCommand, output: Output) -> Result<(), Failure> {
    if matches!(
        what,
        AgentCommand::Init { .. }
            | AgentCommand::Join { .. }
            | AgentCommand::Restore(_)
            | AgentCommand::Export(_)
            | AgentCommand::Recover(_)
            | AgentCommand::Rejoin(_)
            | AgentCommand::Run { .. }
    ) {
        // Whatever they make is nobody else's: log and snapshot hold the authority's key, sealed.
        platform::process::keep_files_private();
    }
    match what {
        AgentCommand::Init {
            config,
            cluster,
            id,
            skip_preflight,
        } => making::init(&config, &cluster, id, skip_preflight, output).await?,
        AgentCommand::Join {
            address,
            token,
            config,
            id,
            skip_preflight,
        } => making::join(&address, token, &config, id, skip_preflight, output).await?,
        AgentCommand::Restore(args) => ways_out::restore(args, output).await?,
        AgentCommand::Export(args) => ways_out::export(&args, output)?,
        AgentCommand::Recover(args) => ways_out::recover(args, output).await?,
        AgentCommand::Rejoin(args) => ways_out::rejoin(args, output).await?,
        AgentCommand::Preflight {
            config,
            cluster,
            member,
            json,
        } => {
            let output = if json { Output::Json } else { output };
            let agent = read_agent(&config)?;
            let cluster = cluster
                .map(|path| parse_cluster(&path.display().to_string(), &config::read(&path)?))
                .transpose()?;
            let findings = preflight::look(&Inspection {
                config: &agent,
                cluster: cluster.as_ref().map(|c| &c.config),
                promise: None,
                member: member.as_deref(),
                authority: None,
                moment: Moment::Asked,
            })
            .await;
            let failed = preflight::failed(&findings);
            let last = if failed == 0 {
                "this machine is ready".to_owned()
            } else {
                format!("this machine is not ready: {failed} failed")
            };
            let lines: Vec<String> = findings
                .iter()
                .map(ToString::to_string)
                .chain([last])
                .collect();
            tell(
                output,
                &lines.join("\n"),
                &serde_json::json!({ "findings": findings, "failed": failed }),
            );
            if failed > 0 {
                return Err(Told.into());
            }
        }
        AgentCommand::Run { config } => {
            let agent = read_agent(&config)?;
            let stop = CancellationToken::new();
            platform::process::stop_on_signal(&stop)?;
            let data_dir = agent.data_dir.clone();
            let ended = run::run(agent, stop).await;
            ended.map_err(|e| plainly(e, &data_dir))?;
        }
        AgentCommand::Check { config, cluster } => {
            let problems = config::check(config.as_deref(), cluster.as_deref());
            let mut unseen = Vec::new();
            if let (true, Some(path)) = (problems.is_empty(), &cluster) {
                let text = config::read(path)?;
                unseen = nodes_of(&parse_cluster(&path.display().to_string(), &text)?.config);
            }
            if !problems.is_empty() {
                return Err(config::Problems(problems).into());
            }
            let mut say = "the configuration is right".to_owned();
            if !unseen.is_empty() {
                say += &format!(
                    "\nnot looked at: whether there are nodes called {} (`name` in their agent.toml); `ha-cli diff` says which have not joined",
                    unseen.join(", ")
                );
            }
            tell(
                output,
                &say,
                &serde_json::json!({ "ok": true, "nodes": unseen }),
            );
        }
        AgentCommand::Install { root } => {
            let done = ha_agent::install::install(&root)?;
            let next = "next: write /etc/ha-agent/agent.toml, then `ha-agent init` or `ha-agent join`, then `systemctl enable --now ha-agent`";
            tell(
                output,
                &format!("{}\n{next}", done.join("\n")),
                &serde_json::json!({ "done": done }),
            );
        }
        AgentCommand::Uninstall { root } => {
            let done = ha_agent::install::uninstall(&root)?;
            tell(
                output,
                &done.join("\n"),
                &serde_json::json!({ "done": done }),
            );
        }
        AgentCommand::Completions { shell } => {
            // In memory first: clap_complete would panic on a closed pipe.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "ha-agent", &mut script);
            std::io::Write::write_all(&mut std::io::stdout(), &script)?;
        }
        AgentCommand::Manual { directory } => {
            std::fs::create_dir_all(&directory)?;
            clap_mangen::generate_to(
                Args::command().version(env!("CARGO_PKG_VERSION")),
                &directory,
            )?;
        }
        AgentCommand::Warden { mark } => ha_address::platform::warden::run(mark, std::io::stdin())?,
        AgentCommand::Cleanup { .. } => cleanup(output)?,
    }
    Ok(())
}

/// It was told already.
#[derive(Debug, thiserror::Error)]
#[error("told above")]
struct Told;

/// The nodes that servers are said to be on.
fn nodes_of(config: &ClusterConfig) -> Vec<String> {
    let servers = config.backends.iter().flat_map(|b| &b.servers);
    let nodes: BTreeSet<String> = servers.filter_map(|s| s.node.clone()).collect();
    nodes.into_iter().collect()
}

/// Why it ended, for a person: what fills a disk is told by libraries in their own words.
fn plainly(error: Failure, data_dir: &Path) -> Failure {
    let text = error.to_string();
    if !text.contains("No space left on device") && !text.contains("StorageFull") {
        return error;
    }
    format!(
        "the disk that has {} is full (No space left on device): make room there and start the agent again. What was acknowledged is kept",
        data_dir.display()
    )
    .into()
}

fn cleanup(output: Output) -> Result<(), Failure> {
    let found = ha_agent::cleanup::cleanup()?;
    tell(
        output,
        &found.to_string(),
        &serde_json::json!({ "removed": found.removed, "rules_looked_at": found.rules_looked_at }),
    );
    if found.rules_looked_at {
        Ok(())
    } else {
        Err(Told.into())
    }
}

fn read_agent(path: &Path) -> Result<AgentConfig, config::Problems> {
    AgentConfig::parse(&path.display().to_string(), &config::read(path)?)
}

fn tell(output: Output, text: &str, json: &serde_json::Value) {
    if output == Output::Json {
        println!("{json}")
    } else {
        println!("{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_in_plain_words() {
        let library = "storage error: when Write Logs: Os { code: 28, kind: StorageFull, message: \"No space left on device\" }";
        let said = plainly(library.into(), Path::new("/data")).to_string();
        assert!(
            said.starts_with(
                "the disk that has /data is full (No space left on device): make room"
            ),
            "{said}"
        );
        assert!(!said.contains("Os {"), "{said}");
        let other = plainly("another".into(), Path::new("/data"));
        assert_eq!(other.to_string(), "another");
    }
}
