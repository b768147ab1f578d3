//! The feature `vrl`.

use std::{fmt, panic::resume_unwind, sync::Arc, thread};

use bytes::Bytes;
use serde_json::Map;
use vrl::{
    compiler::{self, CompileConfig, TargetValue, TimeZone, runtime::Runtime, state::ExternalEnv},
    diagnostic::Formatter,
    value::{ObjectMap, Secrets, Value},
};

use super::depth;
use crate::record::Body;

mod json;

/// Text of a record that nothing has taken apart.
const MESSAGE: &str = "message";

/// A compiled program with the state of its runs.
pub(super) struct Program {
    program: Arc<compiler::Program>,
    runtime: Runtime,
    /// For times without a zone: the same on every node.
    zone: TimeZone,
}

impl Program {
    pub(super) fn compile(source: &str) -> Result<Self, String> {
        Self::compile_with(source, CompileConfig::default)
    }

    fn compile_with(source: &str, config: impl FnOnce() -> CompileConfig + Send) -> Result<Self, String> {
        depth::check(source)?;
        let compile = || match compiler::compile_with_external(source, &vrl::stdlib::all(), &ExternalEnv::default(), config()) {
            Ok(compiled) => Ok(compiled.program),
            Err(faults) => Err(Formatter::new(source, faults).to_string().trim().to_owned()),
        };
        // The caller's stack may be of any size, the compiler takes some 10 KiB of it for each level.
        let program = thread::scope(|scope| {
            let compiling = thread::Builder::new().name("vrl".to_owned()).stack_size(depth::STACK_BYTES).spawn_scoped(scope, compile);
            let compiling = compiling.map_err(|error| format!("there is no thread to compile it on: {error}"))?;
            compiling.join().unwrap_or_else(|panic| resume_unwind(panic))
        })?;
        let zone = TimeZone::parse("UTC").expect("the table of zones has UTC");
        Ok(Self { program: Arc::new(program), runtime: Runtime::default(), zone })
    }

    /// What the program makes of a body. Errors: it failed, was aborted, or left no object.
    pub(super) fn run(&mut self, body: &Body) -> Result<Body, String> {
        let mut target = target(body)?;
        let result = self.runtime.resolve(&mut target, &self.program, &self.zone);
        self.runtime.clear();
        result.map_err(|error| error.to_string())?;
        let Value::Object(fields) = target.value else {
            return Err("the program must leave an object in `.`".to_owned());
        };
        let guess = 64 + if let Body::Json(json) = body { json.len() } else { 0 };
        if let Some(json) = json::write(&fields, guess) {
            return Ok(Body::Json(json));
        }
        let json = |(key, value): (_, Value)| value.try_into().map(|value| (String::from(key), value));
        let fields: Result<Map<_, _>, _> = fields.into_iter().map(json).collect();
        fields.map(Body::Object).map_err(|error: <Value as TryInto<serde_json::Value>>::Error| error.to_string())
    }
}

/// A compiled condition.
#[derive(Debug, Clone)]
pub(crate) struct Expression(Program);

/// A record's fields as conditions see them: made for the first that asks.
#[derive(Default)]
pub(crate) struct Asked(Option<TargetValue>);

impl Expression {
    /// Errors: VRL's diagnostics; it is neither true nor false; it changes the record, which other senders take as well.
    pub(crate) fn compile(source: &str) -> Result<Self, String> {
        let read_only = || {
            let mut config = CompileConfig::default();
            config.set_read_only();
            config
        };
        let program = Program::compile_with(source, read_only)?;
        if !program.program.final_type_info().result.is_boolean() {
            return Err("a condition is an expression that is true or false, such as `.status == 500`".to_owned());
        }
        Ok(Self(program))
    }

    /// Whether it holds for a body. Errors: it failed.
    pub(crate) fn holds(&mut self, body: &Body, asked: &mut Asked) -> Result<bool, String> {
        let asked = match &mut asked.0 {
            Some(asked) => asked,
            none => none.insert(target(body)?),
        };
        let Program { program, runtime, zone } = &mut self.0;
        let result = runtime.resolve(asked, program, zone);
        runtime.clear();
        match result {
            Ok(Value::Boolean(holds)) => Ok(holds),
            Ok(other) => Err(format!("vrl: the condition is neither true nor false, but {}", other.kind_str())),
            Err(error) => Err(format!("vrl: {error}")),
        }
    }
}

impl Clone for Program {
    fn clone(&self) -> Self {
        Self { program: self.program.clone(), runtime: Runtime::default(), zone: self.zone }
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Program")
    }
}

fn target(body: &Body) -> Result<TargetValue, String> {
    Ok(TargetValue { value: value(body)?, metadata: Value::Object(ObjectMap::new()), secrets: Secrets::new() })
}

fn value(body: &Body) -> Result<Value, String> {
    match body {
        Body::Text(text) => Ok(Value::Object([(MESSAGE.into(), Value::Bytes(Bytes::clone(text)))].into())),
        Body::Json(json) => json::read(json).map_err(|error| error.to_string()),
        Body::Object(fields) => Ok(Value::Object(fields.iter().map(|(key, value)| (key.as_str().into(), value.into())).collect())),
    }
}
