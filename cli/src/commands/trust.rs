//! `token`, `user`, `ca`: who may enter.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ha_proto::control::{AuthoritiesReply, RenewReply};
use ha_trust::authority::{request, request_for};
use ha_trust::keyring::write_private;
use ha_trust::passphrase;
use serde_json::json;

use super::Context;
use super::wait::answered;
use crate::args::{CaCommand, TokenCommand, UserCommand};
use crate::clock;
use crate::context::Context as ContextFile;
use crate::exit::{Exit, Failure};
use crate::human::{ago, span};
use crate::output::Progress;
use crate::paint::Tint;
use crate::signal::Stop;
use crate::table::{Cell, Table};

/// Between two looks at a change of authority.
const LOOK: Duration = Duration::from_millis(250);
/// How long a leader may take to be found.
const LEADER_WITHIN: Duration = Duration::from_secs(10);
/// How long nodes that run need at most to follow a change of authority.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(60);

/// `ha-cli token ...`
pub(super) async fn token(ctx: &mut Context, command: TokenCommand) -> Result<Exit, Failure> {
    match command {
        TokenCommand::Create { ttl, role } => {
            let ttl = crate::human::millis(ttl);
            // An agent that was just started: scripts need not wait for its leader.
            let made = answered(&ctx.out, LEADER_WITHIN, async || {
                ctx.cluster.create_token(ttl, role.clone()).await
            })
            .await?;
            if ctx.out.is_json() {
                ctx.out.json(&made)?;
            } else {
                // The token alone, so that it can be piped; what belongs to it goes beside.
                ctx.out.line(&made.token)?;
                let left = span(made.expires_ms.saturating_sub(clock::unix_ms()));
                crate::output::note(&format!(
                    "token {}, good for one node within {left}; it is not shown again",
                    made.id
                ));
            }
        }
        TokenCommand::List => {
            let known = ctx.cluster.tokens().await?;
            if ctx.out.is_json() {
                ctx.out.json(&known)?;
                return Ok(Exit::Done);
            }
            let now = clock::unix_ms();
            let mut table = Table::new(&["ID", "ROLE", "STATE", "MADE", "LEFT", "BY", "USED BY"]);
            for t in known.tokens {
                let open = t.state == "open";
                let left = if open {
                    span(t.expires_ms.saturating_sub(now))
                } else {
                    String::new()
                };
                let state = Cell::tinted(t.state, if open { Tint::Good } else { Tint::Quiet });
                table.row([
                    t.id.into(),
                    t.role.into(),
                    state,
                    ago(t.made_ms, now).into(),
                    left.into(),
                    t.by.into(),
                    t.used_by.into(),
                ]);
            }
            ctx.out.table(&table, "no tokens")?;
        }
        TokenCommand::Revoke { id } => {
            let message = ctx
                .cluster
                .revoke_token(id)
                .await
                .map_err(|f| with_hint(f, "`ha-cli token list` shows the ids"))?;
            print_message(ctx, message)?;
        }
    }
    Ok(Exit::Done)
}

/// `ha-cli user ...`
pub(super) async fn user(ctx: &mut Context, command: UserCommand) -> Result<Exit, Failure> {
    match command {
        UserCommand::Add { name, role, file } => {
            let path = file.unwrap_or_else(|| PathBuf::from(format!("{name}.json")));
            // Before the cluster is asked: who was added without a file could not come in, nor with one of before.
            let place = Place::take(&path)?;
            let (key, asked) =
                request().map_err(|e| Failure::new(Exit::Unexpected, e.to_string()))?;
            let issued = ctx
                .cluster
                .add_user(name.clone(), role.clone(), asked)
                .await?;
            context_file(issued, key.serialize_der()).save(&path)?;
            place.used();
            if ctx.out.is_json() {
                ctx.out
                    .json(&json!({ "name": name, "role": role, "file": path }))?;
            } else {
                ctx.out.line(&format!("{name} may enter as {role}, with `ha-cli --context {}`; who has that file is {name}", path.display()))?;
            }
        }
        UserCommand::List => {
            let known = ctx.cluster.users().await?;
            if ctx.out.is_json() {
                ctx.out.json(&known)?;
                return Ok(Exit::Done);
            }
            let now = clock::unix_ms();
            let mut table = Table::new(&["NAME", "ROLE", "CERTIFICATE", "BY"]);
            for u in known.users {
                table.row([
                    u.name.into(),
                    u.role.into(),
                    ago(u.since_ms, now).into(),
                    u.by.into(),
                ]);
            }
            ctx.out.table(
                &table,
                "no operators: only who sits at a node may enter, by its socket",
            )?;
        }
        UserCommand::Remove { name } => {
            let message = ctx
                .cluster
                .remove_user(name)
                .await
                .map_err(|f| with_hint(f, "`ha-cli user list` shows the names"))?;
            print_message(ctx, message)?;
        }
    }
    Ok(Exit::Done)
}

/// A file that can be written and was not there; gone again when nothing came of it.
struct Place<'a>(Option<&'a Path>);

impl<'a> Place<'a> {
    fn take(path: &'a Path) -> Result<Self, Failure> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(path) {
            Ok(_) => Ok(Place(Some(path))),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(Failure::new(
                Exit::Usage,
                format!("{} is there already", path.display()),
            )
            .remedy("name another file, or move it away")),
            Err(e) => Err(
                Failure::new(Exit::Usage, format!("{}: {e}", path.display()))
                    .remedy("name a file in a directory that you may write"),
            ),
        }
    }

    fn used(mut self) {
        self.0 = None;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// `ha-cli backup`. The passphrase does not leave this process.
pub(super) async fn backup(
    ctx: &mut Context,
    file: &Path,
    passphrase_file: Option<&Path>,
) -> Result<Exit, Failure> {
    let place = Place::take(file)?;
    let wrong = |e: String| Failure::new(Exit::Usage, e);
    let passphrase = passphrase::ask(passphrase_file, true).map_err(wrong)?;
    let taken = ctx.cluster.backup().await?;
    let cluster = taken.cluster;
    let locked = passphrase::lock(&passphrase, &taken.content).map_err(wrong)?;
    write_private(file, &locked)
        .map_err(|e| Failure::new(Exit::Unexpected, format!("{}: {e}", file.display())))?;
    place.used();
    if ctx.out.is_json() {
        ctx.out
            .json(&json!({ "cluster": cluster, "file": file, "bytes": locked.len() }))?;
    } else {
        ctx.out.line(&format!("cluster {cluster} is in {}; who has that file and its passphrase can sign for anybody in it", file.display()))?;
    }
    Ok(Exit::Done)
}

/// `ha-cli ca ...`
pub(super) async fn ca(ctx: &mut Context, command: CaCommand) -> Result<Exit, Failure> {
    match command {
        CaCommand::Show => {
            let known = ctx.cluster.authorities().await?;
            show(ctx, &known)?;
        }
        CaCommand::Rotate => {
            ctx.cluster.rotate_authority().await?;
            let known = followed(ctx).await?;
            show(ctx, &known)?;
            if !ctx.out.is_json() {
                ctx.out.line("every node uses the new authority; contexts are renewed when they are used; `ha-cli ca retire` ends the belief in the old one")?;
            }
        }
        CaCommand::Retire { force } => {
            let message = ctx.cluster.retire_authority(force).await?;
            print_message(ctx, message)?;
        }
    }
    Ok(Exit::Done)
}

/// Waits until every node shows a certificate of the newest authority.
async fn followed(ctx: &mut Context) -> Result<AuthoritiesReply, Failure> {
    let mut stop = Stop::listen()?;
    let mut progress = Progress::new(&ctx.out);
    let goes_on =
        "the change goes on by itself, as soon as they do: `ha-cli ca show` says how far it is";
    let mut last = AuthoritiesReply::default();
    let looking = async {
        loop {
            // A leader may just be changing.
            if let Ok(known) = ctx.cluster.authorities().await {
                last = known;
                if last.waiting_for.is_empty()
                    && last
                        .authorities
                        .last()
                        .is_some_and(|a| a.stage == "signing")
                {
                    return;
                }
                let line = format!(
                    "waiting for {}",
                    if last.waiting_for.is_empty() {
                        "the next step".to_owned()
                    } else {
                        last.waiting_for.join(", ")
                    }
                );
                progress.show(&line, &line);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let (done, why) = tokio::select! {
        biased;
        () = stop.asked() => (false, Exit::Cancelled),
        () = looking => (true, Exit::Done),
        () = tokio::time::sleep(FOLLOWED_WITHIN) => (false, Exit::Deadline),
    };
    progress.clear();
    if done {
        Ok(last)
    } else {
        Err(Failure::new(
            why,
            format!(
                "not every node has followed: {}",
                last.waiting_for.join(", ")
            ),
        )
        .remedy(goes_on))
    }
}

fn show(ctx: &Context, known: &AuthoritiesReply) -> Result<(), Failure> {
    if ctx.out.is_json() {
        return ctx.out.json(known);
    }
    let now = clock::unix_ms();
    let mut table = Table::new(&["FINGERPRINT", "STAGE", "SINCE", "SHOWN BY"]);
    for a in &known.authorities {
        table.row([
            a.fingerprint.as_str().into(),
            a.stage.as_str().into(),
            ago(a.since_ms, now).into(),
            a.shown_by.join(", ").into(),
        ]);
    }
    ctx.out
        .table(&table, "no authority: this agent has not heard of it yet")?;
    if !known.waiting_for.is_empty() {
        ctx.out.line(&format!(
            "not followed yet: {}",
            known.waiting_for.join(", ")
        ))?;
    }
    Ok(())
}

/// Another certificate for the key of the context in `path`, which was just used. Until it is written, and wherever
/// else the file is, the one of before stays good.
pub(super) async fn renew(
    ctx: &mut Context,
    path: &Path,
    file: ContextFile,
) -> Result<(), Failure> {
    let asked =
        request_for(&file.key).map_err(|e| Failure::new(Exit::Unexpected, e.to_string()))?;
    let issued = ctx.cluster.renew(asked).await?;
    context_file(issued, file.key).save(path)
}

fn context_file(issued: RenewReply, key: Vec<u8>) -> ContextFile {
    ContextFile {
        cluster: issued.cluster,
        endpoints: issued.endpoints,
        authorities: issued.authorities,
        certificate: issued.certificate,
        key,
    }
}

fn with_hint(failure: Failure, remedy: &str) -> Failure {
    if failure.exit == Exit::NotFound {
        failure.remedy(remedy)
    } else {
        failure
    }
}

fn print_message(ctx: &Context, message: String) -> Result<(), Failure> {
    if ctx.out.is_json() {
        ctx.out.json(&json!({ "message": message }))
    } else {
        ctx.out.line(&message)
    }
}
