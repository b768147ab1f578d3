//! Dead letters, and the file of a `file` sender, on a simulated disk: each of its operations may be the last.

use std::collections::BTreeSet;

use super::*;
use crate::simulated_disk::{Platters, SimulatedDisk, remains};

const PATH: &str = "/out";
const ASIDE: &str = "/out.aside";

/// Lines that somebody was told are safe, and those that were tried.
#[derive(Debug, Clone, Default)]
struct Known {
    safe: BTreeSet<u32>,
    tried: u32,
}

impl Known {
    /// Groups of lines are appended; in between the file is put aside, as a rotation does.
    fn work(&mut self, disk: &SimulatedDisk) -> Result<(), AppendError> {
        let mut file = AppendFile::among(disk.clone(), PATH.into());
        for group in 1..=4 {
            let numbers = self.tried..self.tried + group;
            self.tried = numbers.end;
            let lines: String = numbers.clone().map(|number| format!("line {number}\n")).collect();
            file.append(lines.as_bytes())?;
            self.safe.extend(numbers);
            if group == 2 && !disk.platters().names.contains_key("out.aside") {
                disk.rename(Path::new(PATH), Path::new(ASIDE)).map_err(|source| AppendError::Io { path: PATH.to_owned(), source })?;
            }
        }
        Ok(())
    }

    /// All that was told safe is there as whole lines. What a crash tore is a line of its own.
    fn check(&self, platters: &Platters) {
        let bytes: Vec<u8> = platters.names.values().flat_map(|inode| platters.inodes[inode].now.iter().chain(b"\n").copied()).collect();
        let there: BTreeSet<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        let lost: Vec<_> = self.safe.iter().filter(|number| !there.contains(format!("line {number}").as_bytes())).collect();
        assert!(lost.is_empty(), "{lost:?} of {self:?}; found {}", String::from_utf8_lossy(&bytes));
    }
}

/// DESIGN §9: every write, sync and rename × {lost, torn, zeroed, kept}, and again while what comes after the crash is written.
#[test]
fn no_crash_loses_a_line_that_was_told_safe() {
    let (mut crashes, mut again) = (0, 0);
    for torn in [false, true] {
        for dies_at in 1.. {
            let mut known = Known::default();
            let disk = SimulatedDisk::new(Platters::default(), dies_at, torn);
            let ended = known.work(&disk).is_ok();
            for left in remains(&disk.platters()) {
                crashes += 1;
                known.check(&left);
                for dies_again in 1.. {
                    let mut known = known.clone();
                    let disk = SimulatedDisk::new(left.clone(), dies_again, torn);
                    let ended = known.work(&disk).is_ok();
                    for left in remains(&disk.platters()) {
                        again += 1;
                        known.check(&left);
                    }
                    if ended {
                        break;
                    }
                }
            }
            if ended {
                break;
            }
        }
    }
    // Each of some fifteen operations, by each of the ways.
    assert!(crashes > 100 && again > 3_000, "{crashes} crashes, {again} after one");
}
