//! Stands before every service: finds out who asks, and whether it may.

use crate::entrance::{Asking, ConnectionInfo, Presented};
use crate::error::RequestError;
use crate::permissions::{
    self, Caller, GuardContext, Permission, Principal, may, permission_for, who,
};
use futures_util::future::{Either, Ready, ready};
use ha_core::id::NodeId;
use ha_core::trust::Trust;
use ha_node::outside::Boxed;
use http_body_util::{BodyExt as _, Limited};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;

/// Marks a question that a follower passes on, so that it is not passed on again.
pub const FORWARDED: &str = "ha-forwarded";
/// The access of whoever asked the follower.
pub const ON_BEHALF: &str = "ha-access";
/// Name and key of the operator who asked the follower; nothing for who sits at its machine.
pub const NAMED: &str = "ha-user";

/// Largest question of somebody who has shown no certificate, in bytes.
pub const STRANGERS_BODY_MAX: usize = 16 << 10;

/// Puts a guard before services.
#[derive(Clone)]
pub struct Guard(pub Arc<dyn GuardContext>);

/// Who asks, as the guard found out.
///
/// # Errors
/// A service that was put before its guard.
pub fn principal<T>(request: &tonic::Request<T>) -> Result<Principal, Status> {
    request
        .extensions()
        .get::<Principal>()
        .cloned()
        .ok_or_else(|| Status::internal("this question came past the guard"))
}

impl<S> tower::Layer<S> for Guard {
    type Service = Guarded<S>;
    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            guard: self.clone(),
            inner,
        }
    }
}

impl Guard {
    fn admit(&self, request: &http::Request<Body>) -> Result<Principal, RequestError> {
        let needed = permission_for(request.uri().path())
            .ok_or_else(|| RequestError::unimplemented("this agent does not know that question"))?;
        let visitor = request
            .extensions()
            .get::<ConnectionInfo>()
            .ok_or_else(|| RequestError::internal("nobody knows where this question comes from"))?;
        let (live, applied) = (self.0.live(), self.0.applied());
        let mut caller =
            who(&visitor.shows, &live, &applied, self.0.wall()).or_else(|refused| {
                // Who joins shows no certificate, or the one of an earlier life: neither matters.
                if needed == Permission::Nothing {
                    Ok(Caller::Stranger)
                } else {
                    Err(refused)
                }
            })?;
        if let Caller::Member(id) = caller
            && let Some(somebody) = behind(id, request.headers(), &applied.facts.trust)?
        {
            caller = somebody;
        }
        may(&caller, needed)?;
        let named = match (&caller, &visitor.shows) {
            (Caller::User(name, _), Presented::Certificate(identity)) => {
                Some((name.clone(), identity.key))
            }
            _ => None,
        };
        Ok(Principal {
            caller,
            from: visitor.from,
            shows: visitor.shows.clone(),
            named,
        })
    }
}

type Answer = Result<http::Response<Body>, Infallible>;

/// A service behind the guard.
#[derive(Clone)]
pub struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S> tower::Service<http::Request<Body>> for Guarded<S>
where
    S: tower::Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Answer>, Either<S::Future, Boxed<Answer>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        match self.guard.admit(&request) {
            Ok(principal) => {
                let stranger = principal.caller == Caller::Stranger;
                // Members' connections are always in use: theirs are closed by age alone.
                let asking = match principal.caller {
                    Caller::Member(_) | Caller::Behind(..) => None,
                    _ => asking(&request),
                };
                request.extensions_mut().insert(principal);
                // Who has shown nothing has little to say.
                let request = if stranger {
                    request.map(|body| Body::new(Limited::new(body, STRANGERS_BODY_MAX)))
                } else {
                    request
                };
                let answering = self.inner.call(request);
                Either::Right(match asking {
                    None => Either::Left(answering),
                    Some(asking) => Either::Right(Box::pin(until_answered(answering, asking))),
                })
            }
            Err(refused) => Either::Left(ready(Ok(Status::from(refused).into_http()))),
        }
    }
}

fn asking(request: &http::Request<Body>) -> Option<Asking> {
    let visitor = request.extensions().get::<ConnectionInfo>()?;
    Some(visitor.visit.as_ref()?.asks())
}

/// The question is under way until the last byte of its answer.
async fn until_answered(answering: impl Future<Output = Answer>, asking: Asking) -> Answer {
    let answer = answering.await?;
    Ok(answer.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _under_way = &asking;
            frame
        }))
    }))
}

/// Whoever is behind a member, as its headers say.
fn behind(
    member: NodeId,
    headers: &http::HeaderMap,
    trust: &Trust,
) -> Result<Option<Caller>, RequestError> {
    let text = |name: &str| {
        let value = headers.get(name).map(http::HeaderValue::to_str);
        value.transpose().map_err(|_| {
            RequestError::invalid_argument(format!("{name}: not made of visible letters"))
        })
    };
    permissions::behind(member, text(ON_BEHALF)?, text(NAMED)?, trust)
}
