//! What an agent shows that cannot say that it is what is: told before anything else, and by the exit code.

use ha_proto::control::MayBeOld;

use super::Context;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::human::{ago, utc};
use crate::paint::Tint;

/// The first line of an answer that may be old; how the command ends when all else is well.
pub(super) fn told(ctx: &Context, old: Option<&MayBeOld>) -> Result<Exit, Failure> {
    let Some(old) = old else {
        return Ok(Exit::Done);
    };
    if !ctx.out.is_json() {
        let line = format!(
            "MAY BE OLD, known for certain until {} ({}): {}",
            utc(old.since_ms),
            ago(old.since_ms, clock::unix_ms()),
            old.why
        );
        ctx.out.line(&ctx.out.painter.paint(&line, Tint::Bad))?;
    }
    Ok(Exit::NoMajority)
}
