//! Debian's programs that the whole-program tests use.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::console;

/// The tests of the `nats` sender.
pub(crate) const NATS: &str = "sender::nats";
/// The tests of the `journal` reader with the real gateway.
const GATEWAYD: &str = "gatewayd_real_";

/// Package, the program in it (or the path of a file of it), and the tests (by a part of their name) that need it.
pub(crate) const NEEDED: [(&str, &str, &str); 5] = [
    ("nginx", "nginx", "nginx::nginx_"),
    ("chromium", "chromium", console::JOURNEYS),
    // What draws Chinese: without it the pictures of the console in that language show boxes.
    ("fonts-wqy-microhei", "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc", console::JOURNEYS),
    ("nats-server", "nats-server", NATS),
    ("systemd-journal-remote", "systemd-journal-gatewayd", GATEWAYD),
];

/// Installs what is missing when this is root. Otherwise names it and fails; with `skip_missing` gives the tests to leave out instead.
pub(crate) fn provide(skip_missing: bool) -> anyhow::Result<Vec<&'static str>> {
    let missing: Vec<_> = NEEDED.into_iter().filter(|(_, program, _)| find(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let packages: Vec<_> = missing.iter().map(|(package, ..)| *package).collect();
    if is_root()? {
        println!("xtask: installing {}", packages.join(" "));
        apt(&["update"])?;
        apt(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())?;
        return Ok(Vec::new());
    }
    if skip_missing {
        return Ok(missing.into_iter().map(|(_, _, tests)| tests).collect());
    }
    bail!("missing: {0}. Install with `apt install {0}`, run this as root, or leave their tests out with --skip-missing", packages.join(" "))
}

/// A program in PATH or in the directories of the system's own.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/lib/systemd"].map(PathBuf::from));
    dirs.map(|dir| dir.join(program)).find(|path| Path::is_file(path))
}

pub(crate) fn is_root() -> anyhow::Result<bool> {
    let output = Command::new("id").arg("-u").output().context("run `id -u`")?;
    Ok(output.stdout.trim_ascii() == b"0")
}

pub(crate) fn apt(args: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").status().context("run apt-get")?;
    if !status.success() {
        bail!("`apt-get {}` failed ({status})", args.join(" "));
    }
    Ok(())
}
