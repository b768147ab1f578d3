//! Who may ask: Host on every request, Origin on every write, tokens with roles (DESIGN §8.4).

use std::{collections::BTreeSet, fmt, fs, net::IpAddr, path::Path};

use anyhow::{Context, bail};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{ApiError, App, console};
use crate::config::Config;

/// What a caller may do; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    View,
    Operate,
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::View => "view",
            Self::Operate => "operate",
            Self::Admin => "admin",
        })
    }
}

impl std::str::FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::View, Self::Operate, Self::Admin].into_iter().find(|role| role.to_string() == text).ok_or(())
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) role: Role,
    /// Whose token it is, where the token file says it.
    name: Option<String>,
}

/// As the audit has it. What stands in brackets is always the role: a name cannot pass for one.
impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.role),
            None => self.role.fmt(f),
        }
    }
}

impl From<Role> for Who {
    fn from(role: Role) -> Self {
        Self { role, name: None }
    }
}

/// A name is in every operation, in every node's catalog.
const NAME_BYTES_MAX: usize = 64;

/// A token's SHA-256. Tokens are 32 random bytes, so a slow hash would protect nothing that they do not.
type TokenHash = [u8; 32];

/// The hash of a token, as the token file has it.
pub fn token_hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// Who may ask.
#[derive(Debug)]
pub struct Access {
    /// None: no tokens are asked for, and everybody is an admin.
    tokens: Option<Vec<(Who, TokenHash)>>,
    names: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
    /// Bound to all interfaces: each of their addresses is ours. A page cannot fake an address, only a name (DNS rebinding).
    any_address: bool,
}

impl Access {
    /// Reads the token file, if one is configured. Errors: it cannot be read, or a line of it is none.
    pub fn load(config: &Config) -> anyhow::Result<Self> {
        let tokens = config.token_file.as_deref().map(read_tokens).transpose()?;
        let mut names: BTreeSet<String> = config.http_hosts.iter().cloned().collect();
        if config.http.ip().is_loopback() || config.http.ip().is_unspecified() {
            names.insert("localhost".to_owned());
        }
        let addresses = [config.http.ip(), config.bind, config.advertise].into_iter().collect();
        Ok(Self { tokens, names, addresses, any_address: config.http.ip().is_unspecified() })
    }

    fn knows_host(&self, host: &str) -> bool {
        let name = host_name(host);
        match name.parse::<IpAddr>() {
            Ok(address) => self.any_address || address.is_loopback() || self.addresses.contains(&address),
            Err(_) => self.names.contains(&name.to_ascii_lowercase()),
        }
    }

    fn who(&self, headers: &HeaderMap) -> Result<Who, ApiError> {
        let Some(tokens) = &self.tokens else { return Ok(Role::Admin.into()) };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let hash: TokenHash = Sha256::digest(given.unwrap_or_default().trim().as_bytes()).into();
        // Every line is compared, whichever fits.
        let whose = tokens.iter().filter(|(_, known)| bool::from(known.ct_eq(&hash))).map(|(who, _)| who);
        whose.max_by_key(|who| who.role).filter(|_| given.is_some()).cloned().ok_or_else(ApiError::no_token)
    }
}

/// The host of a `Host` header, its port and an IPv6 address's brackets aside.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn read_tokens(path: &Path) -> anyhow::Result<Vec<(Who, TokenHash)>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read the token file {}; check --token-file and its permissions", path.display()))?;
    let mut tokens = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let mut hash = TokenHash::default();
        let role = words.next().and_then(|word| word.parse::<Role>().ok());
        let hashed = words.next().is_some_and(|word| hex::decode_to_slice(word, &mut hash).is_ok());
        match role {
            Some(role) if hashed => {
                let name = words.next().map(str::to_owned);
                if name.as_ref().is_some_and(|name| name.len() > NAME_BYTES_MAX) {
                    bail!("{}:{}: the name of a token's holder is at most {NAME_BYTES_MAX} bytes long", path.display(), at + 1);
                }
                tokens.push((Who { role, name }, hash));
            }
            _ => bail!(
                "{}:{}: a line is `ROLE SHA256-HEX [NAME]`, ROLE being view, operate or admin: `logvine keygen --token ROLE` makes one",
                path.display(),
                at + 1
            ),
        }
    }
    if tokens.is_empty() {
        bail!("there is no token in {}: `logvine keygen --token ROLE` makes one", path.display());
    }
    Ok(tokens)
}

/// Lets a request through, or not, and gives the answer the headers that every answer has.
pub(super) async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let checked = check(&app, &request);
    let mut response = match checked {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in ANSWER_HEADERS {
        // The console's page has a policy of its own, with its nonce.
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if path.starts_with("/v1") {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// What anybody may read.
pub(super) const OPEN: [&str; 4] = ["/", "/livez", "/readyz", "/openapi.json"];

const ANSWER_HEADERS: [(header::HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
];

fn check(app: &App, request: &Request) -> Result<Who, ApiError> {
    let access = app.access();
    let headers = request.headers();
    // HTTP/2 has its host in the URI.
    let host = request.uri().authority().map(|authority| authority.as_str());
    let host = host.or_else(|| headers.get(header::HOST)?.to_str().ok()).unwrap_or_default();
    if !access.knows_host(host) {
        return Err(ApiError::wrong_host(host));
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("?");
        let same = origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
        if !same {
            return Err(ApiError::wrong_origin(origin));
        }
    }
    // A load balancer has no token, and neither these answers nor the console's files hold anything of the cluster.
    let path = request.uri().path();
    if reads && (OPEN.contains(&path) || path.starts_with("/assets/") || console::is_page(request)) {
        return Ok(Role::View.into());
    }
    let who = access.who(headers)?;
    let wanted = match request.uri().path() {
        // What logs say is more than what the cluster does.
        path if path.starts_with("/v1/runners/") && path.ends_with("/tap") => Role::Operate,
        _ if reads => Role::View,
        // A question that is too long for a path.
        "/v1/plan" => Role::View,
        // Who gives keys decides who is in the cluster.
        path if path == "/v1/keys" || path.starts_with("/v1/keys/") => Role::Admin,
        _ => Role::Operate,
    };
    if who.role < wanted { Err(ApiError::role(&who.role.to_string(), &wanted.to_string())) } else { Ok(who) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(tokens: Option<Vec<(Who, TokenHash)>>) -> Access {
        Access {
            tokens,
            names: ["localhost".to_owned(), "logs.example".to_owned()].into(),
            addresses: ["10.0.0.5".parse().unwrap()].into(),
            any_address: false,
        }
    }

    /// DNS rebinding: a page's own name may resolve to our address, but it stays in the Host header.
    #[test]
    fn only_names_of_this_node_are_answered() {
        let access = access(None);
        for host in ["localhost", "localhost:7948", "127.0.0.3:7948", "[::1]:7948", "10.0.0.5", "LOGS.example"] {
            assert!(access.knows_host(host), "{host}");
        }
        for host in ["", "evil.example", "evil.example:7948", "10.0.0.6", "localhost.evil.example", "127.0.0.1.evil.example"] {
            assert!(!access.knows_host(host), "{host}");
        }
    }

    #[test]
    fn a_token_gives_its_role_and_another_gives_none() {
        let access = access(Some(vec![(Role::View.into(), Sha256::digest("v").into()), (Role::Operate.into(), Sha256::digest("o").into())]));
        let role = |value: &'static str| {
            access.who(&HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))])).ok().map(|who| who.role)
        };
        assert_eq!((role("Bearer v"), role("Bearer o")), (Some(Role::View), Some(Role::Operate)));
        assert_eq!((role("Bearer x"), role("Basic v"), role("Bearer ")), (None, None, None));
        assert!(access.who(&HeaderMap::new()).is_err());
    }

    #[test]
    fn a_token_file_with_a_bad_line_is_refused_with_its_number() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("tokens");
        fs::write(&path, format!("# ours\nview {} dashboard\n", token_hash("v"))).unwrap();
        assert_eq!(read_tokens(&path).unwrap().len(), 1);
        assert_eq!(read_tokens(&path).unwrap()[0].0.to_string(), "dashboard (view)");
        fs::write(&path, format!("view {} {}\n", token_hash("v"), "d".repeat(NAME_BYTES_MAX + 1))).unwrap();
        assert!(read_tokens(&path).expect_err("a name that fills the catalog").to_string().contains("tokens:1:"));
        fs::write(&path, format!("view {}\nroot abc\n", token_hash("v"))).unwrap();
        let message = read_tokens(&path).expect_err("a bad line").to_string();
        assert!(message.contains("tokens:2:") && message.contains("keygen --token"), "{message}");
        fs::write(&path, "").unwrap();
        assert!(read_tokens(&path).is_err());
    }
}
