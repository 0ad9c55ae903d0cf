//! What takes long to read is read on a thread of its own, one text at a time, after everything else that the
//! machine has to do.
//!
//! ```text
//!   diff  --at most WAITING_MAX--> \
//!   apply --at most WAITING_MAX-->  one after the other --> thread `ha-reader`
//! ```
//! How long one takes is bounded by `config`, and whoever gives up leaves the place only when the reading is done.

use super::RequestError;
use crate::sys::platform::process::yield_to_others;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Texts that wait, the one that is being read included; as many again for changes, which who only looks cannot keep
/// out.
const WAITING_MAX: usize = 8;

pub(crate) struct Reading {
    one: Arc<Semaphore>,
    looks: Arc<Semaphore>,
    changes: Arc<Semaphore>,
}

impl Default for Reading {
    fn default() -> Self {
        Reading {
            one: Arc::new(Semaphore::new(1)),
            looks: Arc::new(Semaphore::new(WAITING_MAX)),
            changes: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }
}

/// A place among those that wait; free again when it is dropped.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Reading {
    /// A place for who only looks, or for who changes something.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn place(&self, looks: bool) -> Result<Place, RequestError> {
        let places = if looks { &self.looks } else { &self.changes };
        let permit = places.clone().try_acquire_owned().map_err(|_| {
            RequestError::resource_exhausted(format!(
                "{WAITING_MAX} configurations of others are being read: ask again in a moment"
            ))
        })?;
        Ok(Place { _permit: permit })
    }

    /// Does the work when its turn has come.
    ///
    /// # Errors
    /// The machine gives no thread, or the work panicked.
    pub(crate) async fn done<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, Place), RequestError> {
        let failed = |e: String| RequestError::internal(format!("a text could not be read: {e}"));
        let turn = self.one.clone().acquire_owned().await;
        let turn = turn.map_err(|e| failed(e.to_string()))?;
        let (tell, told) = oneshot::channel();
        let read = move || {
            yield_to_others();
            let result = work();
            drop(turn);
            // Who asked may have gone.
            tell.send((result, place)).ok();
        };
        let thread = std::thread::Builder::new().name("ha-reader".to_owned());
        thread.spawn(read).map_err(|e| failed(e.to_string()))?;
        told.await.map_err(|e| failed(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::Why;
    use std::sync::mpsc;

    #[tokio::test(flavor = "current_thread")]
    async fn one_at_a_time_off_the_runtime_and_who_gives_up_keeps_the_place_until_it_is_done() {
        let reading = Arc::new(Reading::default());
        let (go, gone) = mpsc::channel::<()>();
        let (began, begun) = oneshot::channel();
        let slow = reading.done(reading.place(true).unwrap(), move || {
            began.send(()).unwrap();
            gone.recv().unwrap();
        });
        // It runs while this runtime, which has one thread, does something else; then who asked gives up.
        tokio::select! {
            biased;
            _ = slow => panic!("it waits"),
            begun = begun => begun.unwrap(),
        }
        let places: Vec<_> = std::iter::from_fn(|| reading.place(true).ok()).collect();
        assert_eq!(places.len(), WAITING_MAX - 1);
        let refused = reading.place(true).err().map(|e| e.why);
        assert_eq!(refused, Some(Why::ResourceExhausted));
        // A change is not kept out, and has its turn after the one that is under way.
        let change = reading.done(reading.place(false).unwrap(), || 7);
        tokio::pin!(change);
        assert!(futures_util::poll!(&mut change).is_pending());
        go.send(()).unwrap();
        assert_eq!(change.await.unwrap().0, 7);
        drop(places);
    }
}
