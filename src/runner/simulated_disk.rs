//! A disk for tests, on which each write, sync, rename and removal may be the last, and what was not synced is lost, torn or kept.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use crate::{files::Files, policy::OpenError, queue::disk::Disk};

/// What a crash makes of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unsynced {
    Lost,
    /// The first half of it is there.
    Half,
    /// Its length is there, its bytes are zeros.
    Zeros,
    Kept,
}

const UNSYNCED: [Unsynced; 4] = [Unsynced::Lost, Unsynced::Half, Unsynced::Zeros, Unsynced::Kept];

#[derive(Debug, Clone, Default)]
pub(crate) struct Inode {
    pub(crate) now: Vec<u8>,
    safe: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Naming {
    Link(String, u32),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Platters {
    pub(crate) inodes: BTreeMap<u32, Inode>,
    pub(crate) names: BTreeMap<String, u32>,
    safe_names: BTreeMap<String, u32>,
    /// Since the directory was synced.
    naming: Vec<Naming>,
    made: u32,
}

impl Platters {
    fn apply(names: &mut BTreeMap<String, u32>, naming: &Naming) {
        match naming {
            Naming::Link(name, inode) => drop(names.insert(name.clone(), *inode)),
            Naming::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Naming::Remove(name) => drop(names.remove(name)),
        }
    }

    fn name(&mut self, naming: Naming) {
        Self::apply(&mut self.names, &naming);
        self.naming.push(naming);
    }

    /// What is found after a crash: of the namings that were not synced those have come through whose bits are set.
    fn after_crash(&self, unsynced: Unsynced, namings: usize) -> Self {
        let mut names = self.safe_names.clone();
        let through = self.naming.iter().enumerate().filter(|(at, _)| namings >> at & 1 == 1);
        through.for_each(|(_, naming)| Self::apply(&mut names, naming));
        let mut inodes = self.inodes.clone();
        for inode in inodes.values_mut() {
            let (now, safe) = (inode.now.len(), inode.safe.len());
            inode.now = match unsynced {
                Unsynced::Lost => inode.safe.clone(),
                Unsynced::Kept => inode.now.clone(),
                // A truncation is there or not; there are no halves of one.
                _ if now <= safe => inode.safe.clone(),
                Unsynced::Half => inode.now[..safe + (now - safe).div_ceil(2)].to_vec(),
                Unsynced::Zeros => [&inode.safe[..], &vec![0; now - safe]].concat(),
            };
            inode.safe.clone_from(&inode.now);
        }
        Self { inodes, safe_names: names.clone(), names, naming: vec![], made: self.made }
    }
}

/// A disk that dies at the operation of this number: that one is not done, or, if `torn`, half done.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedDisk {
    platters: Arc<Mutex<Platters>>,
    operations: Arc<Mutex<usize>>,
    dies_at: usize,
    torn: bool,
    /// It takes half of what is appended.
    pub(crate) full: Arc<AtomicBool>,
}

impl SimulatedDisk {
    pub(crate) fn new(platters: Platters, dies_at: usize, torn: bool) -> Self {
        Self { platters: Arc::new(Mutex::new(platters)), operations: Arc::default(), dies_at, torn, full: Arc::default() }
    }

    /// As it is now.
    pub(crate) fn platters(&self) -> Platters {
        self.platters.lock().unwrap().clone()
    }

    /// Counts an operation that changes something. Errors: the power is off.
    fn change(&self, change: impl FnOnce(&mut Platters), half: impl FnOnce(&mut Platters)) -> io::Result<()> {
        let mut operations = self.operations.lock().unwrap();
        let mut platters = self.platters.lock().unwrap();
        *operations += 1;
        match (*operations).cmp(&self.dies_at) {
            std::cmp::Ordering::Less => change(&mut platters),
            std::cmp::Ordering::Equal if self.torn => half(&mut platters),
            _ => {}
        }
        if *operations >= self.dies_at { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    fn inode(platters: &Platters, name: &str) -> io::Result<u32> {
        platters.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn with<T>(&self, name: &str, look: impl FnOnce(&Inode) -> T) -> io::Result<T> {
        let platters = self.platters.lock().unwrap();
        Ok(look(&platters.inodes[&Self::inode(&platters, name)?]))
    }

    fn change_file(&self, name: &str, change: impl FnOnce(&mut Inode), half: impl FnOnce(&mut Inode)) -> io::Result<()> {
        let inode = Self::inode(&self.platters.lock().unwrap(), name)?;
        self.change_inode(inode, change, half)
    }

    fn change_inode(&self, inode: u32, change: impl FnOnce(&mut Inode), half: impl FnOnce(&mut Inode)) -> io::Result<()> {
        self.change(|platters| change(platters.inodes.get_mut(&inode).unwrap()), |platters| half(platters.inodes.get_mut(&inode).unwrap()))
    }
}

impl Disk for SimulatedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.platters.lock().unwrap().names.keys().cloned().collect())
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        self.with(name, |inode| inode.now.len() as u64)
    }

    fn read(&self, name: &str, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        self.with(name, |inode| inode.now.iter().skip(usize::try_from(offset).unwrap()).take(most).copied().collect())
    }

    fn create(&self, name: &str) -> io::Result<()> {
        if Self::inode(&self.platters.lock().unwrap(), name).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let create = |platters: &mut Platters| {
            platters.made += 1;
            platters.inodes.insert(platters.made, Inode::default());
            platters.name(Naming::Link(name.to_owned(), platters.made));
        };
        self.change(create, |_| {})
    }

    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if self.full.load(Relaxed) {
            self.change_file(name, |inode| inode.now.extend_from_slice(&bytes[..bytes.len() / 2]), |_| {})?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.change_file(name, |inode| inode.now.extend_from_slice(bytes), |inode| inode.now.extend_from_slice(&bytes[..bytes.len() / 2]))
    }

    fn truncate(&self, name: &str, size: u64) -> io::Result<()> {
        self.change_file(name, |inode| inode.now.truncate(usize::try_from(size).unwrap()), |_| {})
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.change_file(name, |inode| inode.safe.clone_from(&inode.now), |_| {})
    }

    fn sync_names(&self) -> io::Result<()> {
        let sync = |platters: &mut Platters| {
            platters.safe_names.clone_from(&platters.names);
            platters.naming.clear();
        };
        self.change(sync, |_| {})
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Self::inode(&self.platters.lock().unwrap(), from)?;
        self.change(|platters| platters.name(Naming::Rename(from.to_owned(), to.to_owned())), |_| {})
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Self::inode(&self.platters.lock().unwrap(), name)?;
        self.change(|platters| platters.name(Naming::Remove(name.to_owned())), |_| {})
    }
}

/// By the last part of their paths: it is one directory. A file is its inode.
impl Files for SimulatedDisk {
    type File = u32;

    fn open(&self, path: &Path) -> Result<u32, OpenError> {
        let name = name(path);
        let io = |source| OpenError::Io { path: name.to_owned(), source };
        match Disk::create(self, name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io(error)),
            _ => {}
        }
        Self::inode(&self.platters.lock().unwrap(), name).map_err(io)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<u32> {
        Self::inode(&self.platters.lock().unwrap(), name(path))
    }

    fn is_at(&self, path: &Path, file: &u32) -> bool {
        self.platters.lock().unwrap().names.get(name(path)) == Some(file)
    }

    fn size(&self, file: &u32) -> io::Result<u64> {
        Ok(self.platters.lock().unwrap().inodes[file].now.len() as u64)
    }

    fn read(&self, file: &u32, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let platters = self.platters.lock().unwrap();
        Ok(platters.inodes[file].now.iter().skip(usize::try_from(offset).unwrap()).take(most).copied().collect())
    }

    fn append(&self, file: &u32, bytes: &[u8]) -> io::Result<()> {
        self.change_inode(*file, |inode| inode.now.extend_from_slice(bytes), |inode| inode.now.extend_from_slice(&bytes[..bytes.len() / 2]))
    }

    fn clear(&self, file: &u32) -> io::Result<()> {
        self.change_inode(*file, |inode| inode.now.clear(), |_| {})
    }

    fn sync(&self, file: &u32) -> io::Result<()> {
        self.change_inode(*file, |inode| inode.safe.clone_from(&inode.now), |_| {})
    }

    fn sync_names(&self, _: &Path) -> io::Result<()> {
        Disk::sync_names(self)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk::rename(self, name(from), name(to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk::remove(self, name(path))
    }
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("tests name files by text")
}

/// What a crash may leave of what has been done, where a directory's changes come through in their order, as journals keep it.
pub(crate) fn remains(platters: &Platters) -> impl Iterator<Item = Platters> {
    let namings = 0..=platters.naming.len();
    namings.flat_map(|namings| UNSYNCED.map(|unsynced| platters.after_crash(unsynced, (1 << namings) - 1)))
}

/// The same where they come through in any order.
pub(crate) fn remains_in_any_order(platters: &Platters) -> impl Iterator<Item = Platters> {
    let namings = 0..1 << platters.naming.len();
    namings.flat_map(|namings| UNSYNCED.map(|unsynced| platters.after_crash(unsynced, namings)))
}
