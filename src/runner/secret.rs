//! Secrets are references in a spec; they are resolved on the node that uses them, and never leave it (DESIGN §8.4).

use std::{collections::BTreeMap, io::Read, path::Path};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::policy::Policy;

/// A token or a password, not a file of somebody's.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The headers of a spec with their secrets resolved. Values are marked sensitive, so that no debug output shows them.
///
/// Errors: what is wrong with which header, for people; never its value. Blocks on the disk.
pub fn headers(policy: &Policy, headers: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let key: HeaderName = name.parse().map_err(|_| format!("`{name}` is not a header's name"))?;
        let text = resolve(policy, value).map_err(|error| format!("header `{name}`: {error}"))?;
        let mut value = HeaderValue::from_str(&text).map_err(|_| format!("header `{name}`: its value has characters that no header may have"))?;
        value.set_sensitive(true);
        map.insert(key, value);
    }
    Ok(map)
}

/// The text that `value` stands for: `secret://env/NAME`, `secret://file/PATH` (an absolute path that the policy lets runners read; white space
/// around its content does not count), or the value itself.
pub(crate) fn resolve(policy: &Policy, value: &str) -> Result<String, String> {
    let Some(reference) = value.strip_prefix("secret://") else { return Ok(value.to_owned()) };
    if let Some(name) = reference.strip_prefix("env/") {
        // The agent's own variables hold the cluster key: who may write runners must not be able to send it away.
        if name.starts_with("LOGVINE_") {
            return Err(format!("the agent's own variable {name} is no secret of runners; use another name"));
        }
        return std::env::var(name).map_err(|_| format!("the agent has no environment variable {name}"));
    }
    if let Some(path) = reference.strip_prefix("file") {
        let file = policy.open_read(Path::new(path)).map_err(|error| error.to_string())?;
        let mut text = String::new();
        file.take(SECRET_BYTES_MAX).read_to_string(&mut text).map_err(|error| format!("cannot read {path}: {error}"))?;
        return Ok(text.trim().to_owned());
    }
    Err("a secret is written secret://env/NAME or secret://file/PATH".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyConfig;

    fn one(policy: &Policy, value: &str) -> Result<HeaderMap, String> {
        headers(policy, &[("authorization".to_owned(), value.to_owned())].into())
    }

    #[test]
    fn a_secret_of_a_file_is_read_and_not_shown() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        std::fs::write(&path, "Bearer of-good-news\n").unwrap();
        let policy = Policy::new(&PolicyConfig::default(), false, &place.path().join("data"));
        let map = one(&policy, &format!("secret://file{}", path.display())).unwrap();
        assert_eq!(map["authorization"], "Bearer of-good-news");
        assert!(!format!("{map:?}").contains("news"));
    }

    #[test]
    fn a_secret_file_that_the_policy_forbids_is_not_read() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        std::fs::write(&path, "hush").unwrap();
        let policy = Policy::new(&PolicyConfig { read: vec!["/var/log".into()], ..PolicyConfig::default() }, false, &place.path().join("data"));
        let error = one(&policy, &format!("secret://file{}", path.display())).unwrap_err();
        assert!(error.contains("--allow-read") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn what_is_wrong_with_a_secret_is_told() {
        let policy = Policy::new(&PolicyConfig::default(), false, Path::new("/nowhere"));
        assert_eq!(
            one(&policy, "secret://env/NO_SUCH_VARIABLE").unwrap_err(),
            "header `authorization`: the agent has no environment variable NO_SUCH_VARIABLE"
        );
        assert!(one(&policy, "secret://env/LOGVINE_CLUSTER_KEY").unwrap_err().contains("agent's own"));
        assert!(one(&policy, "secret://vault/x").unwrap_err().contains("secret://env/NAME"));
    }
}
