//! Sentences on what befalls machines, links and disks.
//!
//! | sentence | |
//! |---|---|
//! | `pause X at T for D` | SIGSTOP and SIGCONT |
//! | `slow X at T for D by MS` | it handles every input at least so much later |
//! | `step X at T by S` | its wall clock is set forwards, or back (`-3600`) |
//! | `drift X PPM` | its monotonic clock goes faster, or slower, all the time |
//! | `full X at T for D` · `unsynced X at T for D` | its disk has no room; its fsync fails |
//! | `flap a from b at T for D down S up S` | the links between them come and go |
//! | `flips N` | per mille of the datagrams are damaged |
//! | `link BYTES` | every host sends so many bytes a second, and queues half a second's |

use std::time::Duration;

use super::{ScriptError, both_ways, number, seconds, sides};
use crate::{
    chance::Delay,
    disk::DiskFault,
    network::{CutId, Flapping, Link},
    scenario::{Deed, Scenario},
};

/// Takes a sentence, if it is one of these.
pub(super) fn sentence(scenario: &mut Scenario, id: CutId, words: &[&str]) -> Result<(), ScriptError> {
    let find = |name: &str| scenario.place_of(name).ok_or_else(|| ScriptError::Node(name.to_owned()));
    let (from, to, at, length) = match words {
        ["flips", per_mille] => {
            scenario.network.flips = u32::try_from(number(per_mille)?).unwrap_or(1_000);
            return Ok(());
        }
        ["link", bytes] => {
            let bytes_per_second = u32::try_from(number(bytes)?).unwrap_or(u32::MAX);
            scenario.network.link = Some(Link { bytes_per_second, queue_bytes: bytes_per_second / 2 });
            return Ok(());
        }
        ["drift", node, ppm] => {
            let node = find(node)?;
            scenario.nodes[node].drift_ppm = signed(ppm)?;
            return Ok(());
        }
        ["step", node, "at", at, "by", by] => {
            let deed = Deed::StepClock { node: find(node)?, by_ms: signed(by)? * 1_000 };
            scenario.deeds.push((seconds(at)?, deed));
            return Ok(());
        }
        ["pause", node, "at", at, "for", length] => {
            let node = find(node)?;
            (Deed::Pause { node }, Deed::Resume { node }, at, length)
        }
        ["slow", node, "at", at, "for", length, "by", millis] => {
            let (node, least) = (find(node)?, Duration::from_millis(number(millis)?));
            (Deed::Slow { node, lateness: Delay { least, half: least / 4 } }, Deed::Quick { node }, at, length)
        }
        ["full", node, "at", at, "for", length] => {
            let node = find(node)?;
            (Deed::DiskFails { node, fault: DiskFault::Full }, Deed::DiskWorks { node }, at, length)
        }
        ["unsynced", node, "at", at, "for", length] => {
            let node = find(node)?;
            (Deed::DiskFails { node, fault: DiskFault::Sync }, Deed::DiskWorks { node }, at, length)
        }
        ["flap", names @ .., "at", at, "for", length, "down", down, "up", up] => {
            let (these, those) = sides(scenario, names, "from")?;
            let flapping = Flapping { down: seconds(down)?, up: seconds(up)? };
            (Deed::Flap { id, directions: both_ways(&these, &those), flapping }, Deed::Mend { id }, at, length)
        }
        other => return Err(ScriptError::Sentence(other.join(" "))),
    };
    let at = seconds(at)?;
    scenario.deeds.push((at, from));
    scenario.deeds.push((at + seconds(length)?, to));
    Ok(())
}

fn signed(text: &str) -> Result<i64, ScriptError> {
    text.parse().map_err(|_| ScriptError::Number(text.to_owned()))
}
