//! A cable that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::calls::loopback;

/// Carries connections to a server. Those that were made before the newest cut swallow everything.
pub struct Cable {
    pub address: SocketAddr,
    cuts: Arc<AtomicU64>,
    pub made: Arc<AtomicUsize>,
}

impl Cable {
    pub async fn to(server: SocketAddr) -> Cable {
        let listener = TcpListener::bind(loopback()).await.expect("a port");
        let cable = Cable {
            address: listener.local_addr().expect("its address"),
            cuts: Arc::default(),
            made: Arc::default(),
        };
        let (cuts, made) = (cable.cuts.clone(), cable.made.clone());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(server)
                    .await
                    .expect("the server is there");
                made.fetch_add(1, Ordering::Relaxed);
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                tokio::spawn(carry(near_in, far_out, cuts.clone()));
                tokio::spawn(carry(far_in, near_out, cuts.clone()));
            }
        });
        cable
    }

    /// From now on nothing passes on connections that are open.
    pub fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::Relaxed);
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    cuts: Arc<AtomicU64>,
) {
    let (made_at, mut buffer) = (cuts.load(Ordering::Relaxed), [0; 4096]);
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if cuts.load(Ordering::Relaxed) == made_at && to.write_all(&buffer[..length]).await.is_err()
        {
            return;
        }
    }
    // A black hole closes nothing either.
    if cuts.load(Ordering::Relaxed) != made_at {
        std::future::pending::<()>().await;
    }
}
