//! The `s3` sender as people write it.

use serde::{Deserialize, Serialize};

use super::{
    super::{faults::Faults, when::WhenSpec},
    Compression, timeout_ms,
};
use crate::name::Name;

/// `type = "s3"`: objects of NDJSON in a bucket of Amazon's S3 or of a server that speaks it, such as MinIO, Ceph or R2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct S3SenderSpec {
    /// Unique in the runner; its checkpoint is kept under this name.
    pub name: Name,
    /// Which records go there; absent: every record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Box<WhenSpec>>,
    /// Where the server is, without the bucket: `https://s3.eu-central-1.amazonaws.com`, `http://minio:9000`.
    pub endpoint: String,
    /// The region that requests are signed for. Servers other than Amazon's mostly do not mind.
    #[serde(default = "region")]
    pub region: String,
    /// A bucket that is there.
    pub bucket: String,
    /// The objects' keys. `{id}` must be in it and stands for a hash of the ids of the object's records, so that an object that is written again takes
    /// the place of its first; `{date}` (2026-11-22) and `{hour}` (15) are those of the first attempt, in UTC; `{runner}` and `{node}` are names. What
    /// is compressed gets `.gz` or `.zst` at the end.
    #[serde(default = "key")]
    pub key: String,
    /// The access key's id; it may be a secret.
    pub access_key_id: String,
    /// The access key, as a secret (`secret://env/NAME`, `secret://file/PATH`).
    pub secret_access_key: String,
    /// The token of temporary credentials, as a secret (`secret://env/NAME`, `secret://file/PATH`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
    /// How objects are compressed.
    #[serde(default = "Compression::gzip")]
    pub compression: Compression,
    /// An object is written once it has so many bytes before compression (65,536 to 67,108,864), …
    #[serde(default = "object_bytes")]
    pub object_bytes: u64,
    /// … once its first records have waited so long, in milliseconds (100 to 10,000), or once a source may not send more before these are acknowledged.
    #[serde(default = "linger_ms")]
    pub linger_ms: u64,
    /// Longest wait for an answer, in milliseconds (100 to 600,000).
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
}

fn region() -> String {
    "us-east-1".to_owned()
}

fn key() -> String {
    "{runner}/{date}/{node}-{id}.ndjson".to_owned()
}

fn object_bytes() -> u64 {
    8 << 20
}

fn linger_ms() -> u64 {
    5_000
}

/// As S3 has it, less what the end and the names may add.
const KEY_BYTES_MAX: usize = 512;

impl S3SenderSpec {
    pub(super) fn check(&self, pointer: &str, faults: &mut Faults) {
        faults.url(format!("{pointer}/endpoint"), &self.endpoint);
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
        if self.region.is_empty() || !is_plain(&self.region) {
            faults.add(format!("{pointer}/region"), "must be a region's name, such as eu-central-1");
        }
        if !(3..=63).contains(&self.bucket.len()) || !is_plain(&self.bucket) {
            faults.add(format!("{pointer}/bucket"), "must be 3 to 63 of a-z, 0-9, `.` and `-`, such as logs-2026");
        }
        let plain = ["{date}", "{hour}", "{runner}", "{node}", "{id}"].into_iter().fold(self.key.clone(), |key, word| key.replace(word, "x"));
        let is_key =
            plain.split('/').all(|part| !matches!(part, "" | "." | "..")) && !plain.contains(['{', '}']) && !plain.contains(char::is_control);
        if !is_key || !self.key.contains("{id}") || self.key.len() > KEY_BYTES_MAX {
            let detail = "must be a key of 512 bytes at most with {id} in it, such as {runner}/{date}/{node}-{id}.ndjson; it may have {date}, {hour}, \
                          {runner} and {node}, and no part of it is empty, `.` or `..`";
            faults.add(format!("{pointer}/key"), detail);
        }
        for (field, value) in [("secret_access_key", Some(&self.secret_access_key)), ("session_token", self.session_token.as_ref())] {
            if value.is_some_and(|value| !value.starts_with("secret://")) {
                let detail = "is a secret, which every node and whoever may look would see here: write secret://env/NAME or secret://file/PATH";
                faults.add(format!("{pointer}/{field}"), detail);
            }
        }
        if self.access_key_id.is_empty() {
            faults.add(format!("{pointer}/access_key_id"), "must be the access key's id, or a secret such as secret://env/S3_ACCESS_KEY_ID");
        }
        faults.range(format!("{pointer}/object_bytes"), self.object_bytes, 64 << 10, 64 << 20);
        faults.range(format!("{pointer}/linger_ms"), self.linger_ms, 100, 10_000);
        faults.range(format!("{pointer}/timeout_ms"), self.timeout_ms, 100, 600_000);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn faults(extra: &Value) -> Vec<String> {
        let mut spec = json!({
            "name": "s", "endpoint": "http://minio:9000", "bucket": "logs", "access_key_id": "logvine", "secret_access_key": "secret://env/S3_KEY",
        });
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let mut faults = Faults::default();
        serde_json::from_value::<S3SenderSpec>(spec).unwrap().check("", &mut faults);
        faults.0.into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(faults(&json!({"key": "{date}/{hour}/{runner}/{node}/{id}", "session_token": "secret://file/t"})), [""; 0]);
        assert_eq!(faults(&json!({"endpoint": "minio:9000"})), ["/endpoint"]);
        assert_eq!(faults(&json!({"endpoint": "http://me:pw@minio:9000"})), ["/endpoint"]);
        for bucket in ["ab", "Logs", "logs/2026"] {
            assert_eq!(faults(&json!({"bucket": bucket})), ["/bucket"], "{bucket}");
        }
        for key in ["{date}", "/{id}", "a//{id}", "../{id}", "{id}/{source}", "{id}/"] {
            assert_eq!(faults(&json!({"key": key})), ["/key"], "{key}");
        }
        assert_eq!(
            faults(&json!({"region": "", "secret_access_key": "k", "session_token": "t"})),
            ["/region", "/secret_access_key", "/session_token"]
        );
        assert_eq!(faults(&json!({"object_bytes": 1, "linger_ms": 1, "timeout_ms": 1})), ["/object_bytes", "/linger_ms", "/timeout_ms"]);
    }
}
