//! A scenario as a file: TOML that people read, edit and send to each other. Whatever is left out is calm.
//!
//! ```toml
//! format = 1
//! seed = 7
//! nodes = [{ name = "a" }, { name = "b" }, { name = "c" }]
//! deeds = [
//!     { at = 0.0, start = { node = 0 } },
//!     { at = 20.0, crash = { node = 1 } },
//! ]
//! network = { loss = 250 }
//! expects = ["no-false-deaths"]
//! ending = { at = 60.0 }
//! ```
//! Times are seconds of virtual time, chances per mille; nodes are meant by their place in `nodes`, from 0.

use std::{fmt::Write as _, time::Duration};

use logvine_cluster::delivery::DeliveryConfig;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::scenario::{Scenario, ScenarioFault};

/// The form that this build writes and reads.
pub const FORMAT: i64 = 1;

const HEAD: &str = "\
# A logvine simulation. Times are seconds of virtual time, chances per mille; nodes are meant by their place in `nodes`, from 0.
# To run it: cargo run --release -p logvine-simulations -- replay FILE
";

/// Why a file is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("the file is no scenario: {0}")]
    Form(#[from] toml::de::Error),
    #[error("the file has no `format`: write `format = {FORMAT}`, or have a file written by `shrink` to see one")]
    NoFormat,
    #[error("the file has format {found}; this build reads format {FORMAT}")]
    Format { found: Value },
    #[error("the scenario cannot be: {0}")]
    Fault(#[from] ScenarioFault),
}

/// The scenario of a file.
///
/// Errors: no TOML, another format, fields that do not exist, or a scenario that names nodes that it does not have.
pub fn read(text: &str) -> Result<Scenario, FileError> {
    let mut table: Table = text.parse()?;
    match table.remove("format") {
        Some(Value::Integer(FORMAT)) => {}
        Some(found) => return Err(FileError::Format { found }),
        None => return Err(FileError::NoFormat),
    }
    let scenario: Scenario = table.try_into()?;
    scenario.validate()?;
    Ok(scenario.sorted())
}

/// The file of a scenario: what is one thing stands in one line.
pub fn write(scenario: &Scenario) -> String {
    let table = Table::try_from(scenario).expect("a scenario has only what TOML has");
    let mut text = format!("{HEAD}format = {FORMAT}\n");
    for (key, value) in &table {
        let line = match value {
            Value::Array(items) if !items.is_empty() => {
                let items: String = items.iter().map(|item| format!("    {item},\n")).collect();
                writeln!(text, "{key} = [\n{items}]")
            }
            value => writeln!(text, "{key} = {value}"),
        };
        line.expect("a String takes all");
    }
    text
}

/// Durations as seconds, to the nanosecond.
pub(crate) mod seconds {
    use serde::{Deserializer, Serializer, de::Error};

    use super::{Deserialize, Duration, Serialize};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        duration.as_secs_f64().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        exactly(seconds).ok_or_else(|| D::Error::custom(format!("{seconds} is no number of seconds between 0 and {SECONDS_MAX}")))
    }

    /// Three months of virtual time, in which a nanosecond is still exact.
    const SECONDS_MAX: f64 = 8e6;

    pub(crate) fn exactly(seconds: f64) -> Option<Duration> {
        Duration::try_from_secs_f64(seconds).ok().filter(|_| seconds <= SECONDS_MAX)
    }
}

/// Deeds with their times: `{ at = 20.0, crash = { node = 1 } }`.
pub(crate) mod timed {
    use serde::{Deserializer, Serializer, de, de::DeserializeOwned, ser};

    use super::{Deserialize, Duration, Serialize, Table, Value, seconds};

    pub(crate) fn serialize<T: Serialize, S: Serializer>(timed: &[(Duration, T)], serializer: S) -> Result<S::Ok, S::Error> {
        let row = |(at, what): &(Duration, T)| -> Result<Table, toml::ser::Error> {
            let what = match Value::try_from(what)? {
                Value::Table(table) => table,
                Value::String(name) => Table::from_iter([(name, Value::Boolean(true))]),
                other => Table::from_iter([("deed".to_owned(), other)]),
            };
            Ok(std::iter::once(("at".to_owned(), Value::Float(at.as_secs_f64()))).chain(what).collect())
        };
        serializer.collect_seq(timed.iter().map(row).collect::<Result<Vec<_>, _>>().map_err(ser::Error::custom)?)
    }

    pub(crate) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(Duration, T)>, D::Error> {
        Vec::<Table>::deserialize(deserializer)?.into_iter().map(|row| timed(row).map_err(de::Error::custom)).collect()
    }

    fn timed<T: DeserializeOwned>(mut row: Table) -> Result<(Duration, T), String> {
        let at = row.remove("at").ok_or_else(|| format!("`{row}` says not when: write `at = 20.0`"))?;
        let at = at.as_float().or_else(|| at.as_integer().and_then(|whole| i32::try_from(whole).ok()).map(f64::from));
        let at = at.and_then(seconds::exactly).ok_or("`at` is a number of seconds")?;
        let what = match (row.len(), row.iter().next()) {
            (1, Some((name, Value::Boolean(true)))) => Value::String(name.clone()),
            (1, _) => Value::Table(row),
            _ => return Err(format!("besides `at` there is one thing to do, not {:?}", row.keys().collect::<Vec<_>>())),
        };
        what.try_into().map(|what| (at, what)).map_err(|error: toml::de::Error| error.message().to_owned())
    }
}

/// [`DeliveryConfig`], as a file has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(remote = "DeliveryConfig", deny_unknown_fields)]
pub(crate) struct DeliveryForm {
    window_bytes: u64,
    #[serde(with = "seconds")]
    window_age: Duration,
    buffer_bytes_max: u64,
    batches_max: usize,
    sends_max: usize,
    #[serde(with = "seconds")]
    checkpoint_every: Duration,
    #[serde(with = "seconds")]
    retry_least: Duration,
    #[serde(with = "seconds")]
    retry_most: Duration,
    #[serde(with = "seconds")]
    paused_every: Duration,
    #[serde(with = "seconds")]
    after_max: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::{Wishes, draw};

    /// A run is its scenario and the commit: so a file must keep all of it.
    #[test]
    fn whatever_a_seed_draws_survives_the_trip() {
        for seed in 0..200 {
            let scenario = draw(seed, Wishes::default());
            let text = write(&scenario);
            let again = read(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
            assert_eq!(format!("{again:?}"), format!("{scenario:?}"), "seed {seed}");
        }
    }

    #[test]
    fn what_is_left_out_is_calm() {
        let scenario = read("format = 1\nnodes = [{ name = \"a\" }]\ndeeds = [{ at = 1.5, start = { node = 0 } }]\nending = { at = 9 }").unwrap();
        assert_eq!((scenario.seed, scenario.network.loss, scenario.sources.len()), (1, 0, 0));
        assert_eq!(scenario.deeds[0].0, Duration::from_millis(1_500));
    }

    #[test]
    fn a_mistake_is_named() {
        let refusal = |text: &str| read(text).unwrap_err().to_string();
        let nodes = "format = 1\nnodes = [{ name = \"a\" }]\nending = { at = 9.0 }\n";
        let with = |rest: &str| refusal(&format!("{nodes}{rest}"));
        assert!(refusal("nodes = []").contains("format = 1"));
        assert!(refusal("format = 99").contains("format 99"));
        assert!(with("deeds = [{ at = 1.0, dance = { node = 0 } }]").contains("dance"));
        assert!(with("deeds = [{ start = { node = 0 } }]").contains("says not when"));
        assert!(with("deeds = [{ at = 1.0, start = { node = 0 }, crash = { node = 0 } }]").contains("one thing"));
        assert!(with("deeds = [{ at = -1.0, start = { node = 0 } }]").contains("number of seconds"));
        assert!(with("deeds = [{ at = 1.0, start = { node = 7 } }]").contains("node 7"));
        assert!(with("network = { los = 3 }").contains("los"));
    }
}
