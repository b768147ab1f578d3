//! Lines taken apart by the named groups of a regular expression. Linear in the line's length whatever the pattern (the regex crate).

use bytes::Bytes;
use logvine_cluster::spec::RegexParseSpec;

use super::{Fields, Known, Marks, Taken, Wrong};
use crate::record::Body;

#[derive(Debug)]
pub(super) struct Regex {
    pattern: regex::Regex,
    marks: Marks,
}

impl Regex {
    pub(super) fn new(spec: &RegexParseSpec) -> Result<Self, Wrong> {
        let pattern = regex::Regex::new(&spec.pattern).map_err(|error| Wrong::new("pattern", format!("is malformed: {error}")))?;
        if pattern.capture_names().flatten().next().is_none() {
            return Err(Wrong::new("pattern", "has no named group: write (?<name>…) for each field"));
        }
        let has = |field: &str| pattern.capture_names().flatten().any(|name| name == field);
        let marks = Marks::new(spec.time.as_deref(), spec.time_layout.as_deref(), spec.severity.as_deref(), has)?;
        Ok(Self { pattern, marks })
    }

    pub(super) fn parse(&self, line: &Bytes) -> Taken {
        let text = String::from_utf8_lossy(line);
        let found = self.pattern.captures(&text).ok_or("the line does not match the pattern")?;
        let mut fields = Fields::new();
        let mut known = Known::default();
        for name in self.pattern.capture_names().flatten() {
            if let Some(value) = found.name(name) {
                self.marks.note(&mut known, name, value.as_str());
                fields.insert(name.to_owned(), value.as_str().into());
            }
        }
        Ok((Body::Object(fields), known))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stage(pattern: &str, time: Option<&str>, time_layout: Option<&str>) -> Result<Regex, Wrong> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Regex::new(&RegexParseSpec { pattern: pattern.to_owned(), time: own(time), time_layout: own(time_layout), severity: None })
    }

    #[test]
    fn named_groups_become_fields_and_one_the_time() {
        let stage = stage(r"^(?<at>\S+ \S+) (?<level>\w+)(?: (?<who>\w+):)? (.*)$", Some("at"), Some("%Y-%m-%d %H:%M:%S")).unwrap();
        let (body, known) = stage.parse(&Bytes::from("2026-11-21 23:26:09 WARN disk full")).unwrap();
        assert_eq!(body, Body::Object(json!({"at": "2026-11-21 23:26:09", "level": "WARN"}).as_object().unwrap().clone()));
        assert_eq!(known.time, Some(1_795_303_569_000_000));
        assert!(stage.parse(&Bytes::from("no")).unwrap_err().contains("does not match"));
        assert!(stage.parse(&Bytes::from("2026-11-41 23:26:09 WARN x")).unwrap().1.error.unwrap().contains("is not a time"));
    }

    #[test]
    fn what_is_wrong_with_a_pattern_is_told() {
        assert!(stage("(?<a>", None, None).unwrap_err().to_string().contains("malformed"));
        assert!(stage("(a)", None, None).unwrap_err().to_string().contains("(?<name>…)"));
        assert!(stage("(?<a>.)", Some("b"), None).unwrap_err().to_string().contains("`b`"));
        assert!(stage("(?<a>.)", Some("a"), Some("%Q")).unwrap_err().to_string().contains("layout"));
        assert!(stage("(?<a>.)", None, Some("%Y")).unwrap_err().to_string().contains("needs `time`"));
    }
}
