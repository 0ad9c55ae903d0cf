//! `ha-agent`: found a cluster, join one, run.

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use ha_address::VipSettings;
use ha_agent::config::{self, AgentConfig, parse_cluster};
use ha_agent::found;
use ha_agent::preflight::{self, Finding, Inspection, Moment, Verdict};
use ha_agent::run::{self, Failure};
use ha_agent::stderr;
use ha_agent::sys::{platform, wall_now};
use ha_agent::threads;
use ha_core::id::NodeId;
use ha_core::own_address::REMEDY as OWN_REMEDY;
use ha_record::backup::Backup;
use ha_trust::passphrase;
use ha_trust::token::Token;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 it failed (the message says why), 2 wrong usage, 8 a configuration file is wrong.";

#[derive(Parser)]
#[command(name = "ha-agent", version, about = "High availability without a fourth machine: one agent per server", after_help = EXIT_CODES)]
struct Args {
    #[command(subcommand)]
    command: What,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[derive(Subcommand)]
enum What {
    /// Found a new cluster with this node as its first.
    Init {
        /// This node's file.
        #[arg(long)]
        config: PathBuf,
        /// The cluster's file; it is needed only here.
        #[arg(long)]
        cluster: PathBuf,
        /// This node's id, a UUID; made when it is not given.
        #[arg(long)]
        id: Option<NodeId>,
        /// Even if a check of `preflight` fails.
        #[arg(long)]
        skip_preflight: bool,
    },
    /// Ask any member to let this node in.
    Join {
        /// `listen` address of any member.
        address: String,
        /// What `ha-cli token create` printed on a member.
        #[arg(long, env = "HA_TOKEN", hide_env_values = true)]
        token: Option<String>,
        /// This node's file.
        #[arg(long)]
        config: PathBuf,
        /// This node's id, a UUID; made when it is not given.
        #[arg(long)]
        id: Option<NodeId>,
        /// Even if a check of `preflight` fails.
        #[arg(long)]
        skip_preflight: bool,
    },
    /// Found a cluster from a backup of an earlier one, which must be gone: the same identity, configuration and authority.
    Restore {
        /// What `ha-cli backup` wrote.
        file: PathBuf,
        /// This node's file.
        #[arg(long)]
        config: PathBuf,
        /// A file with the passphrase on its first line; without it HA_PASSPHRASE is taken, or it is asked for.
        #[arg(long)]
        passphrase_file: Option<PathBuf>,
        /// This node's id, a UUID; made when it is not given.
        #[arg(long)]
        id: Option<NodeId>,
        /// Even if a check of `preflight` fails.
        #[arg(long)]
        skip_preflight: bool,
    },
    /// Look whether this machine can do what an agent needs, without changing anything.
    Preflight {
        /// This node's file.
        #[arg(long)]
        config: PathBuf,
        /// The cluster's file: are its virtual IPs free?
        #[arg(long)]
        cluster: Option<PathBuf>,
        /// `listen` address of a member: is it near, and does it reach this node?
        #[arg(long)]
        member: Option<String>,
        /// The same as `--output json`.
        #[arg(long)]
        json: bool,
    },
    /// Run, until SIGTERM, SIGINT or SIGHUP.
    Run {
        /// This node's file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Say whether the files are right, without starting anything.
    Check {
        /// This node's file.
        #[arg(long)]
        config: Option<PathBuf>,
        /// The cluster's file.
        #[arg(long)]
        cluster: Option<PathBuf>,
    },
    /// Put programs, systemd unit and user into place, where there is no package.
    Install {
        /// Another root than this machine's.
        #[arg(long, default_value = "/", hide_default_value = true)]
        root: PathBuf,
    },
    /// Take away what `install` put there; configuration and data stay.
    Uninstall {
        /// Another root than this machine's.
        #[arg(long, default_value = "/", hide_default_value = true)]
        root: PathBuf,
    },
    /// Prints completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages, one per command.
    #[command(hide = true)]
    Manual {
        /// Where to; made when it is not there.
        directory: PathBuf,
    },
    /// Take the addresses off when the agent, whose words come on standard input, falls silent. Started by `run`.
    #[command(hide = true)]
    Warden {
        /// By which managed addresses are found.
        mark: u8,
    },
    /// Remove managed addresses and tables that a crashed agent left.
    Cleanup {
        /// This node's file.
        #[arg(long)]
        config: PathBuf,
    },
}

/// The life of the process.
pub fn main() -> ExitCode {
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
            let wrong_file = e.downcast_ref::<config::Problems>().is_some();
            if e.is::<Told>() {
                // Nothing more to say.
            } else if args.output == Output::Json {
                let findings = e.downcast_ref::<NotReady>().map(|n| &n.findings);
                println!(
                    "{}",
                    serde_json::json!({ "error": e.to_string(), "findings": findings })
                );
            } else {
                eprintln!(
                    "{}{e}",
                    if platform::process::stderr_is_the_journal() {
                        "<3>"
                    } else {
                        ""
                    }
                );
            }
            ExitCode::from(if wrong_file { 8 } else { 1 })
        }
    }
}

async fn act(what: What, output: Output) -> Result<(), Failure> {
    if matches!(
        what,
        What::Init { .. } | What::Join { .. } | What::Restore { .. } | What::Run { .. }
    ) {
        // Whatever they make is nobody else's: log and snapshot hold the authority's key, sealed.
        platform::process::keep_files_private();
    }
    match what {
        What::Init {
            config,
            cluster,
            id,
            skip_preflight,
        } => {
            let agent = read_agent(&config)?;
            let text = config::read(&cluster)?;
            let parsed = parse_cluster(&cluster.display().to_string(), &text)?;
            let promise = Some(
                parsed
                    .promise
                    .unwrap_or_else(|| parsed.timing.unwrap_or_default().promise()),
            );
            let subject = Inspection {
                config: &agent,
                cluster: Some(&parsed.config),
                promise,
                member: None,
                authority: None,
                moment: Moment::Founding,
            };
            look_first(&subject, skip_preflight).await?;
            let identity = found::found(&agent, parsed, text, id).await?;
            let say = format!(
                "cluster {} is founded, this node is {} ({})\nnext: ha-agent run --config {}",
                identity.cluster_id,
                agent.name,
                identity.node_id,
                config.display()
            );
            tell(
                output,
                &say,
                &serde_json::json!({ "cluster_id": identity.cluster_id, "node_id": identity.node_id, "name": agent.name }),
            );
        }
        What::Join {
            address,
            token,
            config,
            id,
            skip_preflight,
        } => {
            let agent = read_agent(&config)?;
            let token = token.ok_or("a node joins with a token: `ha-cli token create` on any member prints one; give it with --token or HA_TOKEN. Nothing was asked of anybody")?;
            let token: Token = token.parse()?;
            look_first(
                &Inspection {
                    config: &agent,
                    cluster: None,
                    promise: None,
                    member: Some(&address),
                    authority: Some(token.authority),
                    moment: Moment::Joining,
                },
                skip_preflight,
            )
            .await?;
            let (identity, cluster) = found::join(&agent, &address, &token, id).await?;
            let say = format!(
                "{} ({}) is let into cluster {cluster}\nnext: ha-agent run --config {}",
                agent.name,
                identity.node_id,
                config.display()
            );
            tell(
                output,
                &say,
                &serde_json::json!({ "cluster": cluster, "cluster_id": identity.cluster_id, "node_id": identity.node_id, "name": agent.name }),
            );
        }
        What::Restore {
            file,
            config,
            passphrase_file,
            id,
            skip_preflight,
        } => {
            let agent = read_agent(&config)?;
            let locked = std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            let said = |e: String| format!("{}: {e}", file.display());
            let backup = Backup::from_bytes(
                &passphrase::unlock(
                    &passphrase::ask(passphrase_file.as_deref(), false)?,
                    &locked,
                )
                .map_err(said)?,
            )
            .map_err(|e| said(e.to_string()))?;
            // The one that it takes the place of must not answer for the addresses any more.
            look_first(
                &Inspection {
                    config: &agent,
                    cluster: Some(&backup.facts.config),
                    promise: Some(backup.promise()),
                    member: None,
                    authority: None,
                    moment: Moment::Founding,
                },
                skip_preflight,
            )
            .await?;
            let cluster = backup.facts.config.name.clone();
            let operators: Vec<String> = backup.facts.trust.users.keys().cloned().collect();
            let hours = wall_now().saturating_since(backup.made).as_secs() / 3600;
            let identity = found::restore(&agent, backup, id).await?;
            let say = format!(
                "cluster {cluster} ({}) is restored, this node is {} ({})\n\
                 the backup is {hours} h old, and who was removed since may enter again: operators are {}. If anybody was: `ha-cli user remove`, `ha-cli ca rotate`, `ha-cli ca retire`\n\
                 next: ha-agent run --config {}; the other nodes join with an empty data_dir and a new token",
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
        }
        What::Preflight {
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
        What::Run { config } => {
            let agent = read_agent(&config)?;
            let stop = CancellationToken::new();
            platform::process::stop_on_signal(&stop)?;
            run::run(agent, stop).await?;
        }
        What::Check { config, cluster } => {
            let problems = config::check(config.as_deref(), cluster.as_deref());
            if !problems.is_empty() {
                return Err(config::Problems(problems).into());
            }
            tell(
                output,
                "the configuration is right",
                &serde_json::json!({ "ok": true }),
            );
        }
        What::Install { root } => {
            let done = ha_agent::install::install(&root)?;
            let next = "next: write /etc/ha-agent/agent.toml, then `ha-agent init` or `ha-agent join`, then `systemctl enable --now ha-agent`";
            tell(
                output,
                &format!("{}\n{next}", done.join("\n")),
                &serde_json::json!({ "done": done }),
            );
        }
        What::Uninstall { root } => {
            let done = ha_agent::install::uninstall(&root)?;
            tell(
                output,
                &done.join("\n"),
                &serde_json::json!({ "done": done }),
            );
        }
        What::Completions { shell } => {
            // In memory first: clap_complete would panic on a closed pipe.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "ha-agent", &mut script);
            std::io::Write::write_all(&mut std::io::stdout(), &script)?;
        }
        What::Manual { directory } => {
            std::fs::create_dir_all(&directory)?;
            clap_mangen::generate_to(
                Args::command().version(env!("CARGO_PKG_VERSION")),
                &directory,
            )?;
        }
        What::Warden { mark } => ha_address::platform::warden::run(mark, std::io::stdin())?,
        What::Cleanup { config } => cleanup(&read_agent(&config)?, output)?,
    }
    Ok(())
}

/// What `preflight` says before a node is made: what is not as it should be, and no further when something fails.
async fn look_first(subject: &Inspection<'_>, skip: bool) -> Result<(), Failure> {
    // It would cut this machine off, so nobody skips it.
    if let Some(own) = subject.config.own_among(subject.virtual_ips()).first() {
        return Err(format!("virtual_ip {}: {own}: {OWN_REMEDY}", own.virtual_ip).into());
    }
    if skip {
        return Ok(());
    }
    let findings = preflight::look(subject).await;
    for finding in findings.iter().filter(|f| f.verdict >= Verdict::Warning) {
        eprintln!("{finding}");
    }
    match preflight::failed(&findings) {
        0 => Ok(()),
        failed => Err(NotReady { failed, findings }.into()),
    }
}

/// It was told already.
#[derive(Debug, thiserror::Error)]
#[error("told above")]
struct Told;

/// So many checks failed.
#[derive(Debug, thiserror::Error)]
#[error(
    "this machine is not ready: {failed} of the checks above failed; nothing was changed (`init` and `join` take --skip-preflight)"
)]
struct NotReady {
    failed: usize,
    findings: Vec<Finding>,
}

fn cleanup(agent: &AgentConfig, output: Output) -> Result<(), Failure> {
    let removed = ha_address::platform::cleanup(&VipSettings::new(agent.address), &[])?;
    let names: Vec<String> = removed.iter().map(ToString::to_string).collect();
    tell(
        output,
        &format!(
            "removed: {}",
            if names.is_empty() {
                "nothing was left".to_owned()
            } else {
                names.join(", ")
            }
        ),
        &serde_json::json!({ "removed": names }),
    );
    Ok(())
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
