//! Addresses as people write them.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

/// A seed: a host, by name or address, and its gossip port; None: this node's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    pub host: String,
    pub port: Option<u16>,
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = self.host.contains(':');
        match (self.port, bracketed) {
            (Some(port), true) => write!(f, "[{}]:{port}", self.host),
            (Some(port), false) => write!(f, "{}:{port}", self.host),
            (None, _) => f.write_str(&self.host),
        }
    }
}

impl Seed {
    /// Reads `HOST`, `HOST:PORT`, `[V6]:PORT` or a bare IPv6 address.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            |why: &str| format!("`{text}` is not a seed ({why}): write a host name or an IP address, with `:PORT` if it is not this node's own");
        let (host, rest) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("`[` without `]`"))?;
                host.parse::<Ipv6Addr>().map_err(|_| wrong("in brackets stands an IPv6 address"))?;
                (host, rest)
            }
            None if text.parse::<Ipv6Addr>().is_ok() => (text, ""),
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match rest.strip_prefix(':') {
            Some(digits) => Some(port(digits).map_err(|error| wrong(&error))?),
            None if rest.is_empty() => None,
            None => return Err(wrong("after `]` comes `:PORT` or nothing")),
        };
        let address = host.parse::<IpAddr>().is_ok();
        // A host of digits and dots that is no address is a mistyped address, not a name to look up for ever.
        let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let named = !numeric && host.len() <= 253 && host.split('.').all(label);
        if address || named { Ok(Self { host: host.to_owned(), port }) } else { Err(wrong("this is neither a host name nor an IP address")) }
    }
}

/// RFC 1123 section 2.1, and the underscore that container networks use.
fn label(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=63).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-') && !text.ends_with('-')
}

pub(super) fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an IP address: write one like 10.0.0.5 or fd00::5"))
}

/// Refuses addresses that nobody can send to.
pub(super) fn reachable(ip: IpAddr) -> Result<IpAddr, String> {
    if ip.is_unspecified() || ip.is_multicast() {
        Err(format!("`{ip}` is not an address that others can reach: write this node's own"))
    } else {
        Ok(ip)
    }
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("`{text}` is not a port: 1 to 65535")),
    }
}

/// Reads `ADDR`, `ADDR:PORT`, `[V6]:PORT`.
pub(super) fn socket(text: &str, default_port: u16) -> Result<SocketAddr, String> {
    let address = match (text.parse::<SocketAddr>(), text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>()) {
        (Ok(address), _) => address,
        (_, Ok(ip)) => SocketAddr::new(ip, default_port),
        _ => return Err(format!("`{text}` is not an address: write `IP` or `IP:PORT`, like 127.0.0.1:{default_port}")),
    };
    if address.port() == 0 { Err(format!("`{text}`: 0 is not a port: 1 to 65535")) } else { Ok(address) }
}
