//! `logvine demo`: it holds, and it leaves nothing behind.

use std::{
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{logvine, processes_with, signal, stderr, until};

/// A demo that keeps all its files below a directory of the test's, so that what it leaves can be seen.
fn demo(place: &TempDir, first_port: u16, args: &[&str]) -> Command {
    let mut command = logvine();
    command.arg("demo").args(["--first-port", &first_port.to_string()]).args(args).env("TMPDIR", place.path());
    command
}

/// Three ports below the system's own range that other demos of this machine hardly have: `nth` of this process.
fn ports(nth: u16) -> u16 {
    let own = u16::try_from(std::process::id() % 300).expect("less than 300");
    10_000 + own * 30 + nth * 3
}

fn left_in(place: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(place).expect("the test's directory");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn a_short_demo_loses_a_node_and_no_line() {
    let place = tempfile::tempdir().unwrap();
    let mut command = demo(&place, ports(0), &["--nodes", "4", "--sources", "8", "--rate", "20", "--for", "9"]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{said}\n{}", output.status, stderr(&output));
    for part in ["was killed with SIGKILL", "survivors show", "goes on at", "is back", "Nothing was lost."] {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
    assert_eq!(left_in(place.path()), Vec::<String>::new());
}

/// Ctrl-C from the first moment to the last: while processes start, while files grow, in the middle of a takeover. Each run of the test draws other moments;
/// a failure names its own.
#[tokio::test]
async fn ctrl_c_at_any_moment_leaves_no_process_and_no_file() {
    let lane = |lane: u16| async move {
        for _ in 0..MOMENTS_PER_LANE {
            // Half of them while everything starts, when most can be left behind; the others anywhere in the play.
            interrupted(ports(4 + lane), moment(1_500)).await;
            interrupted(ports(4 + lane), moment(PLAY_MS)).await;
        }
    };
    tokio::join!(lane(0), lane(1), lane(2));
}

/// In three lanes of two: 24 moments.
const MOMENTS_PER_LANE: usize = 4;
/// Shorter than the play of `interrupted`, so that each signal finds a demo.
const PLAY_MS: u64 = 14_000;

fn moment(before_ms: u64) -> Duration {
    Duration::from_millis(getrandom::u64().expect("the system gives randomness") % before_ms)
}

async fn interrupted(first_port: u16, moment: Duration) {
    let place = tempfile::tempdir().unwrap();
    let mut demo = demo(&place, first_port, &["--nodes", "3", "--sources", "6", "--rate", "20", "--for", "15"]);
    let mut demo = demo.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    tokio::time::sleep(moment).await;
    signal(&demo, Signal::INT);
    // At the first moment nobody listens for signals yet, and nothing is there yet: the signal itself ends it.
    let status = wait(&mut demo).await;
    assert!(matches!(status.code(), Some(130) | None), "interrupted after {moment:?}: {status}");
    assert_eq!(left_in(place.path()), Vec::<String>::new(), "interrupted after {moment:?}");
    assert_eq!(processes_with(place.path().to_str().unwrap()), Vec::<String>::new(), "interrupted after {moment:?}");
}

/// Whatever becomes of the demo, its agents end: here nobody tells them.
#[tokio::test]
async fn agents_end_with_a_demo_that_was_killed() {
    let place = tempfile::tempdir().unwrap();
    let mut demo = demo(&place, ports(2), &["--nodes", "3", "--sources", "3", "--rate", "5", "--for", "60"]);
    let mut demo = demo.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let here = place.path().to_str().unwrap();
    until("the agents run", async || (processes_with(here).len() == 3).then_some(())).await;
    demo.kill().unwrap();
    demo.wait().unwrap();
    until("the agents have ended", async || processes_with(here).is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_kept_demo_says_where_its_files_are() {
    let place = tempfile::tempdir().unwrap();
    let mut command = demo(&place, ports(3), &["--nodes", "1", "--sources", "2", "--rate", "10", "--for", "1", "--no-kill", "--keep"]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{said}\n{}", output.status, stderr(&output));
    let left = left_in(place.path());
    let [dir] = left.as_slice() else { panic!("one directory is kept, not {left:?}") };
    assert!(said.contains(dir.as_str()), "{said}");
    assert!(place.path().join(dir).join("out/node-1.ndjson").is_file());
}

async fn wait(demo: &mut Child) -> ExitStatus {
    until("the demo has ended", async || demo.try_wait().unwrap()).await
}
