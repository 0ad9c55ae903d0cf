//! `apply`, `diff`, `rollback` and `config`.

use std::io::{self, Read};
use std::path::Path;

use ha_proto::control::ConfigVersion;

use super::age::told;
use super::{Context, confirm, problem};
use crate::client::Applied;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::human::{ago, count, utc};
use crate::paint::{Tint, shown};
use crate::table::Table;

/// `ha-cli apply`: shows the difference, asks, applies exactly what was shown.
pub(super) async fn apply(
    ctx: &mut Context,
    file: &Path,
    yes: bool,
    expect: u64,
) -> Result<Exit, Failure> {
    let (text, name) = read(file)?;
    if yes {
        // What somebody else applies meanwhile is not undone by this, however late it arrives.
        let expect = match expect {
            0 => ctx.cluster.status().await?.config_version,
            expect => expect,
        };
        let applied = ctx.cluster.apply(text, name, expect).await?;
        return report(ctx, &applied);
    }
    if !confirm::somebody_there(ctx) {
        return Err(
            Failure::new(Exit::Usage, "nobody to ask whether to apply it")
                .remedy("look with `ha-cli diff FILE`, then use --yes"),
        );
    }
    // What is shown must be what is applied: nobody may change the configuration in between.
    let expect = if expect == 0 {
        ctx.cluster.status().await?.config_version
    } else {
        expect
    };
    let planned = ctx.cluster.diff(text.clone(), name.clone(), expect).await?;
    if !planned.reply.problems.is_empty() || planned.reply.changes.is_empty() {
        return report(ctx, &planned);
    }
    print_changes(ctx, &planned)?;
    confirm::meant(ctx, false, "Apply?").await?;
    let applied = ctx.cluster.apply(text, name, expect).await?;
    if !applied.reply.problems.is_empty() {
        return report(ctx, &applied);
    }
    ctx.out
        .line(&format!("version {} is in force", applied.reply.version))?;
    Ok(Exit::Done)
}

pub(super) async fn diff(ctx: &mut Context, file: &Path) -> Result<Exit, Failure> {
    let (text, name) = read(file)?;
    let planned = ctx.cluster.diff(text, name, 0).await?;
    report(ctx, &planned)
}

/// `ha-cli rollback`: shows what it changes, asks, goes back to exactly that.
pub(super) async fn rollback(
    ctx: &mut Context,
    version: Option<u64>,
    yes: bool,
) -> Result<Exit, Failure> {
    if yes {
        let current = ctx.cluster.status().await?.config_version;
        let applied = ctx.cluster.rollback(version.unwrap_or(0), current).await;
        return report(ctx, &applied.map_err(with_history)?);
    }
    let mut versions: Vec<u64> = ctx
        .cluster
        .config_history(0)
        .await?
        .versions
        .iter()
        .map(|v| v.version)
        .collect();
    versions.sort_unstable_by_key(|v| std::cmp::Reverse(*v));
    let current = versions.first().copied().unwrap_or(0);
    let Some(wanted) = version.or(versions.get(1).copied()) else {
        return Err(Failure::new(
            Exit::Refused,
            "there is no earlier version of the configuration",
        ));
    };
    let kept = ctx.cluster.config_history(wanted).await;
    let kept = kept.map_err(with_history)?.versions;
    let Some(kept) = kept.into_iter().find(|v| v.version == wanted) else {
        return Err(missing(wanted));
    };
    let planned = ctx
        .cluster
        .diff(kept.text, format!("version {wanted}"), current)
        .await?;
    if planned.reply.changes.is_empty() {
        return report(ctx, &planned);
    }
    if !ctx.out.is_json() {
        print_changes(ctx, &planned)?;
    }
    let question = format!("Go back from version {current} to {wanted}?");
    confirm::meant(ctx, false, &question).await?;
    let applied = ctx.cluster.rollback(wanted, current).await;
    let applied = applied.map_err(with_history)?;
    ctx.out
        .line(&format!("version {} is in force", applied.reply.version))?;
    Ok(Exit::Done)
}

fn with_history(failure: Failure) -> Failure {
    match failure.exit {
        Exit::NotFound => {
            failure.remedy("`ha-cli config history` lists the versions that are kept")
        }
        _ => failure,
    }
}

fn missing(version: u64) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no version {version}"))
        .remedy("`ha-cli config history` lists the versions that are kept")
}

/// `ha-cli config history`, the newest first.
pub(super) async fn history(ctx: &mut Context) -> Result<Exit, Failure> {
    let mut history = ctx.cluster.config_history(0).await?;
    history
        .versions
        .sort_by_key(|v| std::cmp::Reverse(v.version));
    let exit = told(ctx, history.may_be_old.as_ref())?;
    if ctx.out.is_json() {
        ctx.out.json(&history)?;
        return Ok(exit);
    }
    let now_ms = clock::unix_ms();
    let mut table = Table::new(&[">VERSION", "WHEN", "AGE", "BY", "SUMMARY"]);
    for v in history.versions {
        table.row([
            v.version.into(),
            utc(v.at_ms).into(),
            ago(v.at_ms, now_ms).into(),
            v.by.into(),
            v.summary.into(),
        ]);
    }
    ctx.out.table(
        &table,
        "no configuration yet; `ha-cli apply cluster.toml` gives the first",
    )?;
    Ok(exit)
}

/// `ha-cli config show`: the text as it was written, ready to be edited and applied.
pub(super) async fn show(ctx: &mut Context, version: Option<u64>) -> Result<Exit, Failure> {
    let wanted = match version {
        Some(version) => version,
        None => ctx
            .cluster
            .config_history(0)
            .await?
            .versions
            .iter()
            .map(|v| v.version)
            .max()
            .unwrap_or(0),
    };
    if wanted == 0 {
        return Err(missing(wanted));
    }
    let found: Option<ConfigVersion> = ctx
        .cluster
        .config_history(wanted)
        .await?
        .versions
        .into_iter()
        .find(|v| v.version == wanted && !v.text.is_empty());
    let found = found.ok_or_else(|| missing(wanted))?;
    if ctx.out.is_json() {
        ctx.out.json(&found)?;
    } else {
        let end = if found.text.ends_with('\n') { "" } else { "\n" };
        ctx.out.text(&format!("{}{end}", shown(&found.text)))?;
    }
    Ok(Exit::Done)
}

/// The text of a file and the name that messages use for it.
fn read(file: &Path) -> Result<(String, String), Failure> {
    if file == Path::new("-") {
        let mut text = String::new();
        io::stdin()
            .read_to_string(&mut text)
            .map_err(|why| unreadable("standard input", &why))?;
        return Ok((text, "standard input".into()));
    }
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|why| unreadable(&name, &why))?;
    Ok((text, name))
}

fn unreadable(name: &str, why: &io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("cannot read {name}: {why}"))
        .remedy("name a cluster.toml that you may read")
}

/// Prints what was, or would be, changed, or what is wrong.
fn report(ctx: &Context, applied: &Applied) -> Result<Exit, Failure> {
    if ctx.out.is_json() {
        ctx.out.json(applied)?;
    } else if !applied.reply.problems.is_empty() {
        for problem in &applied.reply.problems {
            ctx.out.line(&problem::line(problem))?;
        }
    } else if applied.reply.changes.is_empty() {
        ctx.out.line(&format!(
            "no difference to version {}",
            applied.reply.version
        ))?;
    } else {
        print_changes(ctx, applied)?;
        if applied.applied {
            ctx.out
                .line(&format!("version {} is in force", applied.reply.version))?;
        }
    }
    if applied.reply.problems.is_empty() {
        return Ok(Exit::Done);
    }
    let problems = count(applied.reply.problems.len() as u64, "problem");
    Err(Failure::new(
        Exit::Invalid,
        format!("{problems} in the configuration; nothing was changed"),
    ))
}

/// One change a line: what comes in green, what goes in red.
fn print_changes(ctx: &Context, applied: &Applied) -> Result<(), Failure> {
    for change in &applied.reply.changes {
        let tint = match change.chars().next() {
            Some('+') => Tint::Good,
            Some('-') => Tint::Bad,
            _ => Tint::Plain,
        };
        ctx.out
            .line(&format!("  {}", ctx.out.painter.paint(change, tint)))?;
    }
    for note in &applied.reply.notes {
        let note = ctx.out.painter.paint(&format!("note: {note}"), Tint::Warn);
        ctx.out.line(&note)?;
    }
    Ok(())
}
