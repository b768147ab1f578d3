//! The signals that end a process, from the first moment on.
//!
//! tokio takes a signal over before it has anybody to tell of it: one that comes in between is lost, and a Ctrl-C with it (seen once in some hundreds of
//! demos that were interrupted within milliseconds, on busy cores). So a flag is in place before tokio is.

use std::{
    future::poll_fn,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
};

use signal_hook::{flag, low_level};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for the signals that end a process.
#[derive(Debug)]
pub(crate) struct Signals {
    streams: Vec<(&'static str, Signal)>,
    /// One that came while this was made.
    early: Option<&'static str>,
}

impl Signals {
    /// SIGINT and SIGTERM. Errors: the system does not let this process.
    pub(crate) fn listen() -> io::Result<Self> {
        Self::of(&[(SignalKind::interrupt(), "SIGINT"), (SignalKind::terminate(), "SIGTERM")], || ())
    }

    /// These, and the end of the terminal.
    pub(crate) fn listen_with_hangup() -> io::Result<Self> {
        Self::of(&[(SignalKind::hangup(), "SIGHUP"), (SignalKind::interrupt(), "SIGINT"), (SignalKind::terminate(), "SIGTERM")], || ())
    }

    /// `meanwhile`: what happens before tokio listens.
    fn of(kinds: &[(SignalKind, &'static str)], meanwhile: impl FnOnce()) -> io::Result<Self> {
        // None is 0, the first of `kinds` is 1.
        let noted = Arc::new(AtomicUsize::new(0));
        let note = |(at, (kind, _)): (usize, &(SignalKind, _))| flag::register_usize(kind.as_raw_value(), noted.clone(), at + 1);
        let notes = kinds.iter().enumerate().map(note).collect::<io::Result<Vec<_>>>()?;
        meanwhile();
        let streams = kinds.iter().map(|(kind, name)| Ok((*name, signal(*kind)?))).collect::<io::Result<_>>()?;
        for id in notes {
            low_level::unregister(id);
        }
        let early = noted.load(SeqCst).checked_sub(1).map(|at| kinds[at].1);
        Ok(Self { streams, early })
    }

    /// The name of the next one. One that came at the very first may come twice. Cancel-safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        if let Some(name) = self.early.take() {
            return name;
        }
        poll_fn(|context| {
            let come = self.streams.iter_mut().find_map(|(name, stream)| stream.poll_recv(context).is_ready().then_some(*name));
            come.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of kinds that nobody else in these tests listens for, or sends.
    #[tokio::test]
    async fn each_signal_is_told_once_also_one_that_comes_before_tokio_listens() {
        let raise = |kind: SignalKind| low_level::raise(kind.as_raw_value()).unwrap();
        let kinds = [(SignalKind::user_defined1(), "USR1"), (SignalKind::user_defined2(), "USR2")];
        let mut signals = Signals::of(&kinds, || raise(SignalKind::user_defined2())).unwrap();
        assert_eq!(signals.next().await, "USR2");
        for (kind, name) in kinds {
            raise(kind);
            assert_eq!(signals.next().await, name);
        }
        assert!(futures::poll!(std::pin::pin!(signals.next())).is_pending());
    }
}
