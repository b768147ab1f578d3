//! Runners as people send them: one tree in TOML, YAML or JSON, with each fault at its place (DESIGN §4, §8.2).

use std::path::Path;

use logvine_cluster::{
    name::Name,
    spec::{RunnerSpec, SpecFault},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::near::{did_you_mean, nearest};

/// How a tree is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
    Toml,
}

impl Format {
    /// By a file's ending.
    pub fn of_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// By a `Content-Type`, its parameters aside.
    pub fn of_content_type(text: &str) -> Option<Self> {
        match text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/json" => Some(Self::Json),
            // RFC 9512 gave YAML its type; the others were in use before.
            "application/yaml" | "application/x-yaml" | "text/yaml" => Some(Self::Yaml),
            "application/toml" => Some(Self::Toml),
            _ => None,
        }
    }

    /// Its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Toml => "application/toml",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Yaml => "YAML",
            Self::Toml => "TOML",
        }
    }
}

/// The tree of a text. Errors: it is not of that format; the detail has the line.
pub fn tree(text: &str, format: Format) -> Result<Value, SpecFault> {
    let tree = match format {
        Format::Json => serde_json::from_str(text).map_err(|error| error.to_string()),
        Format::Yaml => serde_yaml_ng::from_str(text).map_err(|error| error.to_string()),
        Format::Toml => toml::from_str(text).map_err(|error| error.to_string()),
    };
    tree.map_err(|error| fault("", format!("is not {}: {}", format.name(), error.trim_end())))
}

/// Reads a tree into a type, with the JSON pointer of what does not fit.
pub fn typed<T: DeserializeOwned>(tree: Value) -> Result<T, SpecFault> {
    serde_path_to_error::deserialize(tree).map_err(|error| {
        let pointer = pointer(error.path());
        fault(pointer, explain(&error.into_inner().to_string()))
    })
}

/// Reads a runner and finds all faults that can be seen without running it: its shape, its meaning, its VRL program.
///
/// `name` is the name that the path gave; the tree may then leave it out, but not contradict it.
pub fn runner(text: &str, format: Format, name: Option<&Name>) -> Result<RunnerSpec, Vec<SpecFault>> {
    let mut tree = tree(text, format).map_err(|fault| vec![fault])?;
    let Value::Object(fields) = &mut tree else { return Err(vec![fault("", "a runner is a table of name, placement, reader and senders")]) };
    if let Some(name) = name {
        let said = fields.entry("name").or_insert_with(|| Value::String(name.to_string()));
        if said.as_str().is_some_and(|said| said != name.as_str()) {
            return Err(vec![fault("/name", format!("{said} is not the name in the path, `{name}`: leave one out or make them equal"))]);
        }
    }
    let spec: RunnerSpec = typed(tree).map_err(|fault| vec![fault])?;
    let mut faults = spec.faults();
    if !faults.iter().any(|fault| fault.pointer.starts_with("/parse"))
        && let Err(wrong) = logvine_runner::parse::Parser::new(&spec.parse)
    {
        faults.push(fault(format!("/parse/{}", wrong.field), wrong.detail));
    }
    if let Some(program) = &spec.transform.vrl
        && let Err(diagnostic) = logvine_runner::transform::check(program)
    {
        faults.push(fault("/transform/vrl", format!("does not compile:\n{}", diagnostic.trim_end())));
    }
    for (at, sender) in spec.senders.iter().enumerate() {
        if let Some(Err(diagnostic)) = sender.when().and_then(|when| when.vrl.as_deref()).map(logvine_runner::transform::check_condition) {
            faults.push(fault(format!("/senders/{at}/when/vrl"), format!("is no condition:\n{}", diagnostic.trim_end())));
        }
    }
    if faults.is_empty() { Ok(spec) } else { Err(faults) }
}

fn fault(pointer: impl Into<String>, detail: impl Into<String>) -> SpecFault {
    SpecFault { pointer: pointer.into(), detail: detail.into() }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            // RFC 6901 section 3.
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { .. } | Segment::Unknown => String::new(),
        })
        .collect()
}

/// serde's words in ours, with what was probably meant.
fn explain(message: &str) -> String {
    let Some(Unknown { given, known, words }) = Unknown::read(message) else { return message.to_owned() };
    let meant = nearest(given, known);
    format!("{words}{}", did_you_mean(meant.get(..1).unwrap_or_default()))
}

/// A word or a key that serde has refused, with those that it knows.
pub(crate) struct Unknown<'a> {
    pub(crate) given: &'a str,
    pub(crate) known: Vec<&'a str>,
    /// What is wrong, and what is known.
    pub(crate) words: String,
}

impl<'a> Unknown<'a> {
    /// What is unknown by serde's message; none: it is about something else.
    pub(crate) fn read(message: &'a str) -> Option<Self> {
        let mut quoted = message.split('`').skip(1).step_by(2);
        let (given, known) = (quoted.next()?, quoted.collect::<Vec<_>>());
        let what = if message.starts_with("unknown variant") {
            format!("`{given}` is not known here")
        } else if message.starts_with("unknown field") {
            format!("there is no key `{given}` here")
        } else {
            return None;
        };
        let words = format!("{what}: the known ones are {}", known.join(", "));
        Some(Self { given, known, words })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
        placement = { spread = "all" }
        reader = { type = "http" }
        senders = [{ name = "out", type = "stdout" }]
    "#;

    fn faults(text: &str) -> Vec<String> {
        runner(text, Format::Toml, Some(&"r".parse().unwrap())).expect_err("a fault").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_same_tree_in_three_formats_is_the_same_runner() {
        let name = "r".parse().unwrap();
        let toml = runner(WHOLE, Format::Toml, Some(&name)).unwrap();
        let json = r#"{"placement": {"spread": "all"}, "reader": {"type": "http"}, "senders": [{"name": "out", "type": "stdout"}]}"#;
        let yaml = "placement: {spread: all}\nreader: {type: http}\nsenders: [{name: out, type: stdout}]";
        assert_eq!(runner(json, Format::Json, Some(&name)).unwrap(), toml);
        assert_eq!(runner(yaml, Format::Yaml, Some(&name)).unwrap(), toml);
    }

    #[test]
    fn an_unknown_reader_is_refused_with_the_known_ones() {
        let found = faults(&WHOLE.replace("\"http\"", "\"htpp\""));
        assert_eq!(
            found,
            ["/reader/type: `htpp` is not known here: the known ones are file, http, journal, syslog, http_push, stdin; did you mean `http`?"]
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_what_was_meant() {
        let found = faults(&WHOLE.replace("placement", "placment"));
        assert!(found[0].starts_with("/placment: there is no key `placment` here: the known ones are name, placement,"), "{found:?}");
        assert!(found[0].ends_with("; did you mean `placement`?"), "{found:?}");
    }

    #[test]
    fn text_of_another_format_is_refused_with_its_line() {
        assert!(faults("{")[0].starts_with(": is not TOML: TOML parse error at line 1"), "{:?}", faults("{"));
    }

    #[test]
    fn a_name_that_contradicts_the_path_is_refused() {
        assert!(faults(&format!("name = 'other'\n{WHOLE}"))[0].starts_with("/name: "));
    }

    /// DESIGN §8.4: a spec is on every node, and shown to whoever may look; a secret in it would be no secret.
    #[test]
    fn secrets_are_references() {
        let sender = |url: &str, headers: &str| format!("{{ name = \"out\", type = \"http\", url = \"{url}\", headers = {{ {headers} }} }}");
        let with = |sender: String| WHOLE.replace("{ name = \"out\", type = \"stdout\" }", &sender);
        let told = faults(&with(sender("http://user:hush@sink/logs", "Authorization = 'Bearer hush', x-env = 'prod'")));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("/senders/0/url: ") && told[1].starts_with("/senders/0/headers/Authorization: "), "{told:?}");
        assert!(told.iter().all(|fault| fault.contains("secret://file/PATH") && !fault.contains("hush")), "{told:?}");
        let fine = with(sender("http://sink/logs?to=a@b", "Authorization = 'secret://env/TOKEN'"));
        runner(&fine, Format::Toml, Some(&"r".parse().unwrap())).unwrap();
        let reader = faults(&WHOLE.replace("type = \"http\"", "type = \"http\", headers = { cookie = 'a=b' }"));
        assert!(reader[0].starts_with("/reader/headers/cookie: "), "{reader:?}");
    }

    #[cfg(feature = "vrl")]
    #[test]
    fn a_vrl_program_that_does_not_compile_is_refused_with_its_diagnostic() {
        let found = faults(&format!("{WHOLE}\ntransform = {{ vrl = '.a = nothing_like_this(1)' }}"));
        assert!(found[0].starts_with("/transform/vrl: does not compile:") && found[0].contains("nothing_like_this"), "{found:?}");
        assert!(found[0].contains(":1:6"), "the line and the column: {found:?}");
        let condition = WHOLE.replace("type = \"stdout\"", "type = \"stdout\", when = { vrl = \".a\" }");
        let found = faults(&condition);
        assert!(found[0].starts_with("/senders/0/when/vrl: is no condition:") && found[0].contains("`.status == 500`"), "{found:?}");
    }
}
