//! Grok: patterns with names, `%{NAME:field:type}`, translated into one regular expression.
//!
//! Linear in the line's length whatever the pattern (the regex crate).
//!
//! A name in brackets (`[http][status]`) becomes one with dots (`http.status`).
//! A pattern need not match the whole line: write `^` and `$` where it shall.

use std::collections::BTreeMap;

use bytes::Bytes;
use logvine_cluster::spec::GrokParseSpec;

use super::{Fields, Kind, Known, Marks, Taken, Wrong};
use crate::record::Body;

mod stock;

/// How deep patterns may use each other: deeper is a circle.
const DEPTH_MAX: usize = 24;
/// Of the regular expression.
const BYTES_MAX: usize = 256 << 10;
/// Begins the names of groups that are ours.
const GROUP: &str = "__grok_";

#[derive(Debug)]
pub(super) struct Grok {
    regex: regex::Regex,
    fields: Vec<Field>,
    marks: Marks,
}

#[derive(Debug)]
struct Field {
    /// Its group in the regular expression.
    group: usize,
    name: String,
    kind: Kind,
}

impl Grok {
    pub(super) fn new(spec: &GrokParseSpec) -> Result<Self, Wrong> {
        for (name, pattern) in &spec.patterns {
            if !is_name(name) {
                return Err(Wrong::new("patterns", format!("`{name}` is not a name: write letters, digits and _, for example ORDER_ID")));
            }
            no_look_around(pattern).map_err(|detail| Wrong::new("patterns", format!("`{name}` {detail}")))?;
        }
        no_look_around(&spec.pattern).map_err(|detail| Wrong::new("pattern", detail))?;
        let mut translation = Translation { own: &spec.patterns, regex: String::new(), fields: Vec::new() };
        translation.add(&spec.pattern, 0).map_err(|detail| Wrong::new("pattern", detail))?;
        let regex = regex::Regex::new(&translation.regex).map_err(|error| Wrong::new("pattern", format!("is malformed: {error}")))?;
        let field = |(group, name): (usize, &str)| {
            let (name, kind) = match name.strip_prefix(GROUP).and_then(|number| number.parse::<usize>().ok()) {
                Some(number) => translation.fields.get(number)?.clone(),
                None => (name.to_owned(), Kind::Text),
            };
            Some(Field { group, name, kind })
        };
        let groups = regex.capture_names().enumerate().filter_map(|(group, name)| Some((group, name?)));
        let fields: Vec<Field> = groups.filter_map(field).collect();
        if fields.is_empty() {
            return Err(Wrong::new("pattern", "has no field: name what shall be kept, for example %{IP:client} or %{INT:status:int}"));
        }
        let has = |name: &str| fields.iter().any(|field| field.name == name);
        let marks = Marks::new(spec.time.as_deref(), spec.time_layout.as_deref(), spec.severity.as_deref(), has)?;
        Ok(Self { regex, fields, marks })
    }

    pub(super) fn parse(&self, line: &Bytes) -> Taken {
        let text = String::from_utf8_lossy(line);
        let found = self.regex.captures(&text).ok_or("the line does not match the pattern")?;
        let mut fields = Fields::new();
        let mut known = Known::default();
        for Field { group, name, kind } in &self.fields {
            // A name may be there twice, in two alternatives.
            let Some(value) = found.get(*group).filter(|_| !fields.contains_key(name)) else { continue };
            self.marks.note(&mut known, name, value.as_str());
            fields.insert(name.clone(), kind.value(&mut known, name, value.as_str()));
        }
        Ok((Body::Object(fields), known))
    }
}

/// A regular expression in the making.
struct Translation<'a> {
    own: &'a BTreeMap<String, String>,
    regex: String,
    /// Name and type of the group of each number.
    fields: Vec<(String, Kind)>,
}

impl Translation<'_> {
    fn add(&mut self, pattern: &str, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX || self.regex.len() + pattern.len() > BYTES_MAX {
            return Err("uses patterns that use themselves, or too many of them".to_owned());
        }
        let mut rest = pattern;
        while let Some((before, reference)) = rest.split_once("%{") {
            self.regex.push_str(before);
            let (reference, after) = reference.split_once('}').ok_or_else(|| format!("has `%{{{reference}` without its closing brace"))?;
            self.add_reference(reference, depth)?;
            rest = after;
        }
        self.regex.push_str(rest);
        Ok(())
    }

    /// `NAME`, `NAME:field` or `NAME:field:type`.
    fn add_reference(&mut self, reference: &str, depth: usize) -> Result<(), String> {
        let mut parts = reference.splitn(3, ':');
        let name = parts.next().unwrap_or_default();
        let pattern = self.own.get(name).map(String::as_str).or_else(|| stock::of_name(name)).ok_or_else(|| unknown(name))?;
        match parts.next() {
            None => self.regex.push_str("(?:"),
            Some(field) => {
                let field = field
                    .strip_prefix('[')
                    .and_then(|field| field.strip_suffix(']'))
                    .map_or_else(|| field.to_owned(), |field| field.replace("][", "."));
                if field.is_empty() {
                    return Err(format!("has a field without a name: `%{{{reference}}}`"));
                }
                let kind = parts.next().unwrap_or("text");
                let kind = Kind::of_name(kind).ok_or_else(|| format!("`{kind}` of `%{{{reference}}}` is not a type: write int, float or bool"))?;
                self.regex.push_str(&format!("(?<{GROUP}{}>", self.fields.len()));
                self.fields.push((field, kind));
            }
        }
        self.add(pattern, depth + 1)?;
        self.regex.push(')');
        Ok(())
    }
}

fn unknown(name: &str) -> String {
    let alike =
        stock::STOCK.iter().map(|(known, _)| *known).find(|known| known.eq_ignore_ascii_case(name) || (name.len() > 3 && known.contains(name)));
    let hint = alike.map_or_else(|| format!("define it: patterns = {{ {name} = \"…\" }}"), |alike| format!("there is `{alike}`"));
    format!("there is no pattern `{name}`: {hint}")
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Errors: the pattern has what takes more than linear time, with what to do.
fn no_look_around(pattern: &str) -> Result<(), String> {
    let groups = [("(?=", "look-ahead"), ("(?!", "look-ahead"), ("(?<=", "look-behind"), ("(?<!", "look-behind"), ("(?>", "an atomic group")];
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        let escaped = rest.strip_prefix('\\').and_then(|rest| rest.chars().next());
        let found = match escaped {
            Some(digit) if digit.is_ascii_digit() && digit != '0' && !in_class => Some("a back-reference"),
            Some(_) => None,
            None if in_class => None,
            None => groups.iter().find(|(begin, _)| rest.starts_with(begin)).map(|(_, what)| *what),
        };
        if let Some(what) = found {
            let shown: String = rest.chars().take(24).collect();
            return Err(format!(
                "has {what} at `{shown}`. Patterns here take linear time, whatever the line, so there is none: \
                 write what stands before or after into the pattern, outside of the field, or use a word boundary \\b"
            ));
        }
        match c {
            '[' if escaped.is_none() => in_class = true,
            ']' if escaped.is_none() => in_class = false,
            _ => {}
        }
        rest = &rest[c.len_utf8() + escaped.map_or(0, char::len_utf8)..];
    }
    Ok(())
}

#[cfg(test)]
mod tests;
