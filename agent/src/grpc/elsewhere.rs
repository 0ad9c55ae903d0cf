//! On connections of members, what operators ask through them is answered on other threads than those that keep the
//! lease: how long it takes, and how large the answer is, is decided by who asks.
//!
//! ```text
//!   member's connection (ha-lease) --Consensus--> here
//!                                 \--all else--> [at most so many] --> ha-control: service, encoding of the answer
//! ```

use futures_util::FutureExt as _;
use futures_util::future::{Either, Ready, ready};
use ha_node::outside::Boxed;
use ha_proto::consensus::consensus_server::SERVICE_NAME;
use http_body_util::{BodyExt as _, StreamBody};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::body::Body;
use tower::ServiceExt as _;

/// Questions that are under way by the connections of members, of all together; more are refused.
pub const UNDER_WAY_MAX: usize = 256;
/// Pieces of an answer that wait for the connection.
const PIECES_MAX: usize = 4;

/// Answers on other threads, a bounded number of questions at a time.
#[derive(Clone)]
pub struct Elsewhere {
    to: Handle,
    free: Arc<Semaphore>,
}

impl Elsewhere {
    /// Passes calls to the threads of that runtime.
    pub fn on(to: Handle) -> Self {
        Elsewhere {
            to,
            free: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
        }
    }
}

impl<S> tower::Layer<S> for Elsewhere {
    type Service = AnsweredElsewhere<S>;
    fn layer(&self, inner: S) -> AnsweredElsewhere<S> {
        AnsweredElsewhere {
            elsewhere: self.clone(),
            inner,
        }
    }
}

/// A service whose answers are made elsewhere.
#[derive(Clone)]
pub struct AnsweredElsewhere<S> {
    elsewhere: Elsewhere,
    inner: S,
}

type Answer = Result<http::Response<Body>, Infallible>;

impl<S> tower::Service<http::Request<Body>> for AnsweredElsewhere<S>
where
    S: tower::Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Either<Ready<Answer>, Boxed<Answer>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if is_of_peers(request.uri().path()) {
            return Either::Left(self.inner.call(request));
        }
        let Ok(permit) = self.elsewhere.free.clone().try_acquire_owned() else {
            let refused = Status::resource_exhausted(format!(
                "{UNDER_WAY_MAX} questions that members pass on are under way: try again"
            ));
            return Either::Right(Either::Left(ready(Ok(refused.into_http()))));
        };
        let (inner, to) = (self.inner.clone(), self.elsewhere.to.clone());
        let answering = Abandoned(self.elsewhere.to.spawn(async move {
            let answer = inner.oneshot(request).await;
            answer.map(|answer| encoded_on(&to, answer, permit))
        }));
        Either::Right(Either::Right(Box::pin(answering.map(|answered| {
            answered.unwrap_or_else(|_| Ok(Status::internal("the answer failed").into_http()))
        }))))
    }
}

fn is_of_peers(path: &str) -> bool {
    let service = path.strip_prefix('/').and_then(|p| p.split_once('/'));
    service.is_some_and(|(service, _)| service == SERVICE_NAME)
}

/// The same answer, whose body is made on threads of `on`. `permit` is given back at its end.
fn encoded_on(
    on: &Handle,
    answer: http::Response<Body>,
    permit: OwnedSemaphorePermit,
) -> http::Response<Body> {
    let (parts, mut body) = answer.into_parts();
    let (send, pieces) = mpsc::channel(PIECES_MAX);
    on.spawn(async move {
        let _under_way = permit;
        while let Some(piece) = body.frame().await {
            // Who asked has hung up.
            if send.send(piece).await.is_err() {
                return;
            }
        }
    });
    let body = Body::new(StreamBody::new(ReceiverStream::new(pieces)));
    http::Response::from_parts(parts, body)
}

/// A task that ends when nobody waits for it any more.
struct Abandoned<T>(JoinHandle<T>);

impl<T> Future for Abandoned<T> {
    type Output = Result<T, tokio::task::JoinError>;
    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(cx)
    }
}

impl<T> Drop for Abandoned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use tower::Layer as _;

    /// Asks a service that answers with the name of the thread that answers.
    async fn ask(threads: &Handle, path: &str) -> String {
        let named = tower::service_fn(|_| async {
            let name = thread::current().name().unwrap_or_default().to_owned();
            let body = http_body_util::Full::new(name.into()).map_err(|e: Infallible| match e {});
            Ok::<_, Infallible>(http::Response::new(Body::new(body)))
        });
        let request = http::Request::builder().uri(path).body(Body::empty());
        let service = Elsewhere::on(threads.clone()).layer(named);
        let answer = service.oneshot(request.unwrap()).await.unwrap();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn what_operators_ask_is_answered_elsewhere_and_what_peers_ask_here() {
        let threads = |name| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name(name)
                .build()
                .unwrap()
        };
        let (here, there) = (threads("here"), threads("there"));
        let handle = there.handle().clone();
        here.block_on(here.spawn(async move {
            assert_eq!(
                ask(&handle, "/ha.consensus.v1.Consensus/Lease").await,
                "here"
            );
            for path in ["/ha.control.v1.Control/Diff", "/elsewhere/Lease", "/", "*"] {
                assert_eq!(ask(&handle, path).await, "there", "{path}");
            }
        }))
        .unwrap();
    }

    #[tokio::test]
    async fn more_than_the_bound_is_refused_and_room_comes_back_with_the_answers() {
        let elsewhere = Elsewhere::on(Handle::current());
        let silent = elsewhere.layer(tower::service_fn(|_| {
            std::future::pending::<Result<http::Response<Body>, Infallible>>()
        }));
        let request = || http::Request::new(Body::empty());
        let mut waiting: Vec<_> = (0..UNDER_WAY_MAX)
            .map(|_| Box::pin(silent.clone().oneshot(request())))
            .collect();
        for answer in &mut waiting {
            assert!(answer.as_mut().now_or_never().is_none(), "nobody answers");
        }
        let refused = silent.clone().oneshot(request()).await.unwrap();
        assert_eq!(
            Status::from_header_map(refused.headers()).unwrap().code(),
            tonic::Code::ResourceExhausted
        );
        drop(waiting);
        while elsewhere.free.available_permits() < UNDER_WAY_MAX {
            tokio::task::yield_now().await;
        }
    }
}
