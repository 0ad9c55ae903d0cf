//! Who may enter: `token`, `user`, `ca`, and `backup`, which holds all of that.

use serde_json::json;

use super::Context;
use crate::exit::{Exit, Failure};

pub(super) mod authority;
pub(super) mod backup;
mod new_file;
pub(super) mod token;
pub(super) mod user;

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
