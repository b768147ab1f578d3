//! How a verb ends.

use std::{fmt, process::ExitCode};

/// For `--help`; a test holds it equal to [`Exit`].
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0    it is done, or nodes that are away will do it when they return
  1    an error
  2    some nodes could not do it
  3    a conflict: it was changed meanwhile, a name means several nodes, or another process is this node already
  4    there is no such thing
  64   the command line or the configuration is wrong
  130  interrupted";

/// The exit codes (DESIGN §8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    Error = 1,
    /// Some targets failed. One that is away is none of these: it carries the command out when it returns.
    Partly = 2,
    /// Of `agent`: another live process has the same data directory, or a copy of it, and was there first.
    Conflict = 3,
    NotFound = 4,
    /// sysexits.h's EX_USAGE.
    Usage = 64,
    /// Ended by a signal: what a shell says of a program that Ctrl-C ended.
    Interrupted = 130,
}

impl Exit {
    /// The first of several that is not well.
    pub(super) fn or(self, next: Self) -> Self {
        if self == Self::Ok { next } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a verb ended early: for people, with what to do.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// Empty: not a word.
    pub message: String,
}

impl Failure {
    /// A failure that is the caller's to mend.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// Nobody reads the output any more: nothing failed, and nothing more is to be said.
    pub(super) fn reader_gone() -> Self {
        Self { exit: Exit::Ok, message: String::new() }
    }

    /// Any other.
    pub fn error(message: impl Into<String>) -> Self {
        Self { exit: Exit::Error, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::error(format!("{error:#}"))
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<crate::demo::DemoError> for Failure {
    fn from(error: crate::demo::DemoError) -> Self {
        let exit = if matches!(error, crate::demo::DemoError::Signal(_)) { Exit::Interrupted } else { Exit::Error };
        Self { exit, message: error.to_string() }
    }
}
