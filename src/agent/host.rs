//! Reads how this machine does, for the others to know (`logvine_cluster::host`): Linux's `/proc`, and the data directory's file system.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use logvine_cluster::host::Host;
use logvine_gossip::UnixMicros;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::AgentHandle;

/// From one reading to the next: the processors' share is that of the time between.
const READ_EVERY: Duration = Duration::from_secs(15);

/// Tells the node how its machine does, for as long as the node runs.
pub(super) async fn watch(handle: AgentHandle, data_dir: PathBuf) {
    let mut before = None;
    loop {
        let dir = data_dir.clone();
        // A file system that hangs holds up this task, and not the node.
        let read = tokio::task::spawn_blocking(move || read(&dir, before)).await;
        match read {
            Ok(Ok((host, cpu))) => {
                before = Some(cpu);
                if handle.change(move |node, now| node.set_host(now, &host)).await.is_err() {
                    return;
                }
            }
            Ok(Err(error)) if before.is_none() => {
                warn!(%error, "this machine's resources cannot be read: nobody is told of them");
                return;
            }
            Ok(Err(error)) => debug!(%error, "this machine's resources were not read"),
            Err(error) => debug!(%error, "this machine's resources were not read"),
        }
        sleep(READ_EVERY).await;
    }
}

/// The time that all processors have passed, in ticks since the machine's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Cpu {
    busy: u64,
    all: u64,
}

fn read(data_dir: &Path, before: Option<Cpu>) -> io::Result<(Host, Cpu)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let disk = rustix::fs::statvfs(data_dir)?;
    let odd = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{what} is not as expected"));
    // The first reading is of all the time that the machine runs.
    let before = before.unwrap_or_default();
    let (cpu, cpus, booted) = parse_stat(&stat).ok_or_else(|| odd("/proc/stat"))?;
    let (memory_bytes, available) = parse_memory(&memory).ok_or_else(|| odd("/proc/meminfo"))?;
    let used = disk.f_blocks.saturating_sub(disk.f_bfree);
    let host = Host {
        cpus,
        cpu_pct: percent(cpu.busy.saturating_sub(before.busy), cpu.all.saturating_sub(before.all)),
        memory_bytes,
        memory_pct: percent(memory_bytes.saturating_sub(available), memory_bytes),
        disk_bytes: disk.f_blocks.saturating_mul(disk.f_frsize),
        // As df has it: what only root may use is neither used nor free.
        disk_pct: percent(used, used.saturating_add(disk.f_bavail)),
        booted,
    };
    Ok((host, cpu))
}

fn percent(part: u64, of: u64) -> u8 {
    let percent = u128::from(part) * 100 / u128::from(of.max(1));
    u8::try_from(percent.min(100)).expect("at most 100")
}

/// The processors' time, how many they are, and when the machine was started (proc(5), `/proc/stat`).
fn parse_stat(text: &str) -> Option<(Cpu, u16, UnixMicros)> {
    let all_of_them = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = all_of_them.split_whitespace().map_while(|tick| tick.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; the time of guests is in user and nice already.
    let [user, nice, system, idle, iowait, irq, softirq, steal] = *ticks.first_chunk::<8>()?;
    let busy = [user, nice, system, irq, softirq, steal].iter().sum();
    let cpus = text.lines().filter(|line| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit())));
    let booted: u64 = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let cpu = Cpu { busy, all: busy + idle + iowait };
    Some((cpu, u16::try_from(cpus.count()).unwrap_or(u16::MAX), UnixMicros(booted.checked_mul(1_000_000)?)))
}

/// All memory and what of it programs could have, in bytes (proc(5), `/proc/meminfo`).
fn parse_memory(text: &str) -> Option<(u64, u64)> {
    let bytes = |key: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1_024)
    };
    Some((bytes("MemTotal")?, bytes("MemAvailable")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "cpu  100 20 30 800 40 5 5 10 7 0\ncpu0 50 10 15 400 20 2 3 5 7 0\ncpu1 50 10 15 400 20 3 2 5 0 0\nintr 1 2 3\nctxt 9\nbtime 1700000000\n";

    #[test]
    fn the_processors_time_is_read() {
        let (cpu, cpus, booted) = parse_stat(STAT).unwrap();
        assert_eq!((cpu, cpus, booted), (Cpu { busy: 170, all: 1_010 }, 2, UnixMicros(1_700_000_000_000_000)));
        for broken in ["", "cpu  1 2 3\nbtime 1\n", "cpu  1 2 3 4 5 6 7 8\n", "cpu  1 2 3 4 5 6 7 8\nbtime 99999999999999999999\n"] {
            assert_eq!(parse_stat(broken), None, "{broken}");
        }
    }

    #[test]
    fn memory_is_what_programs_could_have() {
        let text = "MemTotal:        8000 kB\nMemFree:          100 kB\nMemAvailable:    2000 kB\nBuffers:            1 kB\n";
        assert_eq!(parse_memory(text), Some((8_192_000, 2_048_000)));
        assert_eq!(parse_memory("MemTotal: 8000 kB\n"), None);
    }

    #[test]
    fn shares_stay_within_a_hundred() {
        assert_eq!([percent(1, 4), percent(0, 0), percent(9, 4), percent(u64::MAX, u64::MAX)], [25, 0, 100, 100]);
    }

    #[test]
    fn this_machine_is_read() {
        let (first, cpu) = read(Path::new("/"), None).unwrap();
        let (second, _) = read(Path::new("/"), Some(cpu)).unwrap();
        assert!(first.cpus > 0 && first.memory_bytes > 0 && first.disk_bytes > 0 && second.booted.0 > 0, "{second:?}");
    }
}
