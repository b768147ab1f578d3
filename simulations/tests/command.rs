//! The command line from outside: what it answers, and what it ends with.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use logvine_simulations::golden;

fn simulations(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_logvine-simulations")).args(args).output().expect("the program was built with its tests")
}

/// Standard output, standard error, exit code.
fn said(args: &[&str]) -> (String, String, Option<i32>) {
    let output = simulations(args);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it speaks UTF-8");
    (text(output.stdout), text(output.stderr), output.status.code())
}

fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("command");
    std::fs::create_dir_all(&folder).expect("cargo gives tests a folder");
    folder.join(name)
}

#[test]
fn a_run_ends_with_its_trace_and_is_always_the_same() {
    let run = || said(&["run", "--scenario", "crash", "--nodes", "3", "--minutes", "1", "--seed", "5"]);
    let (out, _, code) = run();
    assert_eq!(code, Some(0), "{out}");
    let last = out.lines().last().unwrap_or_default();
    assert!(last.starts_with("trace ") && last.len() == "trace ".len() + 16, "{last}");
    assert_eq!(run().0, out);
}

#[test]
fn what_cannot_be_is_answered_with_what_there_is() {
    for (args, says) in [
        (&["run", "--scenario", "earthquake"][..], "there is no scenario `earthquake`"),
        (&["run", "--scenario", "mass-crash", "--nodes", "2"], "`mass-crash` needs 3 nodes or more, not 2"),
    ] {
        let (_, error, code) = said(args);
        assert_eq!(code, Some(64), "{error}");
        assert!(error.contains(says) && error.contains("rolling-restart"), "{error}");
    }
    for args in
        [&["run", "--nodes", "0"][..], &["run", "--seeds", "9..3"], &["run", "--canary", "earthquake"], &["dance"], &["script", "nodes a; dance"]]
    {
        let (_, error, code) = said(args);
        assert_eq!((code, error.is_empty()), (Some(64), false), "{args:?}: {error}");
    }
}

#[test]
fn the_list_has_scenarios_invariants_and_canaries() {
    let (out, _, code) = said(&["list"]);
    assert_eq!(code, Some(0));
    for name in ["thousand-nodes", "S3 an epoch has one owner", "no-false-deaths", "stale-suspicion"] {
        assert!(out.contains(name), "{name}:\n{out}");
    }
}

/// A file whose expectation cannot hold: the run ends with 1, `shrink` leaves a smaller file that fails in the same way, and the command that it prints
/// runs it.
#[test]
fn a_failure_is_shrunk_to_a_file_that_still_fails() {
    let written = scratch("pair.toml");
    let text = "format = 1\nnodes = [{ name = \"a\" }, { name = \"b\" }, { name = \"c\" }]\nnetwork = { loss = 20, refusals = false }\nending = { at = 30 }\n\
                expects = [{ views-agree = { at = 12 } }]\ndeeds = [\n  { at = 0, start = { node = 0 } },\n  { at = 1, start = { node = 1 } },\n  \
                { at = 1, start = { node = 2 } },\n  { at = 11.8, crash = { node = 1 } },\n  { at = 20, start = { node = 1 } },\n]\n";
    std::fs::write(&written, text).expect("the folder is there");
    let (_, error, code) = said(&["replay", &written.to_string_lossy()]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("views agree in time"), "{error}");
    let folder = scratch("shrunk");
    std::fs::create_dir_all(&folder).expect("the folder is there");
    let shrunk = Command::new(env!("CARGO_BIN_EXE_logvine-simulations")).current_dir(&folder).arg("shrink").arg(&written).output();
    let said_so = String::from_utf8(shrunk.expect("it ran").stdout).expect("it speaks UTF-8");
    assert!(said_so.contains("to 2 nodes, 0 sources, 3 deeds"), "{said_so}");
    let file = said_so.split_whitespace().find(|word| word.ends_with(".toml")).expect("it names the file");
    let (_, error, code) = said(&["replay", &folder.join(file).to_string_lossy()]);
    assert_eq!(code, Some(1), "{error}");
}

/// Exit code 1 is said of broken invariants alone.
#[test]
fn a_file_that_is_not_there_is_no_violation() {
    for verb in ["replay", "shrink"] {
        let (_, error, code) = said(&[verb, "not-there.toml"]);
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains("not-there.toml cannot be read"), "{error}");
    }
}

/// The same in debug, as here, and in release, as `ci` has it; `golden --bless` writes them anew.
#[test]
fn golden_hashes_are_those_that_are_written_down() {
    assert_eq!(golden::now(), golden::BLESSED);
}
