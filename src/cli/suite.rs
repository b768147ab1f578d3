//! `runner test`: the tests in a runner's own file, run here, without an agent.

use std::path::{Path, PathBuf};

use logvine_runner::suite::{self, TestOutcome};

use super::{Exit, Failure, local, output};
use crate::document;

/// Runs the tests of each file, and prints what is not as expected.
pub(super) fn test(files: &[PathBuf]) -> Result<Exit, Failure> {
    let mut exit = Exit::Ok;
    for file in files {
        let (text, format) = local::read_document(file)?;
        let spec = document::runner(&text, format, None).map_err(|faults| local::not_a_runner(file, &faults))?;
        if spec.tests.is_empty() {
            return Err(Failure::error(format!(
                "{}: runner {} has no [[tests]]: give each a name, lines and what to expect of them",
                file.display(),
                spec.name
            )));
        }
        let outcomes = suite::run(&spec).map_err(|error| Failure::error(format!("{}: {error}", file.display())))?;
        output::print(&report(file, &outcomes))?;
        if outcomes.iter().any(|outcome| !outcome.differences.is_empty()) {
            exit = Exit::Error;
        }
    }
    Ok(exit)
}

fn report(file: &Path, outcomes: &[TestOutcome]) -> String {
    let mut text = String::new();
    for TestOutcome { name, differences } in outcomes {
        text += &format!("{}  {name}\n", if differences.is_empty() { "ok    " } else { "FAILED" });
        for of in differences {
            text += &format!("        {}\n          expected  {}\n          got       {}\n", of.place, of.expected, of.got);
        }
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.differences.is_empty()).count();
    text += &match failed {
        0 => format!("{}: {} of {} tests hold\n", file.display(), outcomes.len(), outcomes.len()),
        failed => format!("{}: {failed} of {} tests failed\n", file.display(), outcomes.len()),
    };
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const RUNNER: &str = r#"
        name = "shop"
        placement = { every = "all" }
        reader = { type = "stdin" }
        parse = { type = "logfmt", severity = "level" }
        senders = [{ name = "alarms", type = "stdout", when = { severity = "error" } }]

        [[tests]]
        name = "errors are alarms"
        lines = ["level=info msg=ready", "level=error msg=full"]
        expect = [{ severity = "INFO" }, { body = { level = "error", msg = "full" } }]
        routed.alarms = [{ severity = "ERROR" }]
    "#;

    #[test]
    fn a_runners_tests_hold_or_say_what_differs() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("shop.toml");
        fs::write(&file, RUNNER).unwrap();
        assert_eq!(test(std::slice::from_ref(&file)).unwrap(), Exit::Ok);
        fs::write(&file, RUNNER.replace("\"full\" }", "\"empty\" }")).unwrap();
        assert_eq!(test(std::slice::from_ref(&file)).unwrap(), Exit::Error);
        fs::write(&file, RUNNER.split("[[tests]]").next().unwrap()).unwrap();
        assert!(test(&[file]).unwrap_err().message.contains("has no [[tests]]"));
    }

    #[test]
    fn differences_are_told_beneath_their_test() {
        let difference = suite::Difference { place: "line 2: body".to_owned(), expected: "{\"a\":1}".to_owned(), got: "{\"a\":2}".to_owned() };
        let outcome = |name: &str, differences| TestOutcome { name: name.to_owned(), differences };
        let text = report(Path::new("shop.toml"), &[outcome("one", vec![]), outcome("two", vec![difference])]);
        let expected = "ok      one\nFAILED  two\n        line 2: body\n          expected  {\"a\":1}\n          got       {\"a\":2}\nshop.toml: 1 of 2 tests failed\n";
        assert_eq!(text, expected);
    }
}
