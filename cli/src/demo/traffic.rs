//! The client of the demo: asks through the virtual address again and again, each time with a new
//! connection from the same source address, and keeps book of who answered and when.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

use crate::clock;

/// The client asks again so long after an answer.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a question may take, connecting included.
const TIMEOUT: Duration = Duration::from_millis(250);

/// What the client saw. Pure: it is told the time.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub answers: u64,
    /// Questions without an answer.
    pub failures: u64,
    /// The one that answered last; empty before the first answer.
    pub server: String,
    /// Each time that another server answered than before: from, to.
    pub moves: Vec<(String, String)>,
    /// Answers since the last mark.
    pub answers_since_mark: u64,
    last_answer: Option<Instant>,
    longest_gap: Duration,
}

impl Seen {
    pub fn answered(&mut self, now: Instant, server: &str) {
        self.longest_gap = self.gap(now);
        self.last_answer = Some(now);
        self.answers += 1;
        self.answers_since_mark += 1;
        if self.server != server {
            if !self.server.is_empty() {
                self.moves.push((self.server.clone(), server.to_string()));
            }
            self.server = server.to_string();
        }
    }

    pub fn failed(&mut self) {
        self.failures += 1;
    }

    /// Starts measuring anew; a gap that is open now counts from its beginning.
    pub fn mark(&mut self) {
        self.longest_gap = Duration::ZERO;
        self.answers_since_mark = 0;
    }

    /// The longest time between two answers since the mark, the one that is running included.
    pub fn gap(&self, now: Instant) -> Duration {
        self.longest_gap
            .max(self.since_last(now).unwrap_or_default())
    }

    /// How long ago the last answer came.
    pub fn since_last(&self, now: Instant) -> Option<Duration> {
        self.last_answer
            .map(|last| now.saturating_duration_since(last))
    }
}

/// A client that asks until this is dropped.
#[derive(Debug)]
pub struct Traffic {
    shared: Arc<(AtomicBool, Mutex<Seen>)>,
    thread: Option<JoinHandle<()>>,
}

impl Traffic {
    /// Starts asking; an answer counts when it is one of `names`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(from: IpAddr, to: SocketAddr, names: &'static [&'static str]) -> io::Result<Self> {
        let shared: Arc<(AtomicBool, Mutex<Seen>)> = Arc::default();
        let theirs = shared.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("client".into())
            .spawn(move || {
                let (stop, seen) = &*theirs;
                runtime.block_on(async {
                    while !stop.load(Ordering::Relaxed) {
                        let answer = tokio::time::timeout(TIMEOUT, ask(from, to)).await;
                        let name = answer.ok().and_then(Result::ok).unwrap_or_default();
                        {
                            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                            match names.iter().find(|known| **known == name.trim_end()) {
                                Some(name) => seen.answered(clock::now(), name),
                                None => seen.failed(),
                            }
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                });
            })?;
        Ok(Traffic {
            shared,
            thread: Some(thread),
        })
    }

    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Counts answers and gaps anew, see [`Seen::mark`].
    pub fn mark(&self) {
        self.lock().mark();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        // The numbers are whole after each statement, so a panic elsewhere does not spoil them.
        self.shared.1.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.shared.0.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One question: connect, read until the server closes.
async fn ask(from: IpAddr, to: SocketAddr) -> io::Result<String> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(from, 0))?;
    let mut stream = socket.connect(to).await?;
    let mut text = String::new();
    (&mut stream).take(64).read_to_string(&mut text).await?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_counts_from_the_answer_before_the_mark() {
        let start = clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut seen = Seen::default();
        seen.answered(at(0), "alpha");
        seen.answered(at(900), "alpha");
        seen.mark();
        assert_eq!(
            seen.gap(at(910)),
            Duration::from_millis(10),
            "what was before the mark is forgotten"
        );
        seen.failed();
        seen.answered(at(1_300), "alpha");
        seen.answered(at(1_310), "alpha");
        assert_eq!(seen.gap(at(1_311)), Duration::from_millis(400));
        assert_eq!(
            (seen.answers, seen.answers_since_mark, seen.failures),
            (4, 2, 1)
        );
    }

    #[test]
    fn a_change_of_server_is_noticed_and_the_first_server_is_none() {
        let now = clock::now();
        let mut seen = Seen::default();
        seen.answered(now, "alpha");
        assert!(seen.moves.is_empty());
        seen.answered(now, "beta");
        assert_eq!(seen.moves, [("alpha".to_string(), "beta".to_string())]);
    }
}
