//! The exchange of a file that was put aside for a compressed one, on a simulated disk: each of its operations may be the last.

use super::*;
use crate::simulated_disk::{Platters, SimulatedDisk, remains_in_any_order};

const PLAIN: &str = "/out.20260101T000000Z";
const LINES: &[u8] = b"{\"n\":1}\n{\"n\":2}\n";

/// A disk that has the plain file, safely.
fn begun() -> Platters {
    let disk = SimulatedDisk::new(Platters::default(), usize::MAX, false);
    let file = disk.open(Path::new(PLAIN)).unwrap();
    Files::append(&disk, &file, LINES).unwrap();
    Files::sync(&disk, &file).unwrap();
    Files::sync_names(&disk, Path::new(PLAIN)).unwrap();
    disk.platters()
}

/// Whether all lines are there, in the plain file or in the compressed one.
fn check(platters: &Platters, compression: Compression) {
    let bytes = |path: &Path| platters.names.get(path.file_name().unwrap().to_str().unwrap()).map(|inode| &platters.inodes[inode].now[..]);
    let is_plain = bytes(Path::new(PLAIN)) == Some(LINES);
    let whole = bytes(&with(Path::new(PLAIN), compression::ending(compression)));
    assert!(is_plain || whole.is_some(), "{:?}", platters.names);
    if let Some(whole) = whole {
        assert_eq!(compression::plain(compression, whole), LINES, "who finds it takes it for whole");
    }
}

/// DESIGN §9: every write, sync, rename and removal × {lost, torn, zeroed, kept}; and tidied again after each, whatever the crash has left.
#[test]
fn no_crash_takes_the_plain_file_before_the_compressed_one_is_safe() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let mut crashes = 0;
        for torn in [false, true] {
            for dies_at in 1.. {
                let disk = SimulatedDisk::new(begun(), dies_at, torn);
                let ended = compress(&disk, Path::new(PLAIN), compression).is_ok();
                for left in remains_in_any_order(&disk.platters()) {
                    crashes += 1;
                    check(&left, compression);
                    if left.names.contains_key(&PLAIN[1..]) {
                        let disk = SimulatedDisk::new(left, usize::MAX, false);
                        compress(&disk, Path::new(PLAIN), compression).unwrap();
                        let names: Vec<String> = disk.platters().names.into_keys().collect();
                        assert_eq!(names, [format!("{}{}", &PLAIN[1..], compression::ending(compression))]);
                        check(&disk.platters(), compression);
                    }
                }
                if ended {
                    break;
                }
            }
        }
        assert!(crashes > 50, "{crashes} crashes");
    }
}

/// An operator may compress it, or take it away, at that moment.
#[test]
fn a_plain_file_that_is_gone_meanwhile_is_not_made_anew_and_what_has_its_place_stays() {
    let disk = SimulatedDisk::new(begun(), usize::MAX, false);
    compress(&disk, Path::new(PLAIN), Compression::Gzip).unwrap();
    let before = disk.platters().names;
    compress(&disk, Path::new(PLAIN), Compression::Gzip).unwrap_err();
    assert_eq!(disk.platters().names, before);
    check(&disk.platters(), Compression::Gzip);
}
