//! What runners may do on this node (DESIGN §8.4): which files they open, which addresses they dial. The node's own; the API cannot change it.
//!
//! Checked where a file is opened and where an address is dialled, not where a runner is accepted: names and links change in between.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, SocketAddr},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use ipnet::IpNet;
use reqwest::{
    Client, ClientBuilder, Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use rustix::fs::{Access, Mode, OFlags};
use serde::{Deserialize, Serialize};

/// `[policy]` of the node's configuration, with the flags `--allow-read`, `--allow-write`, `--allow-connect` and `--allow-listen`. A list that is empty stands for its
/// default, which is wide for a node bound to loopback and narrow beyond.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// Directories or files that runners may read, with all beneath.
    pub read: Vec<PathBuf>,
    /// Directories or files that runners may write, with all beneath.
    pub write: Vec<PathBuf>,
    /// Where runners may connect to.
    pub connect: Vec<ConnectRule>,
    /// Where runners may listen, besides loopback.
    pub listen: Vec<ConnectRule>,
}

/// One place that may be dialled, or listened on: `10.0.0.0/8`, `10.0.0.7`, `logs.example.net:443`, `[::1]:9200`, or `any`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ConnectRule {
    /// Everywhere, link-local and metadata addresses too.
    Any,
    /// Any port of these addresses.
    Net(IpNet),
    /// This port of this host, whatever its name resolves to. Lower case, without brackets.
    Host { host: String, port: u16 },
}

/// Why a text is not a [`ConnectRule`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a place to connect to: write a network (10.0.0.0/8), an address, HOST:PORT, or any")]
pub struct ConnectRuleError(String);

impl FromStr for ConnectRule {
    type Err = ConnectRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ConnectRuleError(text.to_owned());
        if text == "any" {
            return Ok(Self::Any);
        }
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(Self::Net(net.trunc()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Net(address.into()));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?.to_string(),
            None => host.to_ascii_lowercase(),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let whole = !host.is_empty() && (host.parse::<IpAddr>().is_ok() || host.chars().all(plain));
        if whole { Ok(Self::Host { host, port }) } else { Err(wrong()) }
    }
}

impl TryFrom<String> for ConnectRule {
    type Error = ConnectRuleError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl std::fmt::Display for ConnectRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Net(net) => net.fmt(f),
            Self::Host { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl From<ConnectRule> for String {
    fn from(rule: ConnectRule) -> Self {
        rule.to_string()
    }
}

/// What this node's policy forbids: what, and which flag would allow it. Nothing was opened or dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("this node's policy does not let runners {verb} {path}; start its agent with --allow-{verb} {parent} to allow it")]
    Path { verb: &'static str, path: String, parent: String },
    #[error("{path} holds the node's own state: no runner may {verb} it; use another directory")]
    OwnState { verb: &'static str, path: String },
    #[error("this node's policy does not let runners connect to {to}; start its agent with --allow-connect {rule} to allow it")]
    Connect { to: String, rule: String },
    #[error("this node's policy lets runners listen on loopback only, not on {at}; start its agent with --allow-listen {at} to allow it")]
    Listen { at: SocketAddr },
}

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("{path} is not a regular file")]
    NotAFile { path: String },
    #[error("cannot open {path}: {source}")]
    Io { path: String, source: io::Error },
}

/// What runners may do on this node.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Canonical where they exist.
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    connect: Connect,
    listen: Vec<ConnectRule>,
    /// What lies directly in it is the node's own: its key, its store, its lock.
    data_dir: PathBuf,
    /// Further files of the node's own, as they were named: what a link leads to may change.
    own: Vec<PathBuf>,
    /// Where the kernel shows this process: its memory and its environment.
    process: PathBuf,
}

#[derive(Debug, Clone)]
enum Connect {
    /// Anywhere but link-local and metadata addresses.
    Default,
    Rules(Vec<ConnectRule>),
}

/// Where clouds answer with credentials, besides the link-local networks: AWS over IPv6, Alibaba, Azure's wire server, Oracle.
const METADATA: [&str; 4] = ["fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"];

impl Policy {
    /// The policy of a node that keeps its state in `data_dir`. What `config` leaves out is everything that the agent's user may do where the node is
    /// bound to loopback; where `exposed`, it is: read `/var/log`, write beneath the data directory, connect anywhere but link-local and metadata addresses.
    pub fn new(config: &PolicyConfig, exposed: bool, data_dir: &Path) -> Self {
        let data_dir = real(data_dir);
        let or = |roots: &[PathBuf], exposed_root: PathBuf| match (roots.is_empty(), exposed) {
            (false, _) => roots.iter().map(|root| real(root)).collect(),
            (true, true) => vec![exposed_root],
            (true, false) => vec![PathBuf::from("/")],
        };
        let connect = match (config.connect.is_empty(), exposed) {
            (false, _) => Connect::Rules(config.connect.clone()),
            (true, true) => Connect::Default,
            (true, false) => Connect::Rules(vec![ConnectRule::Any]),
        };
        Self {
            read: or(&config.read, real(Path::new("/var/log"))),
            write: or(&config.write, data_dir.clone()),
            connect,
            listen: config.listen.clone(),
            data_dir,
            own: Vec::new(),
            process: real(Path::new("/proc/self")),
        }
    }

    /// Keeps files of the node's own (keys, tokens) from runners, wherever they lie and by whatever name they are reached.
    pub fn keeping(self, own: Vec<PathBuf>) -> Self {
        Self { own, ..self }
    }

    /// Opens a regular file for reading. Links are followed as long as what they lead to is allowed. Blocks on the disk.
    pub fn open_read(&self, path: &Path) -> Result<File, OpenError> {
        let io = |source| OpenError::Io { path: path.display().to_string(), source };
        self.check("read", &self.read, &real(path))?;
        let at = fs::canonicalize(path).map_err(io)?;
        let file = open(&at, OFlags::RDONLY).map_err(io)?;
        self.check_opened("read", &self.read, path, file)
    }

    /// Opens a regular file for appending, and for reading what is there, and makes it and the directories above it where they do not exist. Blocks on
    /// the disk.
    pub fn open_append(&self, path: &Path) -> Result<File, OpenError> {
        let io = |source| OpenError::Io { path: path.display().to_string(), source };
        let at = real(path);
        self.check("write", &self.write, &at)?;
        if let Some(parent) = at.parent() {
            fs::create_dir_all(parent).map_err(io)?;
        }
        let at = real(path);
        self.check("write", &self.write, &at)?;
        let file = open(&at, OFlags::RDWR | OFlags::APPEND | OFlags::CREATE).map_err(io)?;
        self.check_opened("write", &self.write, path, file)
    }

    /// Whether [`Self::open_append`] may and can open this: true where the file is there, false where it would be made. Makes nothing. Blocks on the disk.
    pub fn check_append(&self, path: &Path) -> Result<bool, OpenError> {
        let io = |source| OpenError::Io { path: path.display().to_string(), source };
        let at = real(path);
        self.check("write", &self.write, &at)?;
        if at.exists() {
            let file = open(&at, OFlags::RDWR | OFlags::APPEND).map_err(io)?;
            return self.check_opened("write", &self.write, path, file).map(|_| true);
        }
        // What is missing is made in the first directory above that is there.
        let above = at.ancestors().skip(1).find(|above| above.exists()).unwrap_or(&at);
        rustix::fs::access(above, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| io(error.into()))?;
        if above.is_dir() { Ok(false) } else { Err(io(io::ErrorKind::NotADirectory.into())) }
    }

    /// Whether a glob whose fixed part is `directory` can match anything that may be read: so that a forbidden one is told at once, not never.
    pub fn check_glob(&self, directory: &Path) -> Result<(), Denied> {
        let at = real(directory);
        if self.read.iter().any(|root| root.starts_with(&at)) { Ok(()) } else { self.check("read", &self.read, &at) }
    }

    /// Whether an address may be dialled to reach `host`, a name or a literal address.
    pub fn check_addr(&self, address: SocketAddr, host: &str) -> Result<(), Denied> {
        let ip = plain(address.ip());
        let host = bare(host);
        let port = address.port();
        if self.allows_address(ip) || self.names_host(&host, port) || self.names_host(&ip.to_string(), port) {
            return Ok(());
        }
        let to = if host.parse::<IpAddr>().is_ok() { address.to_string() } else { format!("{host} ({address})") };
        Err(Denied::Connect { to, rule: ip.to_string() })
    }

    /// Whether a runner may listen on this address. Loopback always: who can reach that is on this host already. An unspecified address (`0.0.0.0`) is all
    /// of the host's, and must be named itself.
    pub fn check_listen(&self, at: SocketAddr) -> Result<(), Denied> {
        let ip = plain(at.ip());
        let named = self.listen.iter().any(|rule| match rule {
            ConnectRule::Any => true,
            ConnectRule::Net(net) => net.contains(&ip) && (!ip.is_unspecified() || net.prefix_len() == net.max_prefix_len()),
            ConnectRule::Host { host, port } => *port == at.port() && host.parse() == Ok(ip),
        });
        if ip.is_loopback() || named { Ok(()) } else { Err(Denied::Listen { at }) }
    }

    fn allows_address(&self, ip: IpAddr) -> bool {
        match &self.connect {
            Connect::Default => !is_metadata(ip),
            Connect::Rules(rules) => rules.iter().any(|rule| match rule {
                ConnectRule::Any => true,
                ConnectRule::Net(net) => net.contains(&ip),
                ConnectRule::Host { .. } => false,
            }),
        }
    }

    fn names_host(&self, name: &str, at: u16) -> bool {
        match &self.connect {
            Connect::Default => false,
            Connect::Rules(rules) => rules.iter().any(|rule| matches!(rule, ConnectRule::Host { host, port } if host == name && *port == at)),
        }
    }

    fn check(&self, verb: &'static str, roots: &[PathBuf], at: &Path) -> Result<(), Denied> {
        let path = at.display().to_string();
        let in_data_dir = at == self.data_dir || at.parent() == Some(&self.data_dir) && !at.is_dir();
        if in_data_dir || at.starts_with(&self.process) || self.own.iter().any(|own| real(own) == at) {
            return Err(Denied::OwnState { verb, path });
        }
        if roots.iter().any(|root| at.starts_with(root)) {
            return Ok(());
        }
        let parent = at.parent().unwrap_or(at).display().to_string();
        Err(Denied::Path { verb, path, parent })
    }

    /// The last word is the descriptor's own path: a directory above may have become a link after the first check.
    fn check_opened(&self, verb: &'static str, roots: &[PathBuf], asked: &Path, file: File) -> Result<File, OpenError> {
        let io = |source| OpenError::Io { path: asked.display().to_string(), source };
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(OpenError::NotAFile { path: asked.display().to_string() });
        }
        // A hard link is the same file under another name.
        let same = |own: &PathBuf| fs::metadata(own).is_ok_and(|own| (own.dev(), own.ino()) == (metadata.dev(), metadata.ino()));
        if self.own.iter().any(same) {
            return Err(Denied::OwnState { verb, path: asked.display().to_string() }.into());
        }
        self.check(verb, roots, &opened_path(&file).map_err(io)?)?;
        Ok(file)
    }
}

/// Where an open file is now. One that was deleted ends in ` (deleted)` (proc_pid_fd(5)).
pub(crate) fn opened_path(file: &File) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// `NONBLOCK`: a named pipe without a writer must not hold the thread. `NOFOLLOW`: the path was made canonical, so a link at its end is new.
fn open(at: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(rustix::fs::open(at, flags, Mode::from_raw_mode(0o640))?.into())
}

/// The canonical path as far as it exists, with the rest as it is written; `..` in the rest leads nowhere.
fn real(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut at = path;
    loop {
        if let Ok(found) = fs::canonicalize(at) {
            return rest.iter().rev().fold(found, |path, part| path.join(part));
        }
        match (at.parent(), at.file_name()) {
            (Some(parent), Some(name)) => {
                rest.push(name);
                at = parent;
            }
            _ => return path.to_path_buf(),
        }
    }
}

/// The IPv4 address in an IPv6 one (RFC 4291 section 2.5.5.2, and NAT64's well-known prefix, RFC 6052), so that a rule sees where it leads.
fn plain(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::from([a, b, c, d])
        }
        ip => ip,
    }
}

fn is_metadata(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    link_local || METADATA.iter().any(|known| known.parse() == Ok(ip))
}

fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase()
}

/// HTTP clients whose every dial the policy has allowed. They follow no redirect and use no proxy: both would be dials that nobody asked for.
#[derive(Debug, Clone)]
pub struct Dialer {
    policy: Arc<Policy>,
    /// For literal addresses, checked before, and for the names that a rule names: whatever they resolve to is allowed.
    by_name: Client,
    /// For other names: each address that they resolve to is checked.
    by_address: Client,
}

impl Dialer {
    /// Makes the clients; `configure` adds timeouts and headers. Errors: the platform has no TLS roots.
    pub fn new(policy: Arc<Policy>, configure: impl Fn(ClientBuilder) -> ClientBuilder) -> Result<Self, reqwest::Error> {
        // An error says that the process has a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let build = || configure(Client::builder()).redirect(reqwest::redirect::Policy::none()).no_proxy();
        let by_name = build().build()?;
        let by_address = build().dns_resolver(Arc::new(CheckedDns { policy: policy.clone() })).build()?;
        Ok(Self { policy, by_name, by_address })
    }

    /// The client by which `url` may be asked. A name's addresses are checked at each dial: see [`denied`].
    pub fn client(&self, url: &Url) -> Result<&Client, Denied> {
        let host = bare(url.host_str().unwrap_or_default());
        let port = url.port_or_known_default().unwrap_or_default();
        if let Ok(ip) = host.parse::<IpAddr>() {
            self.policy.check_addr(SocketAddr::new(ip, port), &host)?;
            return Ok(&self.by_name);
        }
        Ok(if self.policy.names_host(&host, port) { &self.by_name } else { &self.by_address })
    }
}

/// The policy's word in a failed request, if it was that.
pub fn denied(error: &reqwest::Error) -> Option<&Denied> {
    let mut cause = Some(error as &(dyn std::error::Error + 'static));
    while let Some(error) = cause {
        if let Some(denied) = error.downcast_ref() {
            return Some(denied);
        }
        cause = error.source();
    }
    None
}

/// Resolves names to the addresses that the policy allows whatever the port: a resolver is not told the port.
struct CheckedDns {
    policy: Arc<Policy>,
}

impl Resolve for CheckedDns {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.policy.clone();
        Box::pin(async move {
            let (allowed, refused): (Vec<_>, Vec<_>) =
                tokio::net::lookup_host((name.as_str(), 0)).await?.partition(|address| policy.allows_address(plain(address.ip())));
            match (allowed.is_empty(), refused.first()) {
                (true, Some(address)) => {
                    let to = format!("{} ({})", name.as_str(), address.ip());
                    Err(Denied::Connect { to, rule: address.ip().to_string() }.into())
                }
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests;
