//! The console's own checks: types against the committed API description, logic, weight, and journeys in a browser on a real cluster.

use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// What the journeys are called where they are left out, beside the tests that want other programs.
pub(crate) const JOURNEYS: &str = "console in a browser";

/// What can be said without a browser: name and npm's script.
pub(crate) const CHECKS: [(&str, &str); 3] = [("console's types", "check"), ("console's logic", "test"), ("console's weight", "size")];

/// Without Node the build embeds a page that says so, and there is nothing to check.
pub(crate) fn has_node() -> bool {
    let npm = Command::new("npm").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    npm.is_ok_and(|status| status.success())
}

/// One of `ui/package.json`'s scripts. What it needs was installed by the build of `logvine-ui`, which comes before.
pub(crate) fn npm(script: &str) -> Command {
    let mut command = Command::new("npm");
    command.args(["run", "--silent", script]).current_dir("ui").env("CI", "1");
    command
}

/// The journeys, with the debug binary that the tests before have built: it stands beside this program.
pub(crate) fn journeys() -> anyhow::Result<Command> {
    let binary = std::env::current_exe().context("find this program")?.with_file_name("logvine");
    if !binary.is_file() {
        bail!("{} is not there: `cargo build` makes it", binary.display());
    }
    let mut command = npm("browser");
    command.env("LOGVINE_BIN", binary);
    Ok(command)
}
