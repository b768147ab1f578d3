//! Puts a sender's file aside under a name with the time, keeps the newest of those, and compresses them.
//!
//! A rename is all that a writer waits for. What is put aside is tidied beside it, and tidied again with the next rotation where it broke off: a
//! compressed file is written under another name, synced, renamed, and only then the plain one is deleted.

use std::{
    fs,
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, TryLockError},
    time::SystemTime,
};

use chrono::{DateTime, NaiveDateTime, Utc};
use logvine_cluster::spec::{Compression, RotateSpec};
use tracing::warn;

use super::compression;
use crate::{
    append::AppendError,
    files::{Files, RealFiles},
    policy::{OpenError, Policy},
};

/// In the name of what is put aside: UTC.
const STAMP: &str = "%Y%m%dT%H%M%SZ";
/// What is read at once of a file that is compressed.
const BLOCK_BYTES: usize = 256 << 10;
/// Rotations of one file within one second that find a name.
const TRIES_MAX: u32 = 1_000;

#[derive(Debug)]
pub(super) struct Rotation {
    rotate: RotateSpec,
    policy: Arc<Policy>,
    /// Held by the one who tidies.
    tidying: Arc<Mutex<()>>,
}

/// Whether a file is put aside before `more` bytes are written to it. `written`: when that was done last.
fn is_due(rotate: &RotateSpec, length: u64, written: SystemTime, more: u64, now: SystemTime) -> bool {
    let span = |at: SystemTime, every_s: u64| at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() / every_s.max(1));
    let too_long = rotate.bytes.is_some_and(|most| length + more > most);
    // A clock that was set back is no new span.
    let in_new_span = rotate.every_s.is_some_and(|every_s| span(now, every_s) > span(written, every_s));
    length > 0 && (too_long || in_new_span)
}

impl Rotation {
    pub(super) fn new(rotate: RotateSpec, policy: Arc<Policy>) -> Self {
        Self { rotate, policy, tidying: Arc::default() }
    }

    /// Puts the file aside if that is due before `more` bytes are written. Blocks on the disk.
    pub(super) fn settle(&mut self, path: &Path, more: u64) -> Result<(), AppendError> {
        let io = |source| AppendError::Io { path: path.display().to_string(), source };
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io(error)),
        };
        let now = SystemTime::now();
        if !metadata.is_file() {
            // Moving a link aside would leave what it leads to where it is.
            return Err(OpenError::NotAFile { path: path.display().to_string() }.into());
        }
        if !is_due(&self.rotate, metadata.len(), metadata.modified().map_err(io)?, more, now) {
            return Ok(());
        }
        let aside = free_name(path, now.into()).map_err(io)?;
        self.policy.check_append(&aside)?;
        fs::rename(path, &aside).map_err(io)?;
        self.tidy_beside(path.to_owned());
        Ok(())
    }

    fn tidy_beside(&self, path: PathBuf) {
        let (rotate, policy, tidying) = (self.rotate.clone(), self.policy.clone(), self.tidying.clone());
        let tidy = move || match tidying.try_lock() {
            Ok(_alone) => {
                if let Err(error) = tidy(&path, &rotate, &policy) {
                    warn!(path = %path.display(), %error, "cannot tidy rotated files; tried again with the next rotation");
                }
            }
            // Whoever is at it comes by with the next rotation again.
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => {}
        };
        std::thread::spawn(tidy);
    }
}

/// The first of `PATH.STAMP`, `PATH.STAMP-1`, … that no file has.
fn free_name(path: &Path, now: DateTime<Utc>) -> io::Result<PathBuf> {
    let name = |more: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", now.format(STAMP)));
        if more > 0 {
            name.push(format!("-{more}"));
        }
        PathBuf::from(name)
    };
    let is_free = |name: &PathBuf| ["", ".gz", ".zst"].into_iter().all(|end| !with(name, end).exists());
    (0..TRIES_MAX).map(name).find(is_free).ok_or_else(|| io::ErrorKind::AlreadyExists.into())
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// What names of rotated files say, for their order: when, and which one of that second.
fn place(name: &str, of: &str) -> Option<(NaiveDateTime, u32)> {
    let rest = name.strip_prefix(of)?.strip_prefix('.')?;
    let rest = rest.strip_suffix(".gz").or_else(|| rest.strip_suffix(".zst")).unwrap_or(rest);
    let (stamp, more) = match rest.split_once('-') {
        Some((stamp, more)) => (stamp, more.parse().ok()?),
        None => (rest, 0),
    };
    Some((NaiveDateTime::parse_from_str(stamp, STAMP).ok()?, more))
}

/// Deletes what is too old, and compresses the rest.
fn tidy(path: &Path, rotate: &RotateSpec, policy: &Arc<Policy>) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: path.display().to_string(), source };
    let (Some(directory), Some(of)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else { return Ok(()) };
    let mut rotated = Vec::new();
    for entry in fs::read_dir(directory).map_err(io)? {
        let entry = entry.map_err(io)?;
        let place = entry.file_name().to_str().and_then(|name| place(name, of));
        if let Some(place) = place.filter(|_| entry.file_type().is_ok_and(|kind| kind.is_file())) {
            rotated.push((place, entry.path()));
        }
    }
    rotated.sort();
    let mut places: Vec<_> = rotated.iter().map(|(place, _)| *place).collect();
    places.dedup();
    let keep = usize::try_from(rotate.keep).unwrap_or(usize::MAX);
    let oldest = places.len().checked_sub(keep).map_or_else(|| places.first(), |surplus| places.get(surplus)).copied();
    for (place, path) in rotated {
        if oldest.is_none_or(|oldest| place < oldest) {
            fs::remove_file(path).map_err(io)?;
        } else if rotate.compression != Compression::None && path.extension().is_none_or(|extension| extension != "gz" && extension != "zst") {
            let policy = policy.clone();
            compress(&RealFiles::new(move |path| policy.open_append(path)), &path, rotate.compression)?;
        }
    }
    Ok(())
}

/// Puts a compressed file in the place of the plain one. Whatever breaks it off, one of the two is there, whole.
fn compress<F: Files>(files: &F, path: &Path, compression: Compression) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: path.display().to_string(), source };
    let plain = Plain { files, file: files.open_to_read(path).map_err(io)?, offset: 0 };
    let whole = with(path, compression::ending(compression));
    let part = with(&whole, ".part");
    let file = files.open(&part)?;
    // One that broke off is begun anew.
    files.clear(&file).map_err(io)?;
    compression::copy(compression, BufReader::with_capacity(BLOCK_BYTES, plain), Part { files, file: &file }).map_err(io)?;
    files.sync(&file).and_then(|()| files.rename(&part, &whole)).map_err(io)?;
    // Or the plain one could be gone and the other not yet there after a power cut.
    files.sync_names(&whole).map_err(io)?;
    files.remove(path).map_err(io)
}

/// Reads one of the files from its beginning.
struct Plain<'a, F: Files> {
    files: &'a F,
    file: F::File,
    offset: u64,
}

impl<F: Files> Read for Plain<'_, F> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.files.read(&self.file, self.offset, out.len())?;
        out[..bytes.len()].copy_from_slice(&bytes);
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }
}

/// Appends to one of the files.
struct Part<'a, F: Files> {
    files: &'a F,
    file: &'a F::File,
}

impl<F: Files> Write for Part<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.files.append(self.file, bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod crash;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::PolicyConfig;

    fn rotate(bytes: Option<u64>, every_s: Option<u64>) -> RotateSpec {
        RotateSpec { bytes, every_s, keep: 2, compression: Compression::None }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn policy() -> Arc<Policy> {
        Arc::new(Policy::new(&PolicyConfig::default(), false, Path::new("/nowhere")))
    }

    fn names(place: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_put_aside_before_it_is_too_long_and_in_each_new_span() {
        let by_length = rotate(Some(100), None);
        assert!(!is_due(&by_length, 60, at(0), 40, at(9)) && is_due(&by_length, 61, at(0), 40, at(9)));
        assert!(!is_due(&by_length, 0, at(0), 400, at(9)), "an empty one is not put aside");
        let by_day = rotate(None, Some(86_400));
        assert!(!is_due(&by_day, 1, at(10), 1, at(86_399)) && is_due(&by_day, 1, at(86_399), 1, at(86_400)));
        assert!(!is_due(&by_day, 1, at(86_400), 1, at(10)), "the clock was set back");
    }

    #[test]
    fn what_is_too_long_goes_aside_and_two_of_one_second_have_names_of_their_own() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("out");
        let mut rotation = Rotation::new(RotateSpec { keep: 9, ..rotate(Some(10), None) }, policy());
        for text in ["first", "second"] {
            fs::write(&path, text).unwrap();
            rotation.settle(&path, 2).unwrap();
            assert_eq!(fs::read_to_string(&path).ok().as_deref(), Some(text), "it is not due");
            rotation.settle(&path, 20).unwrap();
            assert!(!path.exists());
        }
        let aside = names(place.path());
        assert_eq!(aside.len(), 2, "{aside:?}");
        assert!(aside.iter().all(|name| self::place(name, "out").is_some()), "{aside:?}");
        rotation.settle(&path, 20).unwrap();
    }

    #[test]
    fn the_newest_are_kept_compressed_and_other_files_let_be() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("out");
        for name in [
            "out",
            "out.20260101T000000Z",
            "out.20260101T000001Z.gz",
            "out.20260101T000001Z-1",
            "out.20260101T000001Z-1.gz.part",
            "out.bak",
            "other.20260101T000000Z",
        ] {
            fs::write(place.path().join(name), name).unwrap();
        }
        let rotate = RotateSpec { compression: Compression::Gzip, ..rotate(Some(1), None) };
        tidy(&path, &rotate, &policy()).unwrap();
        assert_eq!(names(place.path()), ["other.20260101T000000Z", "out", "out.20260101T000001Z-1.gz", "out.20260101T000001Z.gz", "out.bak"]);
        let zipped = fs::read(place.path().join("out.20260101T000001Z-1.gz")).unwrap();
        assert_eq!(compression::plain(Compression::Gzip, &zipped), b"out.20260101T000001Z-1");
        // Whoever changes the compression keeps what there is.
        fs::write(place.path().join("out.20260101T000002Z"), "new").unwrap();
        tidy(&path, &RotateSpec { compression: Compression::Zstd, ..rotate }, &policy()).unwrap();
        assert_eq!(names(place.path()), ["other.20260101T000000Z", "out", "out.20260101T000001Z-1.gz", "out.20260101T000002Z.zst", "out.bak"]);
        assert_eq!(compression::plain(Compression::Zstd, &fs::read(place.path().join("out.20260101T000002Z.zst")).unwrap()), b"new");
    }

    #[test]
    fn a_link_is_not_rotated() {
        let place = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(place.path().join("there"), place.path().join("out")).unwrap();
        let error = Rotation::new(rotate(Some(1), None), policy()).settle(&place.path().join("out"), 9).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
}
