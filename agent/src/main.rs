//! `ha-agent`: found a cluster, join one, run.

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use ha_address::VipSettings;
use ha_agent::config::{self, AgentConfig, parse_cluster};
use ha_agent::found;
use ha_agent::preflight::{self, Finding, Inspection, Moment, Verdict};
use ha_agent::run::{self, Failure};
use ha_agent::sys::{platform, wall_now};
use ha_core::id::NodeId;
use ha_record::backup::Backup;
use ha_trust::passphrase;
use ha_trust::token::Token;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

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

/// While the disk stalls, consensus, its state machine and whoever reads the log for a peer each wait in a thread:
/// enough for these with seven voters, and some for the lease, which does not wait for disks. Idle ones cost nothing.
const CONTROL_THREADS: usize = 12;

pub(crate) fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_env("HA_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,openraft=error,sled=warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    if platform::process::stderr_is_the_journal() {
        log.event_format(ForJournal).init();
    } else {
        log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("ha-control")
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(act(args.command, args.output));
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            result
        }
        Err(e) => Err(e.into()),
    };
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

/// One line per event, with its priority before it (sd-daemon(3)) and without the time, which the journal has.
struct ForJournal;

impl<S, N> FormatEvent<S, N> for ForJournal
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        let priority = match *event.metadata().level() {
            tracing::Level::ERROR => 3,
            tracing::Level::WARN => 4,
            tracing::Level::INFO => 6,
            _ => 7,
        };
        write!(to, "<{priority}>")?;
        Format::default()
            .without_time()
            .with_level(false)
            .with_target(false)
            .with_ansi(false)
            .format_event(ctx, to, event)
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
                virtual_ips: &parsed.config.virtual_ips,
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
                    virtual_ips: &[],
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
            let virtual_ips = &backup.facts.config.virtual_ips;
            look_first(
                &Inspection {
                    config: &agent,
                    virtual_ips,
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
            let virtual_ips = cluster.map(|c| c.config.virtual_ips).unwrap_or_default();
            let findings = preflight::look(&Inspection {
                config: &agent,
                virtual_ips: &virtual_ips,
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
            let mut problems = Vec::new();
            if let Some(path) = &config {
                problems.extend(read_agent(path).err().into_iter().flat_map(|p| p.0));
            }
            if let Some(path) = &cluster {
                let parsed = config::read(path)
                    .and_then(|text| parse_cluster(&path.display().to_string(), &text));
                problems.extend(parsed.err().into_iter().flat_map(|p| p.0));
            }
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
