//! What files that are appended to and put aside ask of a file system, so that a test can put a simulated one in its place.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

use crate::{policy::OpenError, reader::read_at};

/// What was not synced may be lost, torn or kept at a crash; a name is safe once its directory is synced. All of it blocks.
pub(crate) trait Files: Send + 'static {
    type File: Send;

    /// Opens for reading and appending, and makes it where it is not there; then its name is not yet safe, but the directories above are.
    fn open(&self, path: &Path) -> Result<Self::File, OpenError>;
    /// Opens for reading what is there.
    fn open_to_read(&self, path: &Path) -> io::Result<Self::File>;
    /// Whether the name still leads to this file.
    fn is_at(&self, path: &Path, file: &Self::File) -> bool;
    fn size(&self, file: &Self::File) -> io::Result<u64>;
    /// The bytes from `offset` on, `most` at most; fewer only at the file's end.
    fn read(&self, file: &Self::File, offset: u64, most: usize) -> io::Result<Vec<u8>>;
    fn append(&self, file: &Self::File, bytes: &[u8]) -> io::Result<()>;
    /// Takes all bytes away.
    fn clear(&self, file: &Self::File) -> io::Result<()>;
    /// Waits until the file's bytes are safe.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Waits until all that was made, renamed and removed in the directory of `path` is safe.
    fn sync_names(&self, path: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
}

type Open = Box<dyn Fn(&Path) -> Result<File, OpenError> + Send + Sync>;

/// Real files, opened as their owner says.
pub(crate) struct RealFiles {
    open: Open,
}

impl RealFiles {
    /// `open` must open for reading and appending, and make the file, and the directories above it, where they are not there.
    pub(crate) fn new(open: impl Fn(&Path) -> Result<File, OpenError> + Send + Sync + 'static) -> Self {
        Self { open: Box::new(open) }
    }
}

impl fmt::Debug for RealFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RealFiles").finish_non_exhaustive()
    }
}

impl Files for RealFiles {
    type File = File;

    fn open(&self, path: &Path) -> Result<File, OpenError> {
        let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|above| !above.exists()).collect();
        let file = (self.open)(path)?;
        for above in missing {
            self.sync_names(above).map_err(|source| OpenError::Io { path: path.display().to_string(), source })?;
        }
        Ok(file)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    fn is_at(&self, path: &Path, file: &File) -> bool {
        match (fs::metadata(path), file.metadata()) {
            (Ok(there), Ok(here)) => (there.dev(), there.ino()) == (here.dev(), here.ino()),
            _ => false,
        }
    }

    fn size(&self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn read(&self, file: &File, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        read_at(file, offset, most)
    }

    fn append(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn clear(&self, file: &File) -> io::Result<()> {
        file.set_len(0)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_names(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}
