//! `user`: operators and the context files that they enter with.

use std::path::{Path, PathBuf};

use ha_proto::control::RenewReply;
use ha_trust::authority::{request, request_for};
use serde_json::json;

use super::new_file::NewFile;
use super::{print_message, with_hint};
use crate::args::UserCommand;
use crate::clock;
use crate::commands::{Context, confirm};
use crate::context::Context as ContextFile;
use crate::exit::{Exit, Failure};
use crate::human::ago;
use crate::table::Table;

pub(in crate::commands) async fn run(
    ctx: &mut Context,
    command: UserCommand,
) -> Result<Exit, Failure> {
    match command {
        UserCommand::Add { name, role, file } => {
            let path = file.unwrap_or_else(|| PathBuf::from(format!("{name}.json")));
            add(ctx, &name, &role, &path).await?;
        }
        UserCommand::List => list(ctx).await?,
        UserCommand::Remove { name, yes } => {
            let question = format!("Shut {name} out? The context file opens nothing any more.");
            confirm::meant(ctx, yes.yes, &question).await?;
            let removed = ctx.cluster.remove_user(name).await;
            let message =
                removed.map_err(|f| with_hint(f, "`ha-cli user list` shows the names"))?;
            print_message(ctx, message)?;
        }
    }
    Ok(Exit::Done)
}

async fn add(ctx: &mut Context, name: &str, role: &str, path: &Path) -> Result<(), Failure> {
    // Before the cluster is asked: who was added without a file could not come in, nor with one of before.
    let file = NewFile::create(path)?;
    let (key, asked) = request().map_err(|e| Failure::new(Exit::Unexpected, e.to_string()))?;
    let (who, what) = (name.to_owned(), role.to_owned());
    let issued = ctx.cluster.add_user(who, what, asked).await?;
    context_file(issued, key.serialize_der()).save(path)?;
    file.keep();
    if ctx.out.is_json() {
        return ctx
            .out
            .json(&json!({ "name": name, "role": role, "file": path }));
    }
    ctx.out.line(&format!(
        "{name} may enter as {role}, with `ha-cli --context {}`; who has that file is {name}",
        path.display()
    ))
}

async fn list(ctx: &mut Context) -> Result<(), Failure> {
    let known = ctx.cluster.users().await?;
    super::super::age::told(ctx, known.may_be_old.as_ref())?;
    if ctx.out.is_json() {
        return ctx.out.json(&known);
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
    )
}

/// Another certificate for the key of the context in `path`, which was just used. Until it is written, and wherever
/// else the file is, the one of before stays good.
pub(in crate::commands) async fn renew(
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
