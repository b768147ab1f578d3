//! The reader of journals as people write it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    faults::Faults,
    reader::{StartAt, line_bytes_max, poll_ms},
};

/// `type = "journal"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct JournalReaderSpec {
    /// Where to begin with a journal that was never read.
    #[serde(default)]
    pub start_at: StartAt,
    /// How often a journal that has been read to its end is asked again, in milliseconds (50 to 600,000).
    #[serde(default = "poll_ms")]
    #[cfg_attr(feature = "schema", schema(default = poll_ms, minimum = 50, maximum = 600_000))]
    pub poll_ms: u64,
    /// Longest entry, in bytes of its fields (256 to 16 MiB); of what is longer the fields that do not fit are left out, and it is marked.
    #[serde(default = "line_bytes_max")]
    #[cfg_attr(feature = "schema", schema(default = line_bytes_max, minimum = 256, maximum = 16_777_216))]
    pub line_bytes_max: usize,
    /// Only entries with these fields, such as `_SYSTEMD_UNIT = "nginx.service"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub matches: BTreeMap<String, String>,
    /// Headers sent with each request; a value may be a secret (`secret://env/NAME`, `secret://file/PATH`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl JournalReaderSpec {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.headers("/reader/headers", &self.headers);
        faults.range("/reader/poll_ms", self.poll_ms, 50, 600_000);
        faults.range("/reader/line_bytes_max", self.line_bytes_max as u64, 256, 16 << 20);
        for field in self.matches.keys() {
            // systemd.journal-fields(7).
            let is_field = !field.is_empty() && field.len() <= 64 && field.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'));
            if !is_field {
                let detail = "is no field of a journal: capital letters, digits and `_`, such as _SYSTEMD_UNIT";
                faults.add(format!("/reader/matches/{}", field.replace('~', "~0").replace('/', "~1")), detail);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_that_is_no_field_is_told() {
        let check = |reader: &str| {
            let mut faults = Faults::default();
            serde_json::from_str::<JournalReaderSpec>(reader).unwrap().check(&mut faults);
            faults.0.into_iter().map(|fault| fault.to_string()).collect::<Vec<_>>()
        };
        assert!(check(r#"{"matches":{"unit":"x"}}"#)[0].starts_with("/reader/matches/unit: is no field of a journal"));
        assert_eq!(check(r#"{"matches":{"_SYSTEMD_UNIT":"nginx.service"}}"#), [] as [String; 0]);
        assert_eq!(check(r#"{"poll_ms":1,"line_bytes_max":1}"#).len(), 2);
    }
}
