//! Answers for people and for scripts.

use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use super::Failure;

/// What is printed while it is held back.
static HELD: Mutex<Option<String>> = Mutex::new(None);

/// Holds back what is printed from now on.
pub(super) fn hold() {
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(String::new());
}

/// What was held back; printing goes to standard output again.
pub(super) fn release() -> String {
    HELD.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
}

/// Writes to standard output, at once. Errors: it is not to be written to; or its reader has gone (`| head`), and then there is nothing more to say.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    if let Some(held) = HELD.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        held.push_str(text);
        return Ok(());
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::reader_gone(),
        _ => Failure::error(format!("cannot write to standard output: {error}")),
    })
}

/// Writes a line to standard error. One that is closed is no reason to fail.
pub(super) fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A column of a table: its head and the JSON pointer of its value in a row.
pub(super) type Column = (&'static str, &'static str);

/// Rows in aligned columns, a head above; the last column may be as long as it likes.
pub(super) fn table(columns: &[Column], rows: &[Value]) -> String {
    let head = columns.iter().map(|(head, _)| (*head).to_owned()).collect::<Vec<_>>();
    let cells = rows.iter().map(|row| columns.iter().map(|(head, pointer)| short(head, pointer, row.pointer(pointer))).collect::<Vec<_>>());
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

/// A cell of a table, where what is compared matters more than each digit: bytes in their units, times to the second, ids by their first eight digits
/// (which commands take for the whole).
fn short(head: &str, pointer: &str, value: Option<&Value>) -> String {
    match value {
        Some(Value::Number(number)) if pointer.ends_with("bytes") || pointer.ends_with("bytes_per_s") => bytes(number.as_f64().unwrap_or_default()),
        Some(Value::String(text)) if head == "ID" && text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => text[..8].to_owned(),
        Some(Value::String(text)) if ["TIME", "SINCE"].contains(&head) => {
            text.split_once('.').map_or_else(|| text.clone(), |(at, _)| format!("{at}Z"))
        }
        value => cell(value),
    }
}

fn bytes(number: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = number;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < units.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && scaled < 100.0);
    format!("{scaled:.digits$} {}", units[unit])
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
        // What others wrote must not move the cursor or ring the bell of whoever reads it.
        Some(Value::String(text)) => text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect(),
        Some(Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(","),
        Some(Value::Object(fields)) => fields.iter().map(|(key, value)| format!("{key}={}", cell(Some(value)))).collect::<Vec<_>>().join(","),
        // What people compare: three digits after the point at most.
        Some(Value::Number(number)) if number.is_f64() => rounded(number.as_f64().unwrap_or_default()),
        Some(other) => other.to_string(),
    }
}

fn rounded(number: f64) -> String {
    let text = format!("{number:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
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
    fn what_is_compared_is_short() {
        let cell = |head, pointer, value: Value| short(head, pointer, Some(&value));
        assert_eq!(cell("LAG", "/lag_bytes", json!(1_536)), "1.5 KiB");
        assert_eq!(cell("LAG", "/lag_bytes", json!(0)), "0 B");
        assert_eq!(cell("SENT", "/bytes_per_s", json!(250.0 * 1024.0 * 1024.0)), "250 MiB");
        assert_eq!(cell("SINCE", "/since", json!("2026-11-22T08:59:35.184Z")), "2026-11-22T08:59:35Z");
        assert_eq!(cell("ID", "/id", json!("c80752eb5dcf2e97d05fad785c93569f")), "c80752eb");
        assert_eq!(cell("ID", "/id", json!("00117659300201693184-c80752eb")), "00117659300201693184-c80752eb", "an operation has no short form");
    }

    /// A reason, a tag of a body, a reader's error: all of them are others' words.
    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(cell(Some(&json!("a\u{1b}[2Jb\u{7}\n"))), "a [2Jb  ");
    }

    #[test]
    fn numbers_have_few_digits() {
        for (number, text) in [(0.09375, "0.094"), (12.0, "12"), (1234.5, "1234.5"), (100.0, "100"), (-0.0001, "0"), (0.0, "0")] {
            assert_eq!(cell(Some(&json!(number))), text);
        }
        assert_eq!(cell(Some(&json!(18_446_744_073_709_551_615_u64))), "18446744073709551615");
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
