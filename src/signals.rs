//! The signals that end a process, from the first moment on.
//!
//! tokio takes a signal over before it has anybody to tell of it: one that comes in between is lost, and a Ctrl-C with it (seen once in some hundreds of
//! demos that were interrupted within milliseconds, on busy cores). So a flag is in place before tokio is. The library beneath both has such a moment of its
//! own, between the system's handler and the table that it looks into: who must not miss one even then holds them back first.

use std::{
    future::poll_fn,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
};

use nix::sys::signal::{SigSet, Signal as Number};
use signal_hook::{flag, low_level};
use tokio::signal::unix::{Signal, SignalKind, signal};

type Kind = (SignalKind, &'static str);

const ENDING: [Kind; 3] = [(SignalKind::hangup(), "SIGHUP"), (SignalKind::interrupt(), "SIGINT"), (SignalKind::terminate(), "SIGTERM")];

/// Holds the signals that end a process back from this thread, and from those that it starts from now on, until [`Signals::listen_with_hangup`] has returned.
/// To be called while there is no other thread. Errors: the system does not let this process.
pub(crate) fn hold_back() -> io::Result<()> {
    Ok(numbers(&ENDING)?.thread_block()?)
}

fn numbers(kinds: &[Kind]) -> io::Result<SigSet> {
    Ok(kinds.iter().map(|(kind, _)| Number::try_from(kind.as_raw_value())).collect::<Result<_, _>>()?)
}

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
        Self::of(&ENDING[1..], || ())
    }

    /// These, and the end of the terminal.
    pub(crate) fn listen_with_hangup() -> io::Result<Self> {
        Self::of(&ENDING, || ())
    }

    /// `meanwhile`: what happens before tokio listens.
    fn of(kinds: &[Kind], meanwhile: impl FnOnce()) -> io::Result<Self> {
        // None is 0, the first of `kinds` is 1.
        let noted = Arc::new(AtomicUsize::new(0));
        let note = |(at, (kind, _)): (usize, &Kind)| flag::register_usize(kind.as_raw_value(), noted.clone(), at + 1);
        let notes = kinds.iter().enumerate().map(note).collect::<io::Result<Vec<_>>>()?;
        meanwhile();
        let streams = kinds.iter().map(|(kind, name)| Ok((*name, signal(*kind)?))).collect::<io::Result<_>>()?;
        for id in notes {
            low_level::unregister(id);
        }
        let early = noted.load(SeqCst).checked_sub(1).map(|at| kinds[at].1);
        numbers(kinds)?.thread_unblock()?;
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
    async fn each_signal_is_told_once_also_one_that_was_held_back_or_comes_before_tokio_listens() {
        let raise = |kind: SignalKind| low_level::raise(kind.as_raw_value()).unwrap();
        let kinds = [(SignalKind::user_defined1(), "USR1"), (SignalKind::user_defined2(), "USR2")];
        numbers(&kinds[..1]).unwrap().thread_block().unwrap();
        raise(SignalKind::user_defined1());
        let mut signals = Signals::of(&kinds, || raise(SignalKind::user_defined2())).unwrap();
        assert_eq!([signals.next().await, signals.next().await], ["USR2", "USR1"]);
        for (kind, name) in kinds {
            raise(kind);
            assert_eq!(signals.next().await, name);
        }
        assert!(futures::poll!(std::pin::pin!(signals.next())).is_pending());
    }
}
