//! A watch channel that wakes in the order of waiting. Tokio's picks one of several queues at random,
//! and then the same seed would not give the same run.

use openraft_rt::{OptionalSend, OptionalSync, watch};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::Notify;

/// The kind of channel.
#[derive(Debug)]
pub struct FairWatch;

struct Shared<T> {
    value: RwLock<(T, u64)>,
    changed: Notify,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, (T, u64)> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, (T, u64)> {
        self.value.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where values come from.
pub struct Sender<T>(Arc<Shared<T>>);

/// Where values are seen, and which one was seen last.
pub struct Receiver<T>(Arc<Shared<T>>, u64);

/// A value that is looked at.
pub struct Ref<'a, T>(RwLockReadGuard<'a, (T, u64)>);

impl<T> std::ops::Deref for Ref<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0.0
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, SeqCst);
        Sender(self.0.clone())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.0.receivers.fetch_add(1, SeqCst);
        Receiver(self.0.clone(), self.1)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, SeqCst) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.receivers.fetch_sub(1, SeqCst);
    }
}

impl watch::Watch for FairWatch {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let shared = Arc::new(Shared {
            value: RwLock::new((init, 0)),
            changed: Notify::new(),
            senders: 1.into(),
            receivers: 1.into(),
        });
        (Sender(shared.clone()), Receiver(shared, 0))
    }
}

impl<T: OptionalSend + OptionalSync> watch::WatchSender<FairWatch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), watch::SendError<T>> {
        if self.0.receivers.load(SeqCst) == 0 {
            return Err(watch::SendError(value));
        }
        {
            let mut now = self.0.write();
            *now = (value, now.1 + 1);
        }
        self.0.changed.notify_waiters();
        Ok(())
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        {
            let mut now = self.0.write();
            if !modify(&mut now.0) {
                return false;
            }
            now.1 += 1;
        }
        self.0.changed.notify_waiters();
        true
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        Ref(self.0.read())
    }

    fn subscribe(&self) -> Receiver<T> {
        self.0.receivers.fetch_add(1, SeqCst);
        let seen = self.0.read().1;
        Receiver(self.0.clone(), seen)
    }
}

impl<T: OptionalSend + OptionalSync> watch::WatchReceiver<FairWatch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), watch::RecvError> {
        let shared = self.0.clone();
        loop {
            let mut notified = std::pin::pin!(shared.changed.notified());
            // Before looking, so that no change falls in between.
            notified.as_mut().enable();
            let version = shared.read().1;
            if version != self.1 {
                self.1 = version;
                return Ok(());
            }
            if shared.senders.load(SeqCst) == 0 {
                return Err(watch::RecvError(()));
            }
            notified.await;
        }
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        Ref(self.0.read())
    }

    fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let now = self.0.read();
        self.1 = now.1;
        Ref(now)
    }
}
