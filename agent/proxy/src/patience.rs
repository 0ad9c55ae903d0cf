//! Whether the two sides of a session are still there. Keepalive asks who is idle; here it is seen that one who owes an
//! answer gives none.

use super::table::Side;
use crate::platform::sockets as sys;
use ha_core::dispatch::Forward;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// How long each side may owe an answer, and when that is looked at next.
pub(super) struct Patience {
    client: Duration,
    server: Duration,
    /// `None`: it has no end.
    look: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Twice the keepalive of each side: as long as the kernel takes to find that an idle one is gone.
    pub(super) fn of(forward: &Forward) -> Patience {
        let mut patience = Patience {
            client: forward.client_keepalive * 2,
            server: forward.server_keepalive * 2,
            look: None,
        };
        patience.look = patience.every().map(|every| Box::pin(sleep(every)));
        patience
    }

    fn every(&self) -> Option<Duration> {
        let bounds = [self.client, self.server].into_iter();
        bounds.filter(|b| !b.is_zero()).min().map(|b| b / 4)
    }

    /// Ready with a side that has owed an answer for too long.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &TcpStream,
        server: &TcpStream,
    ) -> Poll<Side> {
        let Some(every) = self.every() else {
            return Poll::Pending;
        };
        while let Some(look) = &mut self.look {
            if look.as_mut().poll(cx).is_pending() {
                break;
            }
            let sides = [
                (Side::Client, client, self.client),
                (Side::Server, server, self.server),
            ];
            for (side, socket, bound) in sides {
                if !bound.is_zero() && sys::is_silent(socket, bound) {
                    return Poll::Ready(side);
                }
            }
            look.as_mut().reset(Instant::now() + every);
        }
        Poll::Pending
    }
}
