//! What this program says on standard error: written by a thread of its own, so that nothing waits for who reads it.
//!
//! A service manager that stalls, with a full pipe or a disk that does not answer, would else stop every thread at its
//! next line, and those that keep the lease with it.
//!
//! ```text
//!   any thread --line--> [at most so many] --> ha-stderr --> standard error
//!                          full: counted, and told later
//! ```

use crate::sys::platform::process::stderr_is_the_journal;
use ha_core::text::printable;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// Lines that wait to be written; more are lost, and counted.
const LINES_MAX: usize = 4096;
/// After lines were lost, that is told when it has been quiet for so long, or with the next line.
const QUIET: Duration = Duration::from_millis(100);

/// Lines on their way. Cheap to clone.
#[derive(Clone)]
pub struct Lines {
    queue: SyncSender<Said>,
    lost: Arc<AtomicU64>,
}

enum Said {
    Line(Vec<u8>),
    /// Everything before it is written when this is dropped.
    End(SyncSender<()>),
}

/// From now on what happens is told on standard error, as much of it as `HA_LOG` says.
///
/// # Errors
/// The system gives no more threads.
pub fn tell_what_happens() -> io::Result<Lines> {
    let filter = EnvFilter::try_from_env("HA_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,openraft=error,sled=warn"));
    let lines = Lines::to(io::stderr())?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines.clone())
        .fmt_fields(Plain)
        .with_target(false);
    if stderr_is_the_journal() {
        log.event_format(ForJournal).init();
    } else {
        log.with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .init();
    }
    Ok(lines)
}

impl Lines {
    fn to(writer: impl Write + Send + 'static) -> io::Result<Lines> {
        let (queue, inbox) = sync_channel(LINES_MAX);
        let lost = Arc::<AtomicU64>::default();
        let counted = lost.clone();
        std::thread::Builder::new()
            .name("ha-stderr".to_owned())
            .spawn(move || write_all(&inbox, &counted, writer))?;
        Ok(Lines { queue, lost })
    }

    /// Waits until everything that was said is written, at most `within`.
    pub fn end(&self, within: Duration) {
        let (done, written) = sync_channel(0);
        if self.queue.try_send(Said::End(done)).is_ok() {
            // Nobody sends: it is over when the other end is dropped.
            written.recv_timeout(within).ok();
        }
    }
}

fn write_all(inbox: &Receiver<Said>, lost: &AtomicU64, mut to: impl Write) {
    loop {
        let said = match inbox.recv_timeout(QUIET) {
            Ok(said) => said,
            Err(RecvTimeoutError::Timeout) if lost.load(Ordering::Relaxed) == 0 => {
                match inbox.recv() {
                    Ok(said) => said,
                    Err(_) => return,
                }
            }
            Err(RecvTimeoutError::Timeout) => Said::Line(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            writeln!(
                to,
                "{missing} lines are missing here: nobody took them in time"
            )
            .ok();
        }
        match said {
            // Where it goes is gone: there is nobody to tell.
            Said::Line(line) => to.write_all(&line).unwrap_or(()),
            Said::End(done) => drop(done),
        }
    }
}

/// One line that is being made.
pub struct Line<'a> {
    bytes: Vec<u8>,
    lines: &'a Lines,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;
    fn make_writer(&'a self) -> Line<'a> {
        Line {
            bytes: Vec::new(),
            lines: self,
        }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let line = Said::Line(std::mem::take(&mut self.bytes));
        if self.lines.queue.try_send(line).is_err() {
            self.lines.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The message and its fields as they are usually written, with what a terminal or a reader of lines would obey
/// written out: they have texts of peers, operators and clients in them.
struct Plain;

impl<'w> FormatFields<'w> for Plain {
    fn format_fields<R: RecordFields>(&self, mut to: Writer<'w>, fields: R) -> std::fmt::Result {
        let mut text = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut text), fields)?;
        to.write_str(&printable(&text))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Condvar, Mutex};

    /// Takes nothing until it is opened.
    #[derive(Clone, Default)]
    struct Stalled(Arc<(Mutex<Taken>, Condvar)>);

    #[derive(Default)]
    struct Taken {
        open: bool,
        bytes: Vec<u8>,
    }

    impl Stalled {
        fn open(&self) {
            self.0.0.lock().unwrap().open = true;
            self.0.1.notify_all();
        }
        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().bytes.clone()).unwrap()
        }
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let held = self.0.0.lock().unwrap();
            let mut held = self.0.1.wait_while(held, |taken| !taken.open).unwrap();
            held.bytes.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What somebody chose who wants a line of his own in the log, or to clear the reader's screen.
    const CHOSEN: &str = "he\n<6>trust: user root was added\r\x1b[2J\u{9b}2J\u{202e}";

    #[test]
    fn what_others_chose_is_one_line_that_no_terminal_obeys() {
        let said = |for_journal: bool| {
            let reader = Stalled::default();
            reader.open();
            let lines = Lines::to(reader.clone()).unwrap();
            let log = tracing_subscriber::fmt()
                .with_writer(lines.clone())
                .fmt_fields(Plain);
            let say = || {
                let span = tracing::info_span!("a question", by = CHOSEN);
                let _inside = span.enter();
                tracing::warn!(reason = CHOSEN, shown = %CHOSEN, known = ?CHOSEN, "it says {CHOSEN}");
            };
            if for_journal {
                tracing::subscriber::with_default(log.event_format(ForJournal).finish(), say);
            } else {
                tracing::subscriber::with_default(log.with_ansi(false).finish(), say);
            }
            lines.end(Duration::from_secs(10));
            reader.text()
        };
        for for_journal in [true, false] {
            let text = said(for_journal);
            let line = text.strip_suffix('\n').expect("a line");
            assert_eq!(line.find(ha_core::text::is_control), None, "{line:?}");
            assert!(line.matches("user root was added").count() >= 5, "{line}");
            assert!(line.contains("1b") && line.contains("[2J"), "{line}");
        }
    }

    #[test]
    fn nobody_waits_for_who_reads_nothing_and_what_is_lost_is_told() {
        let reader = Stalled::default();
        let lines = Lines::to(reader.clone()).unwrap();
        let all = LINES_MAX + 500;
        for n in 0..all {
            writeln!(lines.make_writer(), "line {n}").unwrap();
        }
        let lost = lines.lost.load(Ordering::Relaxed);
        assert!((499..=500).contains(&lost), "{lost}: one may be on its way");
        reader.open();
        // The queue is full until the first lines are taken.
        while !reader.text().contains("are missing here") {
            lines.end(Duration::from_secs(10));
        }
        lines.end(Duration::from_secs(10));
        let text = reader.text();
        assert!(text.contains("line 0\n") && text.contains(&format!("line {}\n", LINES_MAX - 1)));
        assert!(
            text.contains(&format!("{lost} lines are missing here")),
            "{text}"
        );
    }

    #[test]
    fn the_end_waits_for_what_was_said_and_not_for_ever() {
        let reader = Stalled::default();
        let lines = Lines::to(reader.clone()).unwrap();
        writeln!(lines.make_writer(), "the last words").unwrap();
        lines.end(Duration::from_millis(10));
        assert_eq!(reader.text(), "");
        reader.open();
        lines.end(Duration::from_secs(10));
        assert_eq!(reader.text(), "the last words\n");
    }
}
