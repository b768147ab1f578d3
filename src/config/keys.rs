//! The table of settings: one row gives the flag, the variable, the key of the file, the default and the help.

/// What a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Switch,
    /// Repeatable as a flag, comma-separated anywhere, an array in the file.
    List,
}

/// What holds when nothing is said.
#[derive(Debug, Clone, Copy)]
pub(super) enum Preset {
    Fixed(&'static [&'static str]),
    /// Depends on the host or on other settings: the words for people, and an example for the file.
    Derived(&'static str, &'static str),
}

/// One setting.
#[derive(Debug)]
pub(super) struct Key {
    /// The key in the file; what is after a dot is in the table before it.
    pub(super) path: &'static str,
    /// Without the dashes.
    pub(super) flag: &'static str,
    pub(super) kind: Kind,
    pub(super) value_name: &'static str,
    pub(super) preset: Preset,
    pub(super) help: &'static str,
}

impl Key {
    /// Its variable: `LOGVINE_` and the flag in capitals.
    pub(super) fn variable(&self) -> String {
        format!("LOGVINE_{}", self.flag.to_uppercase().replace('-', "_"))
    }
}

/// The row of `path`. Panics for a path that is not in the table: the callers are in this module.
pub(super) fn key(path: &str) -> &'static Key {
    KEYS.iter().find(|key| key.path == path).expect("the table has every key that is read")
}

const fn text(path: &'static str, flag: &'static str, value_name: &'static str, preset: Preset, help: &'static str) -> Key {
    Key { path, flag, kind: Kind::Text, value_name, preset, help }
}

const fn list(path: &'static str, flag: &'static str, value_name: &'static str, preset: Preset, help: &'static str) -> Key {
    Key { path, flag, kind: Kind::List, value_name, preset, help }
}

const fn port(path: &'static str, flag: &'static str, preset: Preset, help: &'static str) -> Key {
    Key { path, flag, kind: Kind::Number, value_name: "PORT", preset, help }
}

const NONE: Preset = Preset::Fixed(&[]);

/// Every setting. Keys of tables come last, as TOML wants it.
pub(super) static KEYS: &[Key] = &[
    text("name", "name", "NAME", Preset::Derived("this host's name", "web-1"), "This node's name, for people: a-z, 0-9, `.`, `_`, `-`"),
    text(
        "data_dir",
        "data-dir",
        "DIR",
        Preset::Derived("/var/lib/logvine for root, else ~/.local/state/logvine", "/var/lib/logvine"),
        "Where this node keeps its identity and its store. One agent at a time",
    ),
    text("bind", "bind", "IP", Preset::Fixed(&["127.0.0.1"]), "The address that other nodes reach this one at"),
    port("gossip_port", "gossip-port", Preset::Fixed(&["7946"]), "The UDP port of gossip"),
    text(
        "gossip_preset",
        "gossip-preset",
        "PRESET",
        Preset::Fixed(&["lan"]),
        "How patient gossip is: `lan`, or `wan` for nodes far apart. Alike on all nodes of a cluster",
    ),
    port("quic_port", "quic-port", Preset::Fixed(&["7947"]), "The UDP port of calls between nodes (QUIC)"),
    text(
        "http",
        "http",
        "ADDR[:PORT]",
        Preset::Derived("`bind` if that is loopback, else 127.0.0.1; port 7948", "127.0.0.1:7948"),
        "Where the API and the console listen (TCP). Beyond loopback it wants `http_cert`, `http_key` and `token_file`",
    ),
    text(
        "advertise",
        "advertise",
        "IP",
        Preset::Derived("`bind`", "10.0.0.5"),
        "The address that other nodes are told, where it is not `bind` (0.0.0.0)",
    ),
    list(
        "join",
        "join",
        "HOST[:PORT]",
        NONE,
        "Seeds: some nodes of the cluster. The port is their gossip port; without one, this node's own. Retried for ever",
    ),
    list("tags", "tag", "TAG", NONE, "Tags of this node; operators can add and remove tags by the API"),
    text(
        "cluster_key_file",
        "cluster-key-file",
        "FILE",
        Preset::Derived("on loopback, a key made once in the user's configuration directory", "/etc/logvine/cluster.key"),
        "The key that all nodes of the cluster share (`logvine keygen`)",
    ),
    text(
        "grace",
        "grace",
        "DURATION",
        Preset::Fixed(&["60s"]),
        "How long others wait for this node to come back after a SIGTERM before they take its sources (0s to 300s)",
    ),
    text("http_cert", "http-cert", "FILE", Preset::Derived("no TLS", "/etc/logvine/http.crt"), "The API's certificate chain (PEM)"),
    text("http_key", "http-key", "FILE", Preset::Derived("no TLS", "/etc/logvine/http.key"), "The key of `http_cert` (PEM)"),
    text(
        "token_file",
        "token-file",
        "FILE",
        Preset::Derived("no tokens are asked for", "/etc/logvine/tokens"),
        "Who may use the API: lines of `ROLE SHA256-HEX [NAME]`, ROLE being view, operate or admin; NAME is whose it is, for the audit",
    ),
    Key {
        path: "insecure_http",
        flag: "insecure-http",
        kind: Kind::Switch,
        value_name: "BOOL",
        preset: Preset::Fixed(&["false"]),
        help: "Serve the API beyond loopback without TLS and tokens: whoever reaches it is an operator",
    },
    list("http_hosts", "http-host", "HOST", NONE, "Further names that the API may be called by (Host header), as behind a proxy"),
    text(
        "log",
        "log",
        "FILTER",
        Preset::Fixed(&["info"]),
        "What is logged to standard error: off, error, warn, info, debug, trace, or `target=level` terms",
    ),
    text("log_format", "log-format", "FORMAT", Preset::Fixed(&["text"]), "How it is logged: text or json"),
    list(
        "policy.read",
        "allow-read",
        "PATH",
        Preset::Derived("where `bind` and `http` are loopback, all that this user can read; else /var/log", "/var/log"),
        "Where runners may read files on this node",
    ),
    list(
        "policy.write",
        "allow-write",
        "PATH",
        Preset::Derived("where `bind` and `http` are loopback, all that this user can write; else `data_dir`", "/var/lib/logvine"),
        "Where runners may write files on this node",
    ),
    list(
        "policy.connect",
        "allow-connect",
        "CIDR|HOST:PORT|any",
        Preset::Derived("where `bind` and `http` are loopback, anything; else anything but link-local and metadata addresses", "10.0.0.0/8"),
        "Where runners may connect to from this node",
    ),
    list(
        "policy.listen",
        "allow-listen",
        "CIDR|ADDR:PORT|any",
        Preset::Derived("loopback only", "10.0.0.5:514"),
        "Where runners may listen on this node, besides loopback",
    ),
];
