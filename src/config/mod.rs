//! The node's own configuration (DESIGN §8.1): flags over `LOGVINE_*` over the file over defaults, each value with where it is from.
//!
//! All faults are found at once. Not here: what the values do, and opening the files that they name, save the configuration itself.

mod address;
mod args;
mod keys;
mod layers;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use logvine_cluster::name::Name;

use logvine_runner::policy::{ConnectRule, PolicyConfig};

pub use self::{address::Seed, args::AgentArgs, layers::Host};
use self::{
    keys::{KEYS, key},
    layers::Layers,
};

/// Where the API listens unless told otherwise (TCP).
pub const HTTP_PORT: u16 = 7948;

/// What a node runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub name: Name,
    pub data_dir: PathBuf,
    pub bind: IpAddr,
    /// What others are told: this node's gossip and QUIC addresses.
    pub advertise: IpAddr,
    pub gossip_port: u16,
    pub gossip_preset: GossipPreset,
    pub quic_port: u16,
    pub http: SocketAddr,
    pub join: Vec<Seed>,
    pub tags: Vec<Name>,
    /// None on loopback only: the user's own key serves.
    pub cluster_key_file: Option<PathBuf>,
    pub grace: Duration,
    pub tls: Option<TlsFiles>,
    pub token_file: Option<PathBuf>,
    pub http_hosts: Vec<String>,
    pub log: String,
    pub log_format: LogFormat,
    pub policy: PolicyConfig,
}

/// The API's certificate chain and its key, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// How patient gossip is. Alike on all nodes of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GossipPreset {
    Lan,
    Wan,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// A fault of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The flag, the variable, or the file and its key.
    pub place: String,
    /// What is wrong and what to do.
    pub detail: String,
}

/// All that is wrong with a configuration. Nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.as_slice() {
            [fault] => write!(f, "{}: {}", fault.place, fault.detail),
            faults => {
                write!(f, "the configuration has {} faults", faults.len())?;
                faults.iter().try_for_each(|fault| write!(f, "\n  {}: {}", fault.place, fault.detail))
            }
        }
    }
}

/// A configuration with where each value is from.
#[derive(Debug)]
pub struct Effective {
    pub config: Config,
    /// What may be a mistake, for the log.
    pub warnings: Vec<String>,
    layers: Layers,
}

impl Effective {
    /// One line per setting, as in the file, each with where its value is from.
    pub fn show(&self) -> String {
        self.layers.show(&self.config)
    }
}

/// Reads the configuration of this process: `args`, its environment, and the file that they name.
///
/// Errors: every fault found, in all layers.
pub fn load(args: &AgentArgs) -> Result<Effective, ConfigError> {
    let variables: Vec<(String, String)> =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    let named = args.config.clone().or_else(|| variables.iter().find(|(name, _)| name == "LOGVINE_CONFIG").map(|(_, path)| PathBuf::from(path)));
    let file = named.map(|path| read_file(&path).map(|text| (path, text))).transpose()?;
    resolve(args, &variables, file.as_ref().map(|(path, text)| (path.as_path(), text.as_str())), &Host::this())
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError {
        faults: vec![Fault {
            place: "--config".to_owned(),
            detail: format!("cannot read {}: {error}; check the path and its permissions", path.display()),
        }],
    })
}

/// Checks the text of a configuration file by itself, as `logvine validate` does.
///
/// Errors: every fault found.
pub fn check_file(path: &Path, text: &str) -> Result<(), ConfigError> {
    resolve(&AgentArgs::default(), &[], Some((path, text)), &Host::this()).map(|_| ())
}

/// The pure part of [`load`].
fn resolve(args: &AgentArgs, variables: &[(String, String)], file: Option<(&Path, &str)>, host: &Host) -> Result<Effective, ConfigError> {
    let mut warnings = Vec::new();
    let mut layers = Layers::gather(args, variables, file, &mut warnings);
    let config = read(&mut layers, host);
    match config {
        Some(config) if layers.faults.is_empty() => Ok(Effective { config, warnings, layers }),
        _ => Err(ConfigError { faults: std::mem::take(&mut layers.faults) }),
    }
}

/// None when a fault was noted that leaves no value at all.
fn read(layers: &mut Layers, host: &Host) -> Option<Config> {
    let name = layers.one("name", |text| match text {
        Some(text) => text.parse::<Name>().map_err(|error| error.to_string()),
        None => host.name.parse::<Name>().map_err(|_| "this host's name makes no node name: give one with --name".to_owned()),
    });
    let data_dir = layers.one("data_dir", |text| match (text, &host.data_dir) {
        (Some(text), _) => Ok(PathBuf::from(text)),
        (None, Some(dir)) => Ok(dir.clone()),
        (None, None) => Err("there is no HOME to keep data under: give a directory with --data-dir".to_owned()),
    });
    let bind = layers.one("bind", |text| address::ip(text.unwrap_or("127.0.0.1")));
    let gossip_port = layers.one("gossip_port", |text| address::port(text.unwrap_or("7946")));
    let gossip_preset = layers.one("gossip_preset", |text| gossip_preset(text.unwrap_or("lan")));
    let quic_port = layers.one("quic_port", |text| address::port(text.unwrap_or("7947")));
    let loopback = bind.filter(IpAddr::is_loopback);
    let http = layers.one("http", |text| match text {
        Some(text) => address::socket(text, HTTP_PORT),
        None => Ok(SocketAddr::new(loopback.unwrap_or(Ipv4Addr::LOCALHOST.into()), HTTP_PORT)),
    });
    let advertise = layers.one("advertise", |text| match (text, bind) {
        (Some(text), _) => address::ip(text).and_then(address::reachable),
        (None, Some(bind)) if bind.is_unspecified() => {
            Err(format!("`bind` is {bind}, which others cannot reach: give this node's address with --advertise"))
        }
        (None, bind) => Ok(bind.unwrap_or(Ipv4Addr::LOCALHOST.into())),
    });
    let join = layers.many("join", Seed::parse);
    let tags = layers.many("tags", |text| text.parse::<Name>().map_err(|error| error.to_string()));
    let grace = layers.one("grace", |text| duration(text.unwrap_or("60s"), Duration::from_secs(300)));
    let log_format = layers.one("log_format", |text| log_format(text.unwrap_or("text")));
    let log = layers.one("log", |text| log_filter(text.unwrap_or("info")));
    let path = |text: Option<&str>| Ok(text.map(PathBuf::from));
    let cluster_key_file = layers.one("cluster_key_file", path).flatten();
    let (cert, tls_key) = (layers.one("http_cert", path).flatten(), layers.one("http_key", path).flatten());
    let token_file = layers.one("token_file", path).flatten();
    let insecure_http = layers.one("insecure_http", |text| switch(text.unwrap_or("false")))?;
    let policy = PolicyConfig {
        read: layers.many("policy.read", absolute),
        write: layers.many("policy.write", absolute),
        connect: layers.many("policy.connect", |text| text.parse::<ConnectRule>().map_err(|error| error.to_string())),
        listen: layers.many("policy.listen", |text| text.parse::<ConnectRule>().map_err(|error| error.to_string())),
    };
    let http_hosts = layers.many("http_hosts", |text| Ok(text.to_lowercase()));
    let tls = match (cert, tls_key) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (None, None) => None,
        (Some(_), None) => layers.fault("http_key", "`http_cert` is given without its key: give --http-key too"),
        (None, Some(_)) => layers.fault("http_cert", "`http_key` is given without its certificate: give --http-cert too"),
    };
    let config = Config {
        name: name?,
        data_dir: data_dir?,
        bind: bind?,
        advertise: advertise?,
        gossip_port: gossip_port?,
        gossip_preset: gossip_preset?,
        quic_port: quic_port?,
        http: http?,
        join,
        tags,
        cluster_key_file,
        grace: grace?,
        tls,
        token_file,
        http_hosts,
        log: log?,
        log_format: log_format?,
        policy,
    };
    check_together(layers, &config, insecure_http);
    Some(config)
}

/// Faults that show only when settings are seen side by side.
fn check_together(layers: &mut Layers, config: &Config, insecure_http: bool) {
    if config.gossip_port == config.quic_port {
        layers.note("quic_port", "gossip and QUIC are both UDP and cannot share a port: choose another");
    }
    if config.bind.is_ipv4() != config.advertise.is_ipv4() {
        layers.note("advertise", format!("{} is not of the family of `bind`, {}", config.advertise, config.bind));
    }
    if !config.bind.is_loopback() && config.cluster_key_file.is_none() {
        layers.note(
            "cluster_key_file",
            format!("beyond loopback (`bind` is {}) a cluster key must be given: `logvine keygen > FILE`, the same file on all nodes", config.bind),
        );
    }
    if !config.http.ip().is_loopback() && !insecure_http && (config.tls.is_none() || config.token_file.is_none()) {
        let detail = format!(
            "{} is beyond loopback: give --http-cert, --http-key and --token-file; or --insecure-http, and whoever reaches it is an operator",
            config.http
        );
        layers.note("http", detail);
    }
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(format!("`{text}` is not an absolute path")) }
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" | "" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

fn gossip_preset(text: &str) -> Result<GossipPreset, String> {
    match text {
        "lan" => Ok(GossipPreset::Lan),
        "wan" => Ok(GossipPreset::Wan),
        _ => Err(format!("`{text}` is not a preset of gossip: lan or wan")),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("`{text}` is not a log format: text or json")),
    }
}

fn log_filter(text: &str) -> Result<String, String> {
    let filter = text.parse::<tracing_subscriber::filter::Targets>();
    filter.map(|_| text.to_owned()).map_err(|_| format!("`{text}` is not a log filter: write a level such as `info`, or `info,logvine_gossip=debug`"))
}

/// `60s`, `1500ms`, `5m`, at most `longest`.
fn duration(text: &str, longest: Duration) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write `60s`, `1500ms` or `5m`");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let length = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err(wrong()),
    };
    if length > longest { Err(format!("`{text}` is more than {}s", longest.as_secs())) } else { Ok(length) }
}

/// The configuration file with every key at its default, each with what it means; what depends on the host stands in a comment.
pub fn example() -> String {
    let mut text = String::from(
        "# logvine's configuration: every key, with its default. Flags win over LOGVINE_* variables, those over this file.\n\
         # A key that is commented out depends on the host or on other keys; an example stands there.\n",
    );
    for key in KEYS {
        text.push_str(&layers::example_entry(key));
    }
    text
}

/// The flag that sets `path`, for messages of other parts: `--bind`.
pub fn flag(path: &str) -> String {
    format!("--{}", key(path).flag)
}

#[cfg(test)]
mod tests;
