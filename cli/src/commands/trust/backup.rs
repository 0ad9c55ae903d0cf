//! `backup`.

use std::path::Path;

use ha_trust::keyring::write_private;
use ha_trust::passphrase;
use serde_json::json;

use super::new_file::NewFile;
use crate::commands::Context;
use crate::exit::{Exit, Failure};

/// `ha-cli backup`. The passphrase does not leave this process.
pub(in crate::commands) async fn run(
    ctx: &mut Context,
    file: &Path,
    passphrase_file: Option<&Path>,
) -> Result<Exit, Failure> {
    let new_file = NewFile::create(file)?;
    let wrong = |e: String| Failure::new(Exit::Usage, e);
    let passphrase = passphrase::ask(passphrase_file, true).map_err(wrong)?;
    let taken = ctx.cluster.backup().await?;
    let cluster = taken.cluster;
    let locked = passphrase::lock(&passphrase, &taken.content).map_err(wrong)?;
    write_private(file, &locked)
        .map_err(|e| Failure::new(Exit::Unexpected, format!("{}: {e}", file.display())))?;
    new_file.keep();
    if ctx.out.is_json() {
        ctx.out
            .json(&json!({ "cluster": cluster, "file": file, "bytes": locked.len() }))?;
    } else {
        ctx.out.line(&format!("cluster {cluster} is in {}; who has that file and its passphrase can sign for anybody in it", file.display()))?;
    }
    Ok(Exit::Done)
}
