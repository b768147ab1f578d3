//! Lines taken apart by the named groups of a regular expression. Linear in the line's length whatever the pattern (the regex crate).

use bytes::Bytes;
use logvine_cluster::spec::RegexParseSpec;

use super::{Fields, Taken, time};
use crate::record::Body;

#[derive(Debug)]
pub(super) struct Regex {
    pattern: regex::Regex,
    /// The group that holds the time, and its layout; RFC 3339 without one.
    time: Option<(String, Option<time::Layout>)>,
}

impl Regex {
    pub(super) fn new(spec: &RegexParseSpec) -> Result<Self, String> {
        let pattern = regex::Regex::new(&spec.pattern).map_err(|error| format!("the pattern is malformed: {error}"))?;
        if pattern.capture_names().flatten().next().is_none() {
            return Err("the pattern has no named group: write (?<name>…) for each field".to_owned());
        }
        let layout = spec.time_layout.as_deref().map(time::Layout::new).transpose()?;
        let time = match &spec.time {
            Some(group) if !pattern.capture_names().flatten().any(|name| name == group) => {
                return Err(format!("the pattern has no group `{group}` to hold the time"));
            }
            Some(group) => Some((group.clone(), layout)),
            None if layout.is_some() => return Err("`time_layout` needs `time`: name the group that holds the time".to_owned()),
            None => None,
        };
        Ok(Self { pattern, time })
    }

    pub(super) fn parse(&self, line: &Bytes) -> Taken {
        let text = String::from_utf8_lossy(line);
        let found = self.pattern.captures(&text).ok_or("the line does not match the pattern")?;
        let groups = self.pattern.capture_names().flatten().filter_map(|name| Some((name, found.name(name)?.as_str())));
        let fields: Fields = groups.map(|(name, value)| (name.to_owned(), value.into())).collect();
        let text = self.time.as_ref().and_then(|(group, layout)| Some((found.name(group)?.as_str(), layout)));
        let micros = text.map(|(text, layout)| layout.as_ref().map_or_else(|| time::of_text(text), |layout| layout.read(text)));
        Ok((Body::Object(fields), micros.transpose()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stage(pattern: &str, time: Option<&str>, time_layout: Option<&str>) -> Result<Regex, String> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Regex::new(&RegexParseSpec { pattern: pattern.to_owned(), time: own(time), time_layout: own(time_layout) })
    }

    #[test]
    fn named_groups_become_fields_and_one_the_time() {
        let stage = stage(r"^(?<at>\S+ \S+) (?<level>\w+)(?: (?<who>\w+):)? (.*)$", Some("at"), Some("%Y-%m-%d %H:%M:%S")).unwrap();
        let (body, time) = stage.parse(&Bytes::from("2026-11-21 23:26:09 WARN disk full")).unwrap();
        assert_eq!(body, Body::Object(json!({"at": "2026-11-21 23:26:09", "level": "WARN"}).as_object().unwrap().clone()));
        assert_eq!(time, Ok(Some(1_795_303_569_000_000)));
        assert!(stage.parse(&Bytes::from("no")).unwrap_err().contains("does not match"));
        assert!(stage.parse(&Bytes::from("2026-11-41 23:26:09 WARN x")).unwrap().1.unwrap_err().contains("is not a time"));
    }

    #[test]
    fn what_is_wrong_with_a_pattern_is_told() {
        assert!(stage("(?<a>", None, None).unwrap_err().contains("malformed"));
        assert!(stage("(a)", None, None).unwrap_err().contains("(?<name>…)"));
        assert!(stage("(?<a>.)", Some("b"), None).unwrap_err().contains("`b`"));
        assert!(stage("(?<a>.)", Some("a"), Some("%Q")).unwrap_err().contains("layout"));
        assert!(stage("(?<a>.)", None, Some("%Y")).unwrap_err().contains("needs `time`"));
    }
}
