//! Reaching an agent: the addresses in turn, a bound on every call, and what gRPC's codes mean here.
//!
//! Any agent will do, a follower forwards. The one that answered last is asked first, so that a
//! loop (`--wait`, `--watch`) stays with it until it is gone. `channel` makes the connections; the
//! calls are methods of [`Cluster`], by topic: `operate`, `config`, `members`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ha_core::request::{Asking, Next, RequestId, Silence};
use ha_core::time;
use ha_proto::control::Asked;
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
    /// It is a request with an id: doing it twice does it once.
    Same,
    /// Doing it twice would do more than once.
    No,
}

/// A change that carries the id of its request.
trait Change: Clone {
    fn asked(&mut self) -> &mut Option<Asked>;
}

macro_rules! changes {
    ($($request:ident),*) => { $(impl Change for ha_proto::control::$request {
        fn asked(&mut self) -> &mut Option<Asked> {
            &mut self.asked
        }
    })* };
}
changes!(
    SetStateRequest,
    ApplyRequest,
    RollbackRequest,
    CreateTokenRequest,
    RevokeTokenRequest,
    AddUserRequest,
    RemoveUserRequest,
    RotateAuthorityRequest,
    RetireAuthorityRequest
);

/// The id of a new request.
pub fn new_request() -> Result<Asked, Failure> {
    let bytes =
        ha_trust::random::<16>().map_err(|e| Failure::new(Exit::Unexpected, e.to_string()))?;
    Ok(Asked {
        id: RequestId(bytes).to_string(),
        age_ms: 0,
    })
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
            let question = || question.clone();
            let failure = match self.ask_each(retry, &question, &call).await {
                Ok(answer) => return Ok(answer),
                Err(Unanswered::ForNow(failure) | Unanswered::InDoubt(failure)) => failure,
                Err(Unanswered::Ended(failure)) => return Err(failure),
            };
            if clock::now() + ASKED_AGAIN_AFTER > until {
                return Err(failure);
            }
            tokio::time::sleep(ASKED_AGAIN_AFTER).await;
        }
    }

    /// Asks for a change, with one id at all attempts: as long as nobody says what came of it, it is asked for again.
    async fn change<Q: Change, A>(
        &mut self,
        mut question: Q,
        call: impl AsyncFn(Client, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Failure> {
        let asked = match question.asked().take() {
            Some(asked) => asked,
            None => new_request()?,
        };
        let id = asked
            .id
            .parse()
            .map_err(|e: String| Failure::new(Exit::Unexpected, e))?;
        let began = clock::now();
        let now = || time::Instant::from(began.elapsed());
        let mut asking = Asking::new(id, now(), self.timeout * CHANGE_TIMES);
        loop {
            let attempt = || {
                let mut question = question.clone();
                let age = u64::try_from(asking.age(now()).as_millis()).unwrap_or(u64::MAX);
                *question.asked() = Some(Asked {
                    id: id.to_string(),
                    age_ms: asked.age_ms.saturating_add(age),
                });
                question
            };
            let (failure, silence) = match self.ask_each(Retry::Same, &attempt, &call).await {
                Ok(answer) => return Ok(answer),
                Err(Unanswered::ForNow(failure)) => (failure, Silence::NothingDone),
                Err(Unanswered::InDoubt(failure)) => (failure, Silence::Unknown),
                Err(Unanswered::Ended(failure)) => return Err(failure),
            };
            match asking.on_silence(now(), silence) {
                Next::Again => tokio::time::sleep(ASKED_AGAIN_AFTER).await,
                Next::NotDone => return Err(failure),
                Next::InDoubt => return Err(in_doubt(failure.message)),
            }
        }
    }

    /// The same, each address once.
    async fn ask_each<Q, A>(
        &mut self,
        retry: Retry,
        question: &impl Fn() -> Q,
        call: &impl AsyncFn(Client, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Unanswered> {
        let mut tried = Vec::new();
        let mut refused = None;
        let mut for_now = None;
        let mut doubt = false;
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
            let limit = self.timeout * if retry == Retry::Yes { 1 } else { CHANGE_TIMES };
            let mut request = Request::new(question());
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
            // tonic turns our own limit into `Cancelled`. A connection that broke has what broke it as its source, which
            // no agent's own words have.
            let lost = matches!(
                status.code(),
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled
            ) || std::error::Error::source(&status).is_some();
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
                let words = format!("{} did not finish: {}", self.addresses[0], status.message());
                return Err(Unanswered::Ended(in_doubt(words)));
            }
            doubt |= retry == Retry::Same;
            tried.push(format!("{}: {}", self.addresses[0], status.message()));
            self.next();
        }
        if doubt {
            let words = format!("no agent has finished ({})", tried.join("; "));
            return Err(Unanswered::InDoubt(in_doubt(words)));
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
    /// It may have been done: another attempt brings the answer.
    InDoubt(Failure),
    Ended(Failure),
}

/// Nobody says what came of a change.
fn in_doubt(words: String) -> Failure {
    Failure::new(Exit::Unreachable, words).remedy(
        "it may have been done all the same: look with `ha-cli status` before you repeat it",
    )
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
