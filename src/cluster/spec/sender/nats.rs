//! The `nats` sender as people write it.

use serde::{Deserialize, Serialize};

use super::{
    super::{faults::Faults, when::WhenSpec},
    timeout_ms,
};
use crate::name::Name;

/// `type = "nats"`: messages to a JetStream stream, each with the record's id, by which the stream knows repeats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NatsSenderSpec {
    /// Unique in the runner; its checkpoint is kept under this name.
    pub name: Name,
    /// Which records go there; absent: every record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Box<WhenSpec>>,
    /// Servers of one NATS cluster, tried in their order: `nats://HOST:4222`, or `tls://HOST:4222`.
    pub servers: Vec<String>,
    /// A subject that a stream takes; `{runner}` and `{node}` stand for the names of the two, such as `logs.{runner}`.
    pub subject: String,
    /// A token, as a secret (`secret://env/NAME`, `secret://file/PATH`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// A user, whose `password` goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's password, as a secret (`secret://env/NAME`, `secret://file/PATH`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Longest wait for a connection, and for an acknowledgement, in milliseconds (100 to 600,000).
    #[serde(default = "timeout_ms")]
    #[cfg_attr(feature = "schema", schema(default = timeout_ms, minimum = 100, maximum = 600_000))]
    pub timeout_ms: u64,
}

/// More than a NATS cluster has.
const SERVERS_MAX: usize = 32;

impl NatsSenderSpec {
    pub(super) fn check(&self, pointer: &str, faults: &mut Faults) {
        if self.servers.is_empty() || self.servers.len() > SERVERS_MAX {
            faults.add(format!("{pointer}/servers"), format!("has {}; it takes 1 to {SERVERS_MAX}, such as nats://HOST:4222", self.servers.len()));
        }
        for (at, server) in self.servers.iter().enumerate() {
            let host = server.strip_prefix("nats://").or_else(|| server.strip_prefix("tls://"));
            if host.is_none_or(|host| host.is_empty() || host.contains(['/', '@', '?', '#']) || host.contains(char::is_whitespace)) {
                faults.add(format!("{pointer}/servers/{at}"), "must be nats://HOST:PORT or tls://HOST:PORT, without a user, a password or a path");
            }
        }
        let plain = self.subject.replace("{runner}", "r").replace("{node}", "n");
        let is_subject =
            plain.split('.').all(|token| !token.is_empty() && !token.contains(['*', '>', '{', '}']) && !token.contains(char::is_whitespace));
        if !is_subject {
            faults.add(format!("{pointer}/subject"), "must be words with dots between them, without * and >, such as logs.{runner}");
        }
        for (field, value) in [("token", &self.token), ("password", &self.password)] {
            if value.as_ref().is_some_and(|value| !value.starts_with("secret://")) {
                let detail = "is a secret, which every node and whoever may look would see here: write secret://env/NAME or secret://file/PATH";
                faults.add(format!("{pointer}/{field}"), detail);
            }
        }
        if self.user.is_some() != self.password.is_some() {
            faults.add(format!("{pointer}/user"), "needs its `password`, and a password its `user`");
        }
        faults.range(format!("{pointer}/timeout_ms"), self.timeout_ms, 100, 600_000);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn faults(extra: &Value) -> Vec<String> {
        let mut spec = json!({"name": "n", "servers": ["nats://nats:4222"], "subject": "logs.{runner}"});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let mut faults = Faults::default();
        serde_json::from_value::<NatsSenderSpec>(spec).unwrap().check("", &mut faults);
        faults.0.into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(faults(&json!({"servers": ["tls://[::1]:4222"], "token": "secret://env/T"})), [""; 0]);
        assert_eq!(faults(&json!({"servers": []})), ["/servers"]);
        assert_eq!(faults(&json!({"servers": ["nats://a:1", "nats://me:pw@a:1", "http://a"]})), ["/servers/1", "/servers/2"]);
        for subject in ["", "a..b", "logs.*", "logs.>", "a b", "{source}"] {
            assert_eq!(faults(&json!({"subject": subject})), ["/subject"], "{subject}");
        }
        assert_eq!(faults(&json!({"token": "t", "user": "u"})), ["/token", "/user"]);
    }
}
