//! What may be wrong with a spec, and how it is said.

use std::collections::BTreeMap;

/// A fault of a spec, with the place as a JSON pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {detail}")]
pub struct SpecFault {
    pub pointer: String,
    pub detail: String,
}

fn is_http(url: &str) -> bool {
    url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).is_some_and(|rest| !rest.is_empty())
}

/// Whether a URL has a user or a password before its host (RFC 3986 section 3.2.1).
fn has_user(url: &str) -> bool {
    let after = url.split_once("://").map_or(url, |(_, rest)| rest);
    after.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

/// Headers whose values are secrets whatever they are.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];

/// What is wrong with a spec, as far as it has been looked at.
#[derive(Default)]
pub(super) struct Faults(pub(super) Vec<SpecFault>);

impl Faults {
    pub(super) fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push(SpecFault { pointer: pointer.into(), detail: detail.into() });
    }

    pub(super) fn url(&mut self, pointer: impl Into<String>, url: &str) {
        let pointer = pointer.into();
        if !is_http(url) {
            self.add(pointer, "must begin with http:// or https://");
        } else if has_user(url) {
            // Everybody who may look sees a spec, and every node has it.
            self.add(pointer, "must have no user or password in it: put `authorization = \"secret://file/PATH\"` among the headers");
        }
    }

    pub(super) fn headers(&mut self, pointer: &str, headers: &BTreeMap<String, String>) {
        for (name, value) in headers {
            if SECRET_HEADERS.contains(&name.to_ascii_lowercase().as_str()) && !value.starts_with("secret://") {
                let detail = "is a secret, which every node and whoever may look would see here: write secret://env/NAME or secret://file/PATH";
                self.add(format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")), detail);
            }
        }
    }

    pub(super) fn range(&mut self, pointer: impl Into<String>, value: u64, least: u64, most: u64) {
        if !(least..=most).contains(&value) {
            self.add(pointer, format!("{value} is not from {least} to {most}"));
        }
    }
}
