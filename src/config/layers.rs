//! The layers of a configuration and where each value is from.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
};

use super::{
    AgentArgs, Config, Fault,
    keys::{KEYS, Key, Kind, Preset, key},
};

/// Variables of this name space that belong to the command line's other verbs.
const OTHER_VARIABLES: [&str; 3] = ["LOGVINE_CONFIG", "LOGVINE_API", "LOGVINE_TOKEN"];

/// What the defaults depend on.
#[derive(Debug, Clone)]
pub struct Host {
    /// The host's name, as it may be used for a node; empty if there is none.
    pub name: String,
    /// Where this user's data belongs.
    pub data_dir: Option<PathBuf>,
}

impl Host {
    /// This machine and this user.
    pub fn this() -> Self {
        let name = hostname::get().ok().and_then(|name| name.into_string().ok()).unwrap_or_default().to_lowercase();
        let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let state = state.or_else(|| std::env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(".local/state")));
        // Only root owns /var/lib; asking for the effective user needs no more than the owner of our own process's entry.
        let root = std::fs::metadata("/proc/self").is_ok_and(|entry| std::os::unix::fs::MetadataExt::uid(&entry) == 0);
        let data_dir = if root { Some(PathBuf::from("/var/lib/logvine")) } else { state.map(|state| state.join("logvine")) };
        Self { name: name.chars().take(63).collect(), data_dir }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    Flag,
    Variable,
    File(PathBuf),
}

#[derive(Debug, Clone)]
struct Given {
    origin: Origin,
    values: Vec<String>,
}

/// What was said, by key, with the faults found so far.
#[derive(Debug, Default)]
pub(super) struct Layers {
    given: BTreeMap<&'static str, Given>,
    pub(super) faults: Vec<Fault>,
}

impl Layers {
    /// Lays flags over variables over the file. Faults of shape are noted; what is in doubt goes to `warnings`.
    pub(super) fn gather(args: &AgentArgs, variables: &[(String, String)], file: Option<(&Path, &str)>, warnings: &mut Vec<String>) -> Self {
        let mut layers = Self::default();
        if let Some((path, text)) = file {
            layers.add_file(path, text);
        }
        for (name, value) in variables {
            layers.add_variable(name, value, warnings);
        }
        for (path, values) in &args.given {
            layers.add(key(path), Origin::Flag, values.clone());
        }
        layers
    }

    fn add(&mut self, key: &'static Key, origin: Origin, values: Vec<String>) {
        let values = if key.kind == Kind::List { split(&values) } else { values };
        self.given.insert(key.path, Given { origin, values });
    }

    fn add_variable(&mut self, name: &str, value: &str, warnings: &mut Vec<String>) {
        if let Some(key) = KEYS.iter().find(|key| key.variable() == name) {
            if !value.is_empty() {
                self.add(key, Origin::Variable, vec![value.to_owned()]);
            }
        } else if name.starts_with("LOGVINE_") && !OTHER_VARIABLES.contains(&name) {
            // Not an error: Kubernetes sets LOGVINE_SERVICE_HOST and the like in every pod beside a service of this name.
            let names: Vec<String> = KEYS.iter().map(Key::variable).collect();
            warnings.push(format!("the variable {name} is not known{}", did_you_mean(name, names.iter().map(String::as_str))));
        }
    }

    fn add_file(&mut self, path: &Path, text: &str) {
        match text.parse::<toml::Table>() {
            Ok(table) => self.add_table(path, "", &table),
            Err(error) => {
                let detail = format!("is not TOML: {}", error.to_string().trim_end());
                self.faults.push(Fault { place: path.display().to_string(), detail });
            }
        }
    }

    fn add_table(&mut self, path: &Path, prefix: &str, table: &toml::Table) {
        for (name, value) in table {
            let full = format!("{prefix}{name}");
            let place = format!("{}: {full}", path.display());
            if let Some(key) = KEYS.iter().find(|key| key.path == full) {
                match values_of(key, value) {
                    Ok(values) => self.add(key, Origin::File(path.to_owned()), values),
                    Err(detail) => self.faults.push(Fault { place, detail }),
                }
            } else if let (toml::Value::Table(inner), true) = (value, KEYS.iter().any(|key| key.path.starts_with(&format!("{full}.")))) {
                self.add_table(path, &format!("{full}."), inner);
            } else {
                let detail = format!("no such key{}", did_you_mean(&full, KEYS.iter().map(|key| key.path)));
                self.faults.push(Fault { place, detail });
            }
        }
    }

    /// Reads a setting of one value; None when that was a fault, which is noted.
    pub(super) fn one<T>(&mut self, path: &str, parse: impl FnOnce(Option<&str>) -> Result<T, String>) -> Option<T> {
        let text = self.given.get(path).map(|given| given.values.last().map_or("", String::as_str));
        parse(text).map_err(|detail| self.note(path, detail)).ok()
    }

    /// Reads a list; a faulty item is noted and left out.
    pub(super) fn many<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let values = self.given.get(path).map(|given| given.values.clone()).unwrap_or_default();
        values.iter().filter_map(|text| parse(text).map_err(|detail| self.note(path, detail)).ok()).collect()
    }

    /// Notes a fault at the place where `path` was said, else at its flag.
    pub(super) fn note(&mut self, path: &str, detail: impl Into<String>) {
        let key = key(path);
        let place = match self.given.get(path).map(|given| &given.origin) {
            Some(Origin::Variable) => key.variable(),
            Some(Origin::File(file)) => format!("{}: {path}", file.display()),
            Some(Origin::Flag) | None => format!("--{}", key.flag),
        };
        self.faults.push(Fault { place, detail: detail.into() });
    }

    /// [`Self::note`], where no value remains.
    pub(super) fn fault<T>(&mut self, path: &str, detail: &str) -> Option<T> {
        self.note(path, detail);
        None
    }

    /// One line per key: the value and where it is from.
    pub(super) fn show(&self, config: &Config) -> String {
        let lines: Vec<(String, String)> = KEYS
            .iter()
            .map(|key| match self.given.get(key.path) {
                Some(given) => (entry(key, &given.values), origin_words(key, &given.origin)),
                None => (derived(key, config), "default".to_owned()),
            })
            .collect();
        let width = lines.iter().map(|(value, _)| value.len()).filter(|width| *width <= 60).max().unwrap_or(0);
        lines.iter().fold(String::new(), |mut text, (value, origin)| {
            let _ = writeln!(text, "{value:width$}  # {origin}");
            text
        })
    }
}

fn origin_words(key: &Key, origin: &Origin) -> String {
    match origin {
        Origin::Flag => format!("--{}", key.flag),
        Origin::Variable => key.variable(),
        Origin::File(path) => path.display().to_string(),
    }
}

/// The entry of a key that nobody said.
fn derived(key: &Key, config: &Config) -> String {
    let value = match key.path {
        "name" => config.name.to_string(),
        "data_dir" => config.data_dir.display().to_string(),
        "http" => config.http.to_string(),
        "advertise" => config.advertise.to_string(),
        _ => match key.preset {
            Preset::Fixed(values) => return entry(key, &values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>()),
            Preset::Derived(words, _) => return format!("# {} = {words}", key.path),
        },
    };
    entry(key, &[value])
}

/// `path = value`, as TOML.
fn entry(key: &Key, values: &[String]) -> String {
    let quoted = |text: &String| toml::Value::String(text.clone()).to_string();
    let value = match key.kind {
        Kind::List => format!("[{}]", values.iter().map(quoted).collect::<Vec<_>>().join(", ")),
        Kind::Text => values.last().map(quoted).unwrap_or_default(),
        Kind::Number | Kind::Switch => values.last().cloned().unwrap_or_default(),
    };
    format!("{} = {value}", key.path)
}

/// What the example file says of one key.
pub(super) fn example_entry(key: &Key) -> String {
    let variable = key.variable();
    match key.preset {
        Preset::Fixed(values) => {
            let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
            format!("\n# {}. --{}, {variable}\n{}\n", key.help, key.flag, entry(key, &values))
        }
        Preset::Derived(words, example) => {
            format!("\n# {}. --{}, {variable}\n# Default: {words}.\n# {}\n", key.help, key.flag, entry(key, &[example.to_owned()]))
        }
    }
}

/// The words of a value of the file.
fn values_of(key: &Key, value: &toml::Value) -> Result<Vec<String>, String> {
    match (key.kind, value) {
        (Kind::Text | Kind::List, toml::Value::String(text)) => Ok(vec![text.clone()]),
        (Kind::Number, toml::Value::Integer(number)) => Ok(vec![number.to_string()]),
        (Kind::Switch, toml::Value::Boolean(on)) => Ok(vec![on.to_string()]),
        (Kind::List, toml::Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(|| format!("is a list of texts, and {item} is none"))).collect()
        }
        (kind, value) => {
            let wanted = match kind {
                Kind::Text => "a text in quotes",
                Kind::Number => "a whole number",
                Kind::Switch => "true or false",
                Kind::List => "a list of texts",
            };
            Err(format!("wants {wanted}, not {} {value}", value.type_str()))
        }
    }
}

/// Splits at commas; nothing between two is nothing.
fn split(values: &[String]) -> Vec<String> {
    values.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// `: did you mean …?`, if one of `known` is near.
fn did_you_mean<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> String {
    let scored = known.map(|name| (strsim::jaro_winkler(&text.replace('-', "_"), name), name));
    match scored.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, name)) if score > 0.8 => format!("; did you mean `{name}`?"),
        _ => "; `logvine config show` lists them all".to_owned(),
    }
}
