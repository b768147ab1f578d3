//! The events on this node's disk: lines of JSON in segments, bounded by size and age, whole after a crash (DESIGN §8.2).
//!
//! ```text
//! data_dir/events/00111…111.ndjson   the stamp of its first event; the oldest segment goes first
//!                 00222…222.ndjson   the newest: what a crash tore off its end is cut when it is opened
//! ```
//! A line is written as soon as it is told, so that a killed process loses none, and fsynced within a second, so that a lost host loses no more than that.
//! Where the disk refuses, lines wait in memory up to a bound; what does not fit is counted, and said in the place where it is missing.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use logvine_gossip::Stamp;

use super::EventRow;

/// What is kept at most (DESIGN §8.2).
const BYTES_MAX: u64 = 64 << 20;
const KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The step in which the oldest go; also what one look into the past reads at once.
const SEGMENT_BYTES_MAX: u64 = 4 << 20;
const ENDING: &str = ".ndjson";

/// An event with its place in the order.
pub(super) type Told = (Stamp, Arc<EventRow>);

/// The segments, open at their end.
#[derive(Debug)]
pub(super) struct Journal {
    directory: PathBuf,
    /// The last segment, as far as it is whole.
    last: Option<Segment>,
    segment_bytes_max: u64,
    bytes_max: u64,
}

#[derive(Debug)]
struct Segment {
    file: File,
    bytes: u64,
}

impl Journal {
    /// Opens the journal in `directory`, makes it where it is missing, and cuts what a crash tore. Errors: the disk's; nothing but the torn end is changed.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        Self::bounded(directory, SEGMENT_BYTES_MAX, BYTES_MAX)
    }

    fn bounded(directory: &Path, segment_bytes_max: u64, bytes_max: u64) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
        builder.create(directory)?;
        let last = segments(directory)?.pop().map(|(_, path)| Segment::open(&path)).transpose()?;
        Ok(Self { directory: directory.to_owned(), last, segment_bytes_max, bytes_max })
    }

    /// Appends events, in order, and drops what is over the bounds. Errors: the disk's; of the events none is in the journal then.
    pub(super) fn append(&mut self, told: &[Told]) -> io::Result<()> {
        let Some((first, _)) = told.first() else { return Ok(()) };
        if self.last.as_ref().is_none_or(|last| last.bytes >= self.segment_bytes_max) {
            self.sync()?;
            let path = self.directory.join(format!("{:020}{ENDING}", first.0));
            self.last = Some(Segment::open(&path)?);
            File::open(&self.directory)?.sync_all()?;
            self.drop_old(*first)?;
        }
        let mut lines = Vec::new();
        for (_, row) in told {
            serde_json::to_writer(&mut lines, &**row)?;
            lines.push(b'\n');
        }
        self.last.as_mut().expect("opened above").append(&lines)
    }

    /// Has the disk keep what was appended.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.last.as_ref().map_or(Ok(()), |last| last.file.sync_data())
    }

    fn drop_old(&self, now: Stamp) -> io::Result<()> {
        let oldest = Stamp::from_millis(now.as_millis().saturating_sub(u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX)));
        let segments = segments(&self.directory)?;
        let sizes = segments.iter().map(|(_, path)| Ok(fs::metadata(path)?.len())).collect::<io::Result<Vec<u64>>>()?;
        // Room for what is written next is made now: the bound holds all the time.
        let mut bytes = sizes.iter().sum::<u64>() + self.segment_bytes_max;
        // All of a segment is older than the next one's first.
        for (at, pair) in segments.windows(2).enumerate() {
            if bytes > self.bytes_max || pair[1].0 <= oldest {
                fs::remove_file(&pair[0].1)?;
                bytes -= sizes[at];
            } else {
                break;
            }
        }
        Ok(())
    }
}

impl Segment {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let text = fs::read(path)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end as u64 + 1);
        if whole < text.len() as u64 {
            file.set_len(whole)?;
        }
        Ok(Self { file, bytes: whole })
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(lines) {
            // Half a line would spoil the next one.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += lines.len() as u64;
        Ok(())
    }
}

/// What lies between two points of the past.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// In order.
    pub(super) told: Vec<Told>,
    /// The first event of all that are on disk.
    pub(super) oldest: Option<Stamp>,
    /// Whether there may be more, after the last of these.
    pub(super) more: bool,
}

/// The events on disk after `after`, as many as one segment has. Lines that are none (a flipped bit) are left out. Blocks on the disk.
pub(super) fn read(directory: &Path, after: Stamp) -> io::Result<Past> {
    let segments = segments(directory)?;
    let oldest = segments.first().map(|(stamp, _)| *stamp);
    // The segment that has `after` in it; where it has nothing behind it, the next.
    let begin = segments.partition_point(|(stamp, _)| *stamp <= after).saturating_sub(1);
    for (at, (_, path)) in segments.iter().enumerate().skip(begin) {
        let told: Vec<Told> = match fs::read(path) {
            Ok(text) => parse(&text).filter(|(stamp, _)| *stamp > after).collect(),
            // It was the oldest, and has just been dropped.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if !told.is_empty() {
            return Ok(Past { told, oldest, more: at + 1 < segments.len() });
        }
    }
    Ok(Past { told: Vec::new(), oldest, more: false })
}

/// The newest events on disk, at most `most`. Blocks on the disk.
pub(super) fn newest(directory: &Path, most: usize) -> io::Result<Vec<Told>> {
    let mut found: Vec<Told> = Vec::new();
    for (_, path) in segments(directory)?.into_iter().rev() {
        let mut told: Vec<Told> = parse(&fs::read(path)?).collect();
        told.append(&mut found);
        found = told;
        if found.len() >= most {
            break;
        }
    }
    Ok(found.split_off(found.len().saturating_sub(most)))
}

fn parse(text: &[u8]) -> impl Iterator<Item = Told> {
    text.split_inclusive(|byte| *byte == b'\n').filter_map(|line| {
        let row: EventRow = serde_json::from_slice(line.strip_suffix(b"\n")?).ok()?;
        Some((super::stamp_of(&row.id)?, Arc::new(row)))
    })
}

fn segments(directory: &Path) -> io::Result<Vec<(Stamp, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let stamp = path.file_name().and_then(|name| name.to_str()?.strip_suffix(ENDING)?.parse().ok());
        found.extend(stamp.map(|stamp| (stamp, path)));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(at: u64) -> Told {
        let row = EventRow {
            id: format!("{:020}-n1", at << 16),
            time: "2026-01-01T00:00:00.000Z".to_owned(),
            kind: "test".to_owned(),
            node: None,
            runner: None,
            source: None,
            sources: None,
            operation: None,
            detail: at.to_string(),
        };
        (Stamp::from_millis(at), Arc::new(row))
    }

    fn details(told: &[Told]) -> Vec<&str> {
        told.iter().map(|(_, row)| row.detail.as_str()).collect()
    }

    fn all(directory: &Path) -> Vec<String> {
        let (mut found, mut after) = (Vec::new(), Stamp::ZERO);
        loop {
            let past = read(directory, after).unwrap();
            let Some((last, _)) = past.told.last() else { return found };
            after = *last;
            found.extend(past.told.iter().map(|(_, row)| row.detail.clone()));
        }
    }

    fn bytes(directory: &Path) -> u64 {
        segments(directory).unwrap().iter().map(|(_, path)| fs::metadata(path).unwrap().len()).sum()
    }

    /// A crash may tear the last write at any byte.
    #[test]
    fn what_a_crash_tore_is_cut_and_what_follows_is_whole() {
        let home = tempfile::tempdir().unwrap();
        Journal::open(home.path()).unwrap().append(&[told(1), told(2)]).unwrap();
        let path = segments(home.path()).unwrap()[0].1.clone();
        let whole = fs::read(&path).unwrap();
        let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for torn in second..whole.len() {
            fs::write(&path, &whole[..torn]).unwrap();
            Journal::open(home.path()).unwrap().append(&[told(3)]).unwrap();
            assert_eq!(all(home.path()), ["1", "3"], "torn at {torn}");
        }
        fs::write(&path, &whole).unwrap();
        Journal::open(home.path()).unwrap().append(&[told(3)]).unwrap();
        assert_eq!(all(home.path()), ["1", "2", "3"]);
    }

    #[test]
    fn the_bound_holds_and_the_oldest_go_first() {
        let home = tempfile::tempdir().unwrap();
        let mut journal = Journal::bounded(home.path(), 1_000, 10_000).unwrap();
        for at in 1..=500 {
            journal.append(&[told(at)]).unwrap();
            assert!(bytes(home.path()) <= 10_000 + 200, "{} bytes at {at}", bytes(home.path()));
        }
        let kept = all(home.path());
        assert!(kept.len() > 30 && kept.last().unwrap() == "500", "{kept:?}");
        let first: usize = kept[0].parse().unwrap();
        assert_eq!(kept.len(), 501 - first, "without a hole");
        assert_eq!(read(home.path(), Stamp::ZERO).unwrap().oldest, Some(Stamp::from_millis(first as u64)));
    }

    /// By segments: what one has last may be as young as the first of the next.
    #[test]
    fn what_is_older_than_a_week_goes_when_a_segment_begins() {
        let home = tempfile::tempdir().unwrap();
        let mut journal = Journal::bounded(home.path(), 1, 1 << 20).unwrap();
        let week = 7 * 24 * 3_600 * 1_000;
        for at in [1, 2, 3, week + 1_000, week + 2_000] {
            journal.append(&[told(at)]).unwrap();
        }
        assert_eq!(all(home.path()), ["3".to_owned(), (week + 1_000).to_string(), (week + 2_000).to_string()]);
    }

    #[test]
    fn a_line_that_is_none_is_left_out_and_the_rest_is_read() {
        let home = tempfile::tempdir().unwrap();
        Journal::open(home.path()).unwrap().append(&[told(1), told(2), told(3)]).unwrap();
        let path = segments(home.path()).unwrap()[0].1.clone();
        let mut text = fs::read(&path).unwrap();
        let second = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        text[second] ^= 1;
        fs::write(&path, text).unwrap();
        assert_eq!(all(home.path()), ["1", "3"]);
    }

    #[test]
    fn the_newest_are_read_across_segments() {
        let home = tempfile::tempdir().unwrap();
        let mut journal = Journal::bounded(home.path(), 300, 1 << 20).unwrap();
        (1..=20).for_each(|at| journal.append(&[told(at)]).unwrap());
        assert_eq!(details(&newest(home.path(), 3).unwrap()), ["18", "19", "20"]);
        assert_eq!(newest(home.path(), 100).unwrap().len(), 20);
    }
}
