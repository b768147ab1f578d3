//! `docs/parity.md` says which test shows what: it must stay true.

use std::{fs, path::Path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package lies in the repository")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The rows of the page's tables, each as its cells.
fn rows(page: &str) -> Vec<Vec<String>> {
    let lines = page.lines().filter(|line| line.starts_with('|'));
    let cells = lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>());
    cells
        .filter(|cells| {
            !cells.iter().all(|cell| cell.is_empty() || cell.chars().all(|c| c == '-')) && cells.last().is_none_or(|last| last != "shown by")
        })
        .collect()
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn each_row_names_tests_that_exist_or_says_that_it_is_not_yet() {
    let page = read("docs/parity.md");
    let rows = rows(&page);
    assert!(rows.len() > 40, "the tables are read: {} rows", rows.len());
    for row in rows {
        let shown = row.last().expect("a row has cells");
        if shown == "not yet" {
            continue;
        }
        assert!(shown.contains("::"), "{row:?} names no test");
        for (file, test) in quoted(shown).map(|name| name.split_once("::").unwrap_or_else(|| panic!("`{name}` is no file::test"))) {
            let text = read(file);
            let at = text.find(&format!("fn {test}(")).unwrap_or_else(|| panic!("{file} has no `{test}`"));
            let before = &text[..at];
            let attributes = &before[before.rfind("\n\n").unwrap_or(0)..];
            assert!(attributes.contains("test]"), "`{test}` of {file} is no test");
        }
    }
}

#[test]
fn each_call_is_one_that_the_api_describes() {
    let description: serde_json::Value = serde_json::from_str(&read("src/api/openapi.json")).expect("it is JSON");
    let page = read("docs/parity.md");
    let mut calls = 0;
    for row in rows(&page) {
        // The first column is logkit's.
        for call in row.iter().skip(1).flat_map(|cell| quoted(cell)) {
            let Some((method, path)) = call.split_once(' ').filter(|(_, path)| path.starts_with('/')) else { continue };
            let operation = &description["paths"][path][method.to_lowercase()];
            assert!(operation.is_object(), "the API describes no `{call}`");
            calls += 1;
        }
    }
    assert!(calls > 30, "calls are found: {calls}");
}
