//! The cluster key: the file that was named, or on loopback one that all of this user's agents share (DESIGN §8.1).

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use logvine_gossip::seal::ClusterKey;
use tracing::info;

use crate::{cli::new_cluster_key, config::Config};

/// Reads the key, and tells where it lies; makes the user's own at first where none was named.
pub(super) fn load(config: &Config) -> anyhow::Result<(ClusterKey, PathBuf)> {
    match &config.cluster_key_file {
        Some(path) => Ok((read(path)?, path.clone())),
        None => {
            let path = user_file()?;
            Ok((of_user(&path)?, path))
        }
    }
}

fn read(path: &Path) -> anyhow::Result<ClusterKey> {
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            anyhow!("there is no cluster key file {}: make one with `logvine keygen > FILE`, the same on all nodes", path.display())
        }
        io::ErrorKind::PermissionDenied => anyhow!("this user may not read the cluster key file {}: chown or chmod it", path.display()),
        _ => anyhow!("cannot read the cluster key file {}: {error}", path.display()),
    })?;
    text.parse().with_context(|| format!("in {}", path.display()))
}

fn user_file() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| std::env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(".config")));
    match base {
        Some(base) => Ok(base.join("logvine/cluster.key")),
        None => bail!("there is no HOME to keep a cluster key in: give one with --cluster-key-file"),
    }
}

/// Two agents that start together must end with one key, so it is written aside and linked: only one link is made.
fn of_user(path: &Path) -> anyhow::Result<ClusterKey> {
    if path.exists() {
        return read(path);
    }
    let doing = || format!("make a cluster key in {}", path.display());
    let dir = path.parent().context("the key's path has a directory")?;
    fs::create_dir_all(dir).with_context(doing)?;
    let aside = dir.join(format!("cluster.key.{:016x}", getrandom::u64().with_context(doing)?));
    let written = write_new(&aside, new_cluster_key()?.to_text().as_str()).and_then(|()| match fs::hard_link(&aside, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(|()| info!(path = %path.display(), "made a cluster key for this user's agents on loopback")),
    });
    let _ = fs::remove_file(&aside);
    written.with_context(doing)?;
    read(path)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_that_start_together_share_one_key() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("logvine/cluster.key");
        let keys: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| of_user(&path).unwrap().to_text().to_string())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside the key");
    }

    #[test]
    fn a_key_file_that_cannot_be_used_is_told_with_its_path() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("k");
        let message = |path: &Path| format!("{:#}", read(path).expect_err("no key"));
        assert!(message(&path).contains("logvine keygen"), "{}", message(&path));
        fs::write(&path, "secret").unwrap();
        assert!(message(&path).contains(path.to_str().unwrap()) && !message(&path).contains("secret"), "{}", message(&path));
        assert!(message(home.path()).contains("cannot read the cluster key file"), "{}", message(home.path()));
    }
}
