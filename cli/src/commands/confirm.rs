//! What cannot be taken back, or is more than it looks, is asked about first.

use std::io::{self, IsTerminal, Write};

use super::Context;
use crate::exit::{Exit, Failure};
use crate::signal::Stop;

/// Whether somebody is there who can be asked.
pub(super) fn somebody_there(ctx: &Context) -> bool {
    io::stdin().is_terminal() && !ctx.out.is_json()
}

/// Goes on when the operator says so, by `--yes` or on the terminal. `question` ends with a question mark.
///
/// # Errors
/// The answer is no, or nobody can be asked.
pub(in crate::commands) async fn meant(
    ctx: &Context,
    yes: bool,
    question: &str,
) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !somebody_there(ctx) {
        return Err(
            Failure::new(Exit::Usage, format!("nobody to ask: {question}"))
                .remedy("use --yes if that is meant"),
        );
    }
    if agreed(question).await? {
        Ok(())
    } else {
        Err(Failure::new(Exit::Cancelled, "nothing was changed"))
    }
}

/// Asks on the terminal; Ctrl-C is a no.
async fn agreed(question: &str) -> Result<bool, Failure> {
    let mut stop = Stop::listen()?;
    let mut err = io::stderr();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    // A thread of its own, which the process may leave behind: reading a terminal cannot be given up.
    let (say, said) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line);
        let _ = say.send(read.map(|_| matches!(line.trim(), "y" | "Y" | "yes")));
    });
    let answer = tokio::select! {
        biased;
        () = stop.asked() => false,
        answer = said => answer.unwrap_or(Ok(false))?,
    };
    if !answer {
        let _ = writeln!(err);
    }
    Ok(answer)
}
