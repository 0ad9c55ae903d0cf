//! Reaching an agent: the addresses in turn, a bound on every call, and what gRPC's codes mean here.
//!
//! Any agent will do, a follower forwards. The one that answered last is asked first, so that a
//! loop (`--wait`, `--watch`) stays with it until it is gone. `channel` makes the connections; the
//! calls are methods of [`Cluster`], by topic: `operate`, `config`, `members`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ha_proto::control::control_client::ControlClient;
use ha_proto::{AGAIN, CONFIRM, CUT_OFF, HINT};
use ha_trust::tls::ClientConfig;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::clock;
use crate::exit::{Exit, Failure};
use crate::output::note;

mod channel;
mod config;
mod members;
mod operate;

pub use config::Applied;

/// The generated client, over the channels that are made here.
type Client = ControlClient<Channel>;

/// Whether a call may be made again at the next address when its outcome is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    /// It only asks, or doing it twice is the same as once.
    Yes,
    /// Doing it twice would do more than once.
    No,
}

/// The agents that can be asked.
#[derive(Clone, Debug)]
pub struct Cluster {
    addresses: Vec<String>,
    credentials: Option<Arc<ClientConfig>>,
    timeout: Duration,
    connected: Option<Channel>,
    /// The authority that the last agent showed, in DER.
    shown: Arc<Mutex<Option<Vec<u8>>>>,
}

/// A change may take so many times as long as a question.
const CHANGE_TIMES: u32 = 3;
/// Between two questions to agents that know no leader at the moment.
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Whoever waits longer is told for whom.
const NOTED_AFTER: Duration = Duration::from_secs(1);

/// What an address of a socket on this machine begins with.
pub const LOCAL: &str = "unix:";

impl Cluster {
    /// Agents at these addresses (`unix:PATH`, or with credentials `HOST:PORT`), each given `timeout` to answer.
    pub fn new(
        addresses: Vec<String>,
        credentials: Option<Arc<ClientConfig>>,
        timeout: Duration,
    ) -> Self {
        Cluster {
            addresses,
            credentials,
            timeout,
            connected: None,
            shown: Arc::default(),
        }
    }

    /// The authority that the last agent showed, in DER.
    pub fn shown_authority(&self) -> Option<Vec<u8>> {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Gives slow calls more time than asked for on the command line.
    pub fn at_least(&mut self, timeout: Duration) {
        self.timeout = self.timeout.max(timeout);
    }

    /// Makes one call at the first address that answers. An agent that has done nothing because there is no leader
    /// at the moment is asked again, as long as one agent may take to answer.
    async fn ask<Q: Clone, A>(
        &mut self,
        retry: Retry,
        question: Q,
        call: impl AsyncFn(Client, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Failure> {
        let until = clock::now() + self.timeout;
        loop {
            let failure = match self.ask_each(retry, &question, &call).await {
                Ok(answer) => return Ok(answer),
                Err(Unanswered::ForNow(failure)) => failure,
                Err(Unanswered::Ended(failure)) => return Err(failure),
            };
            if clock::now() + ASKED_AGAIN_AFTER > until {
                return Err(failure);
            }
            tokio::time::sleep(ASKED_AGAIN_AFTER).await;
        }
    }

    /// The same, each address once.
    async fn ask_each<Q: Clone, A>(
        &mut self,
        retry: Retry,
        question: &Q,
        call: &impl AsyncFn(Client, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Unanswered> {
        let mut tried = Vec::new();
        let mut refused = None;
        let mut for_now = None;
        for _ in 0..self.addresses.len() {
            let channel = match self.channel().await {
                Ok(channel) => channel,
                Err(why) => {
                    tried.push(format!("{}: {why}", self.addresses[0]));
                    self.next();
                    continue;
                }
            };
            // A change is given time to reach the disks of a majority, and to be told about those.
            let limit = self.timeout * if retry == Retry::No { CHANGE_TIMES } else { 1 };
            let mut request = Request::new(question.clone());
            request.set_timeout(limit);
            let answer = call(Client::new(channel), request);
            let status = match answered_within(limit, &self.addresses[0], answer).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            if let Some(hint @ (AGAIN | CUT_OFF)) = hint_of(&status) {
                let failure = Failure::new(Exit::NoMajority, status.message()).remedy(
                    "nothing was changed; `ha-cli status` shows what this agent knows, another one with --address",
                );
                for_now = Some((hint == AGAIN, failure));
                self.next();
                continue;
            }
            // tonic turns our own limit into `Cancelled`.
            let lost = matches!(
                status.code(),
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled
            );
            if status.code() == Code::Unauthenticated {
                // It was not asked anything. Who was let in a moment ago is known to the leader, and soon to the others.
                refused = Some(refusal(&status));
                self.next();
                continue;
            }
            if !lost {
                return Err(Unanswered::Ended(refusal(&status)));
            }
            if retry == Retry::No {
                return Err(Unanswered::Ended(Failure::new(Exit::Unreachable, format!("{} did not finish: {}", self.addresses[0], status.message()))
                    .remedy("it may have been done all the same: look with `ha-cli status` before you repeat it")));
            }
            tried.push(format!("{}: {}", self.addresses[0], status.message()));
            self.next();
        }
        match (refused, for_now) {
            (Some(refused), _) => Err(Unanswered::Ended(refused)),
            (None, Some((true, failure))) => Err(Unanswered::ForNow(failure)),
            (None, Some((false, failure))) => Err(Unanswered::Ended(failure)),
            (None, None) => Err(Unanswered::Ended(
                Failure::new(
                    Exit::Unreachable,
                    format!("no agent answered ({})", tried.join("; ")),
                )
                .remedy("is ha-agent running there? Name others with --address or HA_ADDRESS"),
            )),
        }
    }

    /// Turns to the next address.
    fn next(&mut self) {
        self.connected = None;
        self.addresses.rotate_left(1);
    }
}

/// Why there is no answer.
enum Unanswered {
    /// Nothing was done, and there may be one in a moment.
    ForNow(Failure),
    Ended(Failure),
}

/// What an agent that refuses says can be done about it.
fn hint_of(status: &Status) -> Option<&str> {
    status.metadata().get(HINT)?.to_str().ok()
}

/// The answer, bounded in time. Says on standard error who is waited for when that takes longer than a moment.
async fn answered_within<A>(
    limit: Duration,
    address: &str,
    answer: impl Future<Output = Result<Response<A>, Status>>,
) -> Result<A, Status> {
    let noted = async {
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            () = tokio::time::sleep(NOTED_AFTER) => note(&format!("waiting for {address} to answer")),
        }
        answer.await
    };
    match tokio::time::timeout(limit, noted).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!(
            "no answer within {limit:?}"
        ))),
    }
}

/// What a status of the cluster means for the operator.
pub fn refusal(status: &Status) -> Failure {
    let message = status.message();
    match status.code() {
        Code::NotFound => Failure::new(Exit::NotFound, message).remedy("`ha-cli status` lists the names"),
        _ if hint_of(status) == Some(CONFIRM) => Failure {
            confirm: true,
            ..Failure::new(Exit::Refused, message).remedy("use --yes if that is meant")
        },
        Code::FailedPrecondition | Code::AlreadyExists => Failure::new(Exit::Refused, message),
        Code::Aborted => Failure::new(Exit::Refused, message).remedy("look again, then repeat it"),
        Code::PermissionDenied | Code::Unauthenticated | Code::ResourceExhausted => Failure::new(Exit::Refused, message),
        Code::InvalidArgument => Failure::new(Exit::Usage, message),
        Code::Unimplemented => Failure::new(Exit::Unexpected, "the agent does not know this command")
            .remedy("ha-cli and ha-agent should be of the same version: see `ha-cli --version` and `ha-cli status`"),
        code => Failure::new(Exit::Unexpected, format!("{message} ({code:?})")).remedy("the agent's log and `ha-cli events` may say more"),
    }
}

/// Who is asking, for the event log: `user@machine`.
pub fn asked_by() -> String {
    let user = ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_default();
    let user = user.unwrap_or_else(nameless);
    match machine.trim() {
        "" => user,
        machine => format!("{user}@{machine}"),
    }
}

/// Started without a login environment, as services are: the number of the user.
fn nameless() -> String {
    #[cfg(unix)]
    // SAFETY: it takes nothing, cannot fail and touches no memory.
    return format!("uid {}", unsafe { libc::geteuid() });
    #[cfg(not(unix))]
    "somebody".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_of_the_cluster_has_its_exit() {
        for (status, exit) in [
            (
                Status::failed_precondition("the last usable server"),
                Exit::Refused,
            ),
            (Status::already_exists("name taken"), Exit::Refused),
            (Status::not_found("no such server"), Exit::NotFound),
            (Status::invalid_argument("bad target"), Exit::Usage),
            (Status::internal("oops"), Exit::Unexpected),
        ] {
            let failure = refusal(&status);
            assert_eq!(failure.exit, exit);
            assert!(failure.message.contains(status.message()));
        }
    }
}
