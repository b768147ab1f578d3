//! What tests run of Python's, each in an environment of its own below `target/`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::packages::{apt, is_root};

/// An environment of Python's, for some tests. Its versions are pinned: what is found must not depend on the day.
pub(crate) struct Environment {
    /// Its directory below `target/`.
    name: &'static str,
    requirements: &'static str,
    /// What the tests start.
    program: &'static str,
    /// The tests (by a part of their name) that need it.
    pub(crate) needed_by: &'static str,
}

/// Looks for what the API's description does not say.
pub(crate) const SCHEMATHESIS: Environment = Environment {
    name: "schemathesis",
    requirements: "tests/whole/schemathesis.txt",
    program: "bin/schemathesis",
    needed_by: "contract::schemathesis_",
};

/// A server that speaks S3.
pub(crate) const MOTO: Environment =
    Environment { name: "moto", requirements: "src/runner/sender/s3/moto.txt", program: "bin/python", needed_by: "sender::s3" };

impl Environment {
    /// Its program, installed unless it is there already at these versions.
    pub(crate) fn provide(&self) -> anyhow::Result<PathBuf> {
        let (root, target) = directories()?;
        let requirements = self.requirements;
        let wanted = fs::read_to_string(root.join(requirements)).with_context(|| format!("read {requirements}"))?;
        let environment = target.join(self.name);
        let (program, mark) = (environment.join(self.program), environment.join("installed.txt"));
        // Written last: an installation that broke off is none.
        if program.is_file() && fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
            return Ok(program);
        }
        println!("xtask: installing {requirements} below {}", environment.display());
        make(&environment)?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        let status = Command::new(environment.join("bin/python")).args(pip).arg(root.join(requirements)).status().context("run pip")?;
        if !status.success() {
            bail!("pip could not install {requirements} ({status}): its output says why");
        }
        fs::write(&mark, wanted).with_context(|| format!("write {}", mark.display()))?;
        Ok(program)
    }
}

/// An empty environment. Debian has the module that makes it in a package of its own.
fn make(environment: &Path) -> anyhow::Result<()> {
    let venv = || Command::new("python3").args(["-m", "venv", "--clear"]).arg(environment).status().is_ok_and(|status| status.success());
    if venv() {
        return Ok(());
    }
    if !is_root()? {
        bail!("`python3 -m venv` does not work here: install it with `apt install python3-venv`, or run this as root");
    }
    apt(&["update"])?;
    apt(&["install", "--yes", "--no-install-recommends", "python3-venv"])?;
    if venv() { Ok(()) } else { bail!("`python3 -m venv {}` does not work, though python3-venv is installed", environment.display()) }
}

/// The workspace's own, and cargo's for what it builds.
fn directories() -> anyhow::Result<(PathBuf, PathBuf)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(["metadata", "--format-version", "1", "--no-deps"]).output().context("run cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("understand cargo metadata")?;
    let directory = |key: &str| metadata[key].as_str().map(PathBuf::from).with_context(|| format!("cargo metadata names {key}"));
    Ok((directory("workspace_root")?, directory("target_directory")?))
}
