//! Appends whole lines to a file so that what is acknowledged survives a power cut.

use std::{
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use crate::{
    files::{Files, RealFiles},
    policy::OpenError,
};

#[cfg(test)]
mod crash;

/// A file of lines, opened when it is first needed and again when another file took its name. Blocks on the disk.
pub(super) struct AppendFile<F: Files = RealFiles> {
    path: PathBuf,
    files: F,
    file: Option<F::File>,
    /// Whether the disk is waited for.
    synced: bool,
}

impl<F: Files> fmt::Debug for AppendFile<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppendFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why lines were not appended, or not durably: append them again.
#[derive(Debug, thiserror::Error)]
pub(super) enum AppendError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot write {path}: {source}")]
    Io { path: String, source: io::Error },
}

impl AppendFile {
    /// `open` must open for reading and appending, and make the file where it is not there.
    pub(super) fn new(path: PathBuf, open: impl Fn(&Path) -> Result<File, OpenError> + Send + Sync + 'static) -> Self {
        Self::among(RealFiles::new(open), path)
    }
}

impl<F: Files> AppendFile<F> {
    fn among(files: F, path: PathBuf) -> Self {
        Self { path, files, file: None, synced: true }
    }

    /// Does not wait for the disk: a power cut may take what was appended.
    pub(super) fn unsynced(self) -> Self {
        Self { synced: false, ..self }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends `lines` (whole lines, each with its end) by one write, and waits until the disk has them.
    ///
    /// A torn last line, left by a crash or a full disk, is ended first, so that the first of these lines is whole. After an error the file is
    /// opened anew.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), AppendError> {
        let result = self.try_append(lines);
        if result.is_err() {
            self.file = None;
        }
        result
    }

    fn try_append(&mut self, lines: &[u8]) -> Result<(), AppendError> {
        let Self { path, files, file, synced } = self;
        let io = |source| AppendError::Io { path: path.display().to_string(), source };
        // What is written to one that was moved or deleted would not be found.
        let file = match file.take().filter(|file| files.is_at(path, file)) {
            Some(known) => file.insert(known),
            None => {
                let opened = files.open(path)?;
                end_torn_line(files, &opened).map_err(io)?;
                // The name of a new file must survive as well.
                files.sync_names(path).map_err(io)?;
                file.insert(opened)
            }
        };
        files.append(file, lines).and_then(|()| if *synced { files.sync(file) } else { Ok(()) }).map_err(io)
    }
}

fn end_torn_line<F: Files>(files: &F, file: &F::File) -> io::Result<()> {
    let length = files.size(file)?;
    if length == 0 || files.read(file, length - 1, 1)? == b"\n" { Ok(()) } else { files.append(file, b"\n") }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};

    use super::*;

    fn appender(path: &Path) -> AppendFile {
        AppendFile::new(path.to_owned(), |path| {
            let file = OpenOptions::new().read(true).append(true).create(true).open(path);
            file.map_err(|source| OpenError::Io { path: path.display().to_string(), source })
        })
    }

    #[test]
    fn a_line_torn_by_a_crash_is_ended_before_the_next() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("out.ndjson");
        fs::write(&path, "{\"n\":1}\n{\"n\":").unwrap();
        appender(&path).append(b"{\"n\":2}\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"n\":1}\n{\"n\":\n{\"n\":2}\n");
    }

    #[test]
    fn a_whole_file_and_an_empty_one_get_no_empty_line() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("out.ndjson");
        appender(&path).append(b"1\n").unwrap();
        appender(&path).append(b"2\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n2\n");
    }

    /// logrotate moves the file away, or deletes it: what comes after must be found under the name.
    #[test]
    fn lines_go_to_the_file_that_has_the_name() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("out.ndjson");
        let mut file = appender(&path);
        file.append(b"1\n").unwrap();
        fs::rename(&path, place.path().join("out.ndjson.1")).unwrap();
        file.append(b"2\n").unwrap();
        fs::remove_file(&path).unwrap();
        file.append(b"3\n").unwrap();
        assert_eq!(fs::read_to_string(place.path().join("out.ndjson.1")).unwrap(), "1\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
    }

    #[test]
    fn an_error_is_told_and_the_next_append_tries_anew() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("missing");
        let path = directory.join("out.ndjson");
        let mut file = appender(&path);
        let error = file.append(b"1\n").unwrap_err().to_string();
        assert!(error.contains("missing/out.ndjson"), "{error}");
        fs::create_dir(&directory).unwrap();
        file.append(b"1\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    }

    /// `/dev/full` is a disk without room.
    #[test]
    fn a_full_disk_is_an_error_and_not_an_acknowledgement() {
        let mut file = AppendFile::new("/dev/full".into(), |path| {
            let file = OpenOptions::new().write(true).open(path);
            file.map_err(|source| OpenError::Io { path: path.display().to_string(), source })
        });
        let error = file.append(b"1\n").unwrap_err().to_string();
        assert!(error.contains("No space left"), "{error}");
    }
}
