//! Transform: a VRL program that changes each record (<https://vrl.dev>).
//!
//! Dear beside the native parse stages, and it forgets key order: a record of a runner without a program never becomes a VRL object.
//! Not here: programs that need the environment or the network; those functions are not compiled in, as a program comes from anybody who may write runners.

#[cfg(feature = "vrl")]
mod depth;
#[cfg(feature = "vrl")]
mod vrl;

#[cfg(feature = "vrl")]
use self::vrl::Program;
#[cfg(feature = "vrl")]
pub(crate) use self::vrl::{Asked, Expression};

use logvine_cluster::spec::TransformSpec;

use super::record::Record;

/// The stack that threads which run transforms must have.
#[cfg(feature = "vrl")]
pub const STACK_BYTES: usize = depth::STACK_BYTES;
/// No program runs.
#[cfg(not(feature = "vrl"))]
pub const STACK_BYTES: usize = 2 << 20;

/// A transform, ready to run by one task; clone it for another. One of an empty spec changes nothing.
#[derive(Debug, Clone)]
pub struct Transform {
    program: Option<Program>,
}

/// Whether a VRL program compiles. Errors: VRL's own diagnostics, for people.
pub fn check(program: &str) -> Result<(), String> {
    Program::compile(program).map(drop)
}

/// Whether a VRL expression is a condition. Errors: VRL's own diagnostics, or that it is neither true nor false, for people.
pub fn check_condition(expression: &str) -> Result<(), String> {
    Expression::compile(expression).map(drop)
}

impl Transform {
    /// Compiles a transform. Errors: see [`check`].
    pub fn new(spec: &TransformSpec) -> Result<Self, String> {
        Ok(Self { program: spec.vrl.as_deref().map(Program::compile).transpose()? })
    }

    /// Changes `record` in place. One on which the program fails, or which it aborts, is kept as it was, with `error` set: nothing is lost.
    pub fn apply(&mut self, record: &mut Record) {
        let Some(program) = &mut self.program else { return };
        match program.run(&record.body) {
            Ok(body) => record.body = body,
            Err(error) => {
                record.mark(&format!("vrl: {error}"));
            }
        }
    }
}

#[cfg(not(feature = "vrl"))]
const WITHOUT: &str = "this logvine was built without VRL: build it with the feature `vrl`";

/// Stands for the VRL program that this build cannot compile.
#[cfg(not(feature = "vrl"))]
#[derive(Debug, Clone)]
enum Program {}

#[cfg(not(feature = "vrl"))]
impl Program {
    fn compile(_: &str) -> Result<Self, String> {
        Err(format!("{WITHOUT}, or leave `transform` out"))
    }

    fn run(&mut self, _: &super::record::Body) -> Result<super::record::Body, String> {
        match *self {}
    }
}

/// Stands for what conditions are asked of.
#[cfg(not(feature = "vrl"))]
#[derive(Debug, Default)]
pub(crate) struct Asked {}

/// Stands for the VRL expression that this build cannot compile.
#[cfg(not(feature = "vrl"))]
#[derive(Debug, Clone)]
pub(crate) enum Expression {}

#[cfg(not(feature = "vrl"))]
impl Expression {
    pub(crate) fn compile(_: &str) -> Result<Self, String> {
        Err(format!("{WITHOUT}, or write the condition without `vrl`"))
    }

    pub(crate) fn holds(&mut self, _: &super::record::Body, _: &mut Asked) -> Result<bool, String> {
        match *self {}
    }
}

#[cfg(test)]
#[cfg(feature = "vrl")]
mod tests;

#[cfg(test)]
#[cfg(not(feature = "vrl"))]
mod tests {
    use super::*;

    #[test]
    fn without_vrl_a_program_is_refused_with_what_to_do() {
        assert!(check(".a = 1").unwrap_err().contains("feature `vrl`"));
        assert!(check_condition("true").unwrap_err().contains("feature `vrl`"));
        Transform::new(&TransformSpec::default()).unwrap();
    }
}
