//! Packed files among those that are found: what was read before it was packed is not read again.

use std::io;

use logvine_cluster::checkpoint::{FileKey, FileName, HEAD_BYTES_MAX};

use super::{
    super::{
        content::Content,
        known::{Identity, Listed, read_before},
    },
    Look,
};

/// What is unpacked at once of a file whose length is looked for.
const PIECE_BYTES: usize = 256 << 10;

impl Look<'_> {
    /// Follows a gzip file that the globs mean. One that holds what was read before it was packed is followed from there on; what its original still has to
    /// give, comes from that.
    pub(super) fn consider_packed(&mut self, listed: &Listed, file: Content) -> bool {
        let original = self.memory.packed.get(&listed.identity).copied();
        if !self.context.follows(&listed.path) || original.is_some_and(|original| self.context.known().followed.contains_key(&original)) {
            return true;
        }
        if self.wait_for_copy(listed) {
            return false;
        }
        let head = file.read_at(0, HEAD_BYTES_MAX);
        match head.and_then(|head| Ok((self.packed_of(&file, &head)?, self.beginning(listed, &file, &head)?))) {
            Ok((Some(original), _)) => {
                self.memory.packed.insert(listed.identity, original);
            }
            Ok((None, start)) => {
                self.memory.packed.remove(&listed.identity);
                self.follow(self.name(listed.identity), listed, file, start);
            }
            Err(error) => {
                self.fault(&listed.path, &error);
                return false;
            }
        }
        self.memory.copies.remove(&listed.identity);
        true
    }

    /// The followed file that `file` holds the content of, as far as that was read.
    fn packed_of(&self, file: &Content, head: &[u8]) -> io::Result<Option<Identity>> {
        let alike: Vec<(Identity, FileKey, u64, Vec<u8>)> = {
            let known = self.context.known();
            let with_key = known.followed.iter().filter_map(|(identity, followed)| Some((*identity, followed.key?, followed)));
            let alike = with_key.filter(|(_, key, _)| head.get(..usize::from(key.name.head_bytes)).and_then(FileName::of) == Some(key.name));
            alike.map(|(identity, key, followed)| (identity, key, followed.offset, followed.recent.clone())).collect()
        };
        for (identity, _, offset, recent) in alike {
            if read_before(file, offset)? == recent {
                return Ok(Some(identity));
            }
        }
        Ok(None)
    }
}

/// How long a packed file is unpacked.
pub(super) fn content_bytes(file: &Content) -> io::Result<u64> {
    let mut offset = 0;
    loop {
        match file.read_at(offset, PIECE_BYTES)?.len() as u64 {
            0 => return Ok(offset),
            more => offset += more,
        }
    }
}
