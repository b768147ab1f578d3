//! Answers for people and for scripts.

use serde_json::Value;

/// A column of a table: its head and the JSON pointer of its value in a row.
pub(super) type Column = (&'static str, &'static str);

/// Rows in aligned columns, a head above; the last column may be as long as it likes.
pub(super) fn table(columns: &[Column], rows: &[Value]) -> String {
    let head = columns.iter().map(|(head, _)| (*head).to_owned()).collect::<Vec<_>>();
    let cells = rows.iter().map(|row| columns.iter().map(|(_, pointer)| cell(row.pointer(pointer))).collect::<Vec<_>>());
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(cells).collect();
    let widths: Vec<usize> = (0..columns.len()).map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>().join("  ");
        text.push_str(padded.trim_end());
        text.push('\n');
    }
    text
}

/// The leaves of a document, one a line.
pub(super) fn leaves(document: &Value) -> String {
    let mut lines = Vec::new();
    gather(String::new(), document, &mut lines);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.into_iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

fn gather(name: String, value: &Value, lines: &mut Vec<(String, String)>) {
    let join = |part: &str| if name.is_empty() { part.to_owned() } else { format!("{name}.{part}") };
    match value {
        Value::Object(fields) if !fields.is_empty() => fields.iter().for_each(|(key, value)| gather(join(key), value, lines)),
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            items.iter().enumerate().for_each(|(at, item)| gather(join(&at.to_string()), item, lines));
        }
        value => lines.push((name, cell(Some(value)))),
    }
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.replace('\n', " "),
        Some(Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(","),
        Some(Value::Object(fields)) => fields.iter().map(|(key, value)| format!("{key}={}", cell(Some(value)))).collect::<Vec<_>>().join(","),
        Some(other) => other.to_string(),
    }
}

/// One name a line.
pub(super) fn names(pointer: &str, rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{}\n", cell(row.pointer(pointer)))).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_stand_in_columns() {
        let rows = [json!({"name": "web-1", "tags": ["a", "b"], "at": null}), json!({"name": "w", "tags": [], "at": 7})];
        expect![[r"
            NAME   TAGS  AT
            web-1  a,b   -
            w      -     7
        "]]
        .assert_eq(&table(&[("NAME", "/name"), ("TAGS", "/tags"), ("AT", "/at")], &rows));
    }

    #[test]
    fn a_document_is_shown_by_its_leaves() {
        expect![[r"
            a.b    1
            c      x,y
            d.0.e  -
        "]]
        .assert_eq(&leaves(&json!({"a": {"b": 1}, "c": ["x", "y"], "d": [{"e": null}]})));
    }
}
