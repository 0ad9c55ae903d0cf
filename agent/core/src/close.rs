//! Why sessions end, in HAProxy's words where they fit. Plain data.

/// Why a session ended. Everything but [`CloseReason::Finished`] ends with a reset on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CloseReason {
    /// Both sides said all they had to say.
    Finished = 1,
    /// The client broke off.
    ClientAbort,
    /// The server broke off.
    ServerAbort,
    /// Nothing came from or went to the client for its timeout.
    ClientTimeout,
    /// Nothing came from or went to the server for its timeout.
    ServerTimeout,
    /// The client broke off before it had a server.
    ClientGone,
    /// No server could be connected to.
    ConnectFailed,
    /// The wait for a free slot was too long.
    QueueTimeout,
    /// The queue of every server that would do was full.
    QueueFull,
    /// No server is usable.
    NoServer,
    /// The frontend disappeared while the client had no server yet.
    NoFrontend,
    /// The server went down and its backend says `on_down = "purge"`.
    ServerDown,
    /// The server was put into maintenance.
    Maintenance,
    /// The drain of the server is over, empty or past its deadline.
    Drained,
    /// The lease ended: this node may not answer for the address any more.
    LeaseEnded,
    Shutdown,
    /// This machine had no file descriptor, port or memory left.
    Resources,
    /// A defect in the agent itself; the log says more.
    Internal,
}

const ALL: [CloseReason; 18] = {
    use CloseReason::*;
    [
        Finished,
        ClientAbort,
        ServerAbort,
        ClientTimeout,
        ServerTimeout,
        ClientGone,
        ConnectFailed,
        QueueTimeout,
        QueueFull,
        NoServer,
        NoFrontend,
        ServerDown,
        Maintenance,
        Drained,
        LeaseEnded,
        Shutdown,
        Resources,
        Internal,
    ]
};

impl CloseReason {
    /// HAProxy's two termination characters: who, and in which phase. `N` for the lease is ours.
    pub const fn code(self) -> &'static str {
        match self {
            CloseReason::Finished => "--",
            CloseReason::ClientAbort => "CD",
            CloseReason::ServerAbort => "SD",
            CloseReason::ClientTimeout => "cD",
            CloseReason::ServerTimeout => "sD",
            CloseReason::ClientGone => "CC",
            CloseReason::ConnectFailed | CloseReason::NoServer => "SC",
            CloseReason::QueueTimeout | CloseReason::QueueFull => "sQ",
            CloseReason::NoFrontend => "PC",
            CloseReason::ServerDown => "DD",
            CloseReason::Maintenance | CloseReason::Drained | CloseReason::Shutdown => "KD",
            CloseReason::LeaseEnded => "ND",
            CloseReason::Resources => "RC",
            CloseReason::Internal => "IC",
        }
    }

    /// The reason with that number; numbers start at 1.
    pub fn from_number(n: u8) -> Option<CloseReason> {
        ALL.get(usize::from(n).checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_survives_its_number() {
        for reason in ALL {
            assert_eq!(CloseReason::from_number(reason as u8), Some(reason));
        }
        assert_eq!(
            (CloseReason::from_number(0), CloseReason::from_number(200)),
            (None, None)
        );
    }
}
