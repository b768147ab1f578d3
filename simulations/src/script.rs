//! Scenarios as people write them: `nodes a b c; sources 6; crash b at 20; start b at 40; run 60`.
//!
//! Sentences end with `;`. Times are seconds of virtual time. A scripted world is calm but for what is said.
//!
//! | sentence | |
//! |---|---|
//! | `nodes a b c` | first; they start one after the other, 0.1 s apart |
//! | `seed N` | another seed than 1 |
//! | `sources N` | a runner with so many sources is applied through the first node at 5 s |
//! | `loss N` · `latency MS` | of every datagram, per mille; one way |
//! | `crash X at T` · `crash X flushing at T` · `stop X at T` · `start X at T` | |
//! | `image X at T` · `restart X from image at T` | keeps a copy of its disk; starts it from the last copy |
//! | `wipe X at T` · `lose X at T` | its data directory is gone (it starts as another node); its store only |
//! | `twin X of Y at T` · `move X to Y at T` | a copy of Y's data directory starts as X, while Y runs; X's data directory starts at Y's address |
//! | `power off X at T` | its host, too: nobody refuses in its name |
//! | `drain X at T` · `undrain X at T` | |
//! | `cut a b from c at T for D` | in both directions; `mute a at T for D`: nothing that it sends arrives |
//! | `deafen a at T for D` | nothing that is sent to it arrives |
//! | `reject a b to c at T for D` | a firewall refuses what they send it |
//! | `forge a b to c at T for D` | it arrives, and a stranger forges refusals of it |
//! | `filter c to a at T for D` · `no refusals` | refusals are dropped on the way from c to a; anywhere and always |
//! | `run T` | until then, and no longer |
//! | `settle T` | the faults end then; the cluster must settle and deliver everything |
//!
//! `script/faults.rs` has those on machines, links and disks.

mod faults;

use std::{collections::BTreeSet, time::Duration};

use crate::{
    chance::Delay,
    knock::Meddler,
    network::{CutId, Direction},
    scenario::{Deed, Ending, Scenario},
};

/// Why a script makes no scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    #[error("a script begins with `nodes` and their names")]
    Nodes,
    #[error("`{0}` is not a sentence: see the table in script.rs")]
    Sentence(String),
    #[error("there is no node `{0}`")]
    Node(String),
    #[error("`{0}` is not a number")]
    Number(String),
}

/// Reads a script.
pub fn parse(text: &str) -> Result<Scenario, ScriptError> {
    let mut sentences = text.split(';').map(|sentence| sentence.split_whitespace().collect::<Vec<_>>()).filter(|words| !words.is_empty());
    let first = sentences.next().ok_or(ScriptError::Nodes)?;
    let ["nodes", names @ ..] = first.as_slice() else { return Err(ScriptError::Nodes) };
    if names.is_empty() {
        return Err(ScriptError::Nodes);
    }
    let mut scenario = Scenario::calm(1, names, 0);
    for (at, words) in sentences.enumerate() {
        sentence(&mut scenario, CutId(at), &words)?;
    }
    Ok(scenario.sorted())
}

fn sentence(scenario: &mut Scenario, cut: CutId, words: &[&str]) -> Result<(), ScriptError> {
    let find = |name: &str| scenario.place_of(name).ok_or_else(|| ScriptError::Node(name.to_owned()));
    let deed = match words {
        ["seed", seed] => {
            scenario.seed = number(seed)?;
            return Ok(());
        }
        ["sources", count] => {
            let names: Vec<_> = scenario.nodes.iter().map(|node| node.name.as_str()).collect();
            let calm = Scenario::calm(scenario.seed, &names, usize::try_from(number(count)?).unwrap_or(usize::MAX));
            let apply = calm.deeds.into_iter().filter(|(_, deed)| matches!(deed, Deed::Apply { .. }));
            (scenario.sources, scenario.deeds) = (calm.sources, scenario.deeds.drain(..).chain(apply).collect());
            return Ok(());
        }
        ["loss", per_mille] => {
            scenario.network.loss = u32::try_from(number(per_mille)?).unwrap_or(1_000);
            return Ok(());
        }
        ["latency", millis] => {
            scenario.network.latency = Delay::fixed(Duration::from_millis(number(millis)?));
            return Ok(());
        }
        ["no", "refusals"] => {
            scenario.network.refusals = false;
            return Ok(());
        }
        ["run", until] => {
            scenario.ending = Ending::At(seconds(until)?);
            return Ok(());
        }
        ["settle", at] => {
            scenario.ending = Ending::Settled;
            let core = (0..scenario.nodes.len()).collect();
            (seconds(at)?, Deed::Heal { core })
        }
        ["crash", node, "at", at] => (seconds(at)?, Deed::Crash { node: find(node)? }),
        ["power", "off", node, "at", at] => (seconds(at)?, Deed::PowerOff { node: find(node)? }),
        ["crash", node, "flushing", "at", at] => (seconds(at)?, Deed::CrashFlushing { node: find(node)? }),
        ["stop", node, "at", at] => (seconds(at)?, Deed::Stop { node: find(node)? }),
        ["start", node, "at", at] => (seconds(at)?, Deed::Start { node: find(node)? }),
        ["image", node, "at", at] => (seconds(at)?, Deed::Image { node: find(node)? }),
        ["restart", node, "from", "image", "at", at] => (seconds(at)?, Deed::RestartFromImage { node: find(node)? }),
        ["wipe", node, "at", at] => (seconds(at)?, Deed::Wipe { node: find(node)? }),
        ["lose", node, "at", at] => (seconds(at)?, Deed::LoseStore { node: find(node)? }),
        ["twin", node, "of", of, "at", at] => (seconds(at)?, Deed::Twin { node: find(node)?, of: find(of)? }),
        ["move", from, "to", to, "at", at] => (seconds(at)?, Deed::Move { from: find(from)?, to: find(to)? }),
        ["drain", node, "at", at] => (seconds(at)?, Deed::Drain { node: find(node)?, draining: true }),
        ["undrain", node, "at", at] => (seconds(at)?, Deed::Drain { node: find(node)?, draining: false }),
        ["deafen", node, "at", at, "for", length] => {
            let (node, all) = (find(node)?, 0..scenario.nodes.len());
            let directions = all.filter(|other| *other != node).map(|other| (other, node)).collect();
            return cut_for(scenario, cut, directions, at, length);
        }
        ["mute", node, "at", at, "for", length] => {
            let (node, all) = (find(node)?, 0..scenario.nodes.len());
            let directions = all.filter(|other| *other != node).map(|other| (node, other)).collect();
            return cut_for(scenario, cut, directions, at, length);
        }
        ["cut", sides @ .., "at", at, "for", length] => {
            let (these, those) = self::sides(scenario, sides, "from")?;
            return cut_for(scenario, cut, both_ways(&these, &those), at, length);
        }
        [meddler @ ("reject" | "forge" | "filter"), between @ .., "at", at, "for", length] => {
            let (these, those) = self::sides(scenario, between, "to")?;
            let directions = these.iter().flat_map(|from| those.iter().map(|to| (*from, *to))).collect();
            let meddler = match *meddler {
                "reject" => Meddler::Reject,
                "forge" => Meddler::Forge,
                _ => Meddler::Filter,
            };
            let at = seconds(at)?;
            scenario.deeds.push((at, Deed::Meddle { id: cut, meddler, directions }));
            (at + seconds(length)?, Deed::Mend { id: cut })
        }
        other => return faults::sentence(scenario, cut, other),
    };
    scenario.deeds.push(deed);
    Ok(())
}

fn cut_for(scenario: &mut Scenario, id: CutId, directions: Vec<Direction>, at: &str, length: &str) -> Result<(), ScriptError> {
    let at = seconds(at)?;
    scenario.deeds.push((at, Deed::Cut { id, directions }));
    scenario.deeds.push((at + seconds(length)?, Deed::Mend { id }));
    Ok(())
}

/// `a b from c`.
fn sides(scenario: &Scenario, words: &[&str], between: &str) -> Result<(BTreeSet<usize>, BTreeSet<usize>), ScriptError> {
    let place = |name: &&str| scenario.place_of(name).ok_or_else(|| ScriptError::Node((*name).to_owned()));
    let (these, those) = words.iter().position(|word| *word == between).map_or((words, &[][..]), |from| (&words[..from], &words[from + 1..]));
    Ok((these.iter().map(place).collect::<Result<_, _>>()?, those.iter().map(place).collect::<Result<_, _>>()?))
}

/// Every direction between two sides.
pub fn both_ways(these: &BTreeSet<usize>, those: &BTreeSet<usize>) -> Vec<Direction> {
    these.iter().flat_map(|this| those.iter().flat_map(|that| [(*this, *that), (*that, *this)])).collect()
}

fn number(text: &str) -> Result<u64, ScriptError> {
    text.parse().map_err(|_| ScriptError::Number(text.to_owned()))
}

fn seconds(text: &str) -> Result<Duration, ScriptError> {
    let seconds = text.parse::<f64>().map_err(|_| ScriptError::Number(text.to_owned()))?;
    Duration::try_from_secs_f64(seconds).map_err(|_| ScriptError::Number(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_becomes_deeds_in_order_of_time() {
        let scenario = parse("nodes a b; crash b at 20; cut a from b at 1.5 for 2; run 60").unwrap();
        let deeds: Vec<_> = scenario.deeds[2..].to_vec();
        let cut = Deed::Cut { id: CutId(1), directions: vec![(0, 1), (1, 0)] };
        let mend = Deed::Mend { id: CutId(1) };
        let seconds = |seconds| Duration::from_millis(seconds);
        assert_eq!(deeds, [(seconds(1_500), cut), (seconds(3_500), mend), (seconds(20_000), Deed::Crash { node: 1 })]);
        assert_eq!(scenario.ending, Ending::At(Duration::from_secs(60)));
    }

    #[test]
    fn a_mistake_is_named() {
        assert_eq!(parse("crash a at 1").unwrap_err(), ScriptError::Nodes);
        assert_eq!(parse("nodes a; crash z at 1").unwrap_err(), ScriptError::Node("z".into()));
        assert_eq!(parse("nodes a; crash a at noon").unwrap_err(), ScriptError::Number("noon".into()));
        assert_eq!(parse("nodes a; dance").unwrap_err(), ScriptError::Sentence("dance".into()));
        assert_eq!(parse("nodes a; pause z at 1 for 1").unwrap_err(), ScriptError::Node("z".into()));
    }
}
