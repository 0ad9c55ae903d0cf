//! `ha-cli demo`: a failover on this machine, without privileges or configuration.
//!
//! ```text
//!   client --asks--> 127.0.0.100 (whoever holds it) --forwards--> alpha | beta | gamma
//!                         node-1   node-2   node-3      three processes, SIGKILL to the leader
//! ```
//!
//! The servers and the client are threads of this process, the agents are processes of their own.
//! Whatever is shown is checked: the demo fails when it is not so. Everything that was started
//! belongs to a value that ends it when dropped, so that errors, panics and Ctrl-C leave nothing.

use serde_json::json;

use crate::args::DemoArgs;
use crate::exit::{Exit, Failure};
use crate::output::{Output, note};
use crate::signal::Stop;

mod agents;
mod locate;
pub mod places;
mod process;
mod screen;
pub mod servers;
mod story;
pub mod traffic;

use screen::Screen;

/// What happened so far; it outlives the story, so that Ctrl-C can still sum up.
#[derive(Debug, Default)]
struct Tally {
    gaps_ms: Vec<u64>,
}

/// `ha-cli demo`: until Ctrl-C, or with `--once` until the first failover is over.
///
/// # Errors
/// When something could not be started, or when what it shows is not so.
pub async fn run(args: DemoArgs, out: Output) -> Result<Exit, Failure> {
    let mut stop = Stop::listen()?;
    let mut screen = Screen::new(out);
    let mut tally = Tally::default();
    let told = tokio::select! {
        biased;
        () = stop.asked() => None,
        told = story::tell(&args, &mut screen, &mut tally) => Some(told),
    };
    // Here everything that was started is gone.
    match told {
        Some(Err(failure)) => return Err(failure),
        Some(Ok(())) => {}
        None if args.once || tally.gaps_ms.is_empty() => {
            note("");
            return Err(Failure::new(
                Exit::Cancelled,
                "stopped before the first failover; nothing is left behind",
            ));
        }
        None => note(""),
    }
    let worst = tally.gaps_ms.iter().max().copied().unwrap_or(0);
    let failovers = tally.gaps_ms.len();
    let times = if failovers == 1 {
        "1 failover".into()
    } else {
        format!("{failovers} failovers")
    };
    let text = format!(
        "{times}, longest gap for the client {worst} ms, its server never changed; nothing is left behind"
    );
    screen.phase(
        "end",
        &text,
        json!({ "failovers": failovers, "longest_gap_ms": worst, "gaps_ms": tally.gaps_ms }),
    )?;
    Ok(Exit::Done)
}
