//! Ctrl-C, and the other signals that ask a process to end.

#[cfg(not(unix))]
pub use elsewhere::Stop;
#[cfg(unix)]
pub use unix::Stop;

#[cfg(unix)]
mod unix {
    use std::io;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// Completes when an operator or the system asks this process to end.
    #[derive(Debug)]
    pub struct Stop {
        signals: [Signal; 3],
    }

    impl Stop {
        /// Listens from now on; the signals no longer end the process by themselves.
        ///
        /// # Errors
        /// When the system refuses to install a handler.
        pub fn listen() -> io::Result<Self> {
            let kinds = [
                SignalKind::interrupt(),
                SignalKind::terminate(),
                SignalKind::hangup(),
            ];
            let [interrupt, terminate, hangup] = kinds.map(signal);
            Ok(Stop {
                signals: [interrupt?, terminate?, hangup?],
            })
        }

        /// Waits for the first of them.
        pub async fn asked(&mut self) {
            let [interrupt, terminate, hangup] = &mut self.signals;
            tokio::select! {
                biased;
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        }
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use std::io;

    /// Completes when an operator asks this process to end.
    #[derive(Debug)]
    pub struct Stop;

    impl Stop {
        /// # Errors
        /// Never here: the handler is installed by the first wait.
        pub fn listen() -> io::Result<Self> {
            Ok(Stop)
        }

        /// Waits for Ctrl-C; for ever where no handler can be installed.
        pub async fn asked(&mut self) {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
