//! Runs targets without libFuzzer: the corpus, then mutations of it that a seed draws. Bounded by count, and the same each time.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use rand::{Rng, RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use crate::Target;

/// Longest input that a mutation makes: a frame's limit is passed by a corpus input alone, once.
const INPUT_BYTES_MAX: usize = 16 << 10;
/// Most changes to one input: a few pass each other's checks. Mostly there are one or two: after more, little is left that is understood at all.
const CHANGES_MAX: usize = 6;
/// Where decoders' mistakes are: the ends of widths, and MessagePack's long forms with counts that nothing backs.
const NUMBERS: [&[u8]; 8] = [
    &[0x00],
    &[0x7f],
    &[0xff],
    &[0xff, 0xff],
    &[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xdd, 0xff, 0xff, 0xff, 0xff],
    &[0xdf, 0x00, 0x01, 0x00, 0x00],
    &[0xdb, 0x7f, 0xff, 0xff, 0xff],
];

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Inputs of the corpus.
    pub corpus: usize,
    /// Mutated ones.
    pub mutations: u64,
    /// Of the mutated ones: those that were understood in part or whole. The others end at the first check.
    pub understood: u64,
}

/// The committed inputs.
pub fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

/// Runs a target over its corpus and so many mutations.
///
/// Errors: there is no corpus, or the target understands nothing of it; or the target panicked, and its input lies where the message says.
pub fn run(target: Target, mutations: u64, seed: u64) -> anyhow::Result<Report> {
    let inputs = read(&corpus().join(target.name))?;
    let mut begun = false;
    for (name, input) in &inputs {
        begun |= attempt(target, input, name)?;
    }
    ensure!(begun, "{} understands nothing of its corpus: mutations of it lead nowhere", target.name);
    let mut understood = 0;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for number in 0..mutations {
        let input = mutate(&inputs, &mut rng);
        understood += u64::from(attempt(target, &input, &format!("seed-{seed}-{number}"))?);
    }
    Ok(Report { corpus: inputs.len(), mutations, understood })
}

/// In order of their names, so that a seed draws the same everywhere.
pub(crate) fn read(directory: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let entries = fs::read_dir(directory).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let entries = entries.with_context(|| format!("read the corpus {}", directory.display()))?;
    let mut inputs = Vec::new();
    for entry in entries {
        let input = fs::read(entry.path()).with_context(|| format!("read {}", entry.path().display()))?;
        inputs.push((entry.file_name().to_string_lossy().into_owned(), input));
    }
    inputs.sort();
    ensure!(!inputs.is_empty(), "there is nothing in {}", directory.display());
    Ok(inputs)
}

fn attempt(target: Target, input: &[u8], name: &str) -> anyhow::Result<bool> {
    if let Ok(understood) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        return Ok(understood);
    }
    let directory = corpus().join("../artifacts").join(target.name);
    let path = directory.join(name);
    fs::create_dir_all(&directory).and_then(|()| fs::write(&path, input)).with_context(|| format!("keep {}", path.display()))?;
    anyhow::bail!(
        "{} panicked on the {} bytes of {}: make them a test, mend it, and put them into the corpus",
        target.name,
        input.len(),
        path.display()
    )
}

fn mutate(inputs: &[(String, Vec<u8>)], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let pick = |rng: &mut ChaCha8Rng| inputs.choose(rng).map(|(_, input)| input.clone()).unwrap_or_default();
    let mut input = pick(rng);
    let most = rng.random_range(1..=CHANGES_MAX);
    for _ in 0..rng.random_range(1..=most) {
        let at = rng.random_range(0..=input.len());
        let end = (at + rng.random_range(1..=64)).min(input.len());
        match rng.random_range(0..8) {
            0 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
            1 if at < input.len() => input[at] = u8::try_from(rng.next_u32() & 0xff).expect("eight bits"),
            2 => drop(input.splice(at..at, NUMBERS.choose(rng).copied().unwrap_or_default().iter().copied())),
            3 => {
                let number = NUMBERS.choose(rng).copied().unwrap_or_default();
                drop(input.splice(at..(at + number.len()).min(input.len()), number.iter().copied()));
            }
            4 => drop(input.drain(at..end)),
            5 => {
                let again = input[at..end].to_vec();
                drop(input.splice(at..at, again));
            }
            6 => {
                let other = pick(rng);
                let from = rng.random_range(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => input.truncate(at),
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TARGETS;

    #[test]
    fn a_seed_draws_the_same_inputs() {
        let inputs = read(&corpus().join("sealed")).unwrap();
        let draw = |seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            (0..50).map(|_| mutate(&inputs, &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn a_panic_is_an_error_with_its_input() {
        let target = Target { name: "sealed", run: |data| data.len() < 8 || panic!("long") };
        let message = run(target, 0, 1).unwrap_err().to_string();
        let path = message.split_whitespace().find(|word| word.contains("artifacts")).unwrap().trim_end_matches(':');
        assert!(fs::read(path).unwrap().len() >= 8);
        fs::remove_file(path).unwrap();
    }

    /// What ends at the first check finds nothing behind it: of the corpus each target understands something, and of what is made of it a part.
    #[test]
    fn targets_come_to_what_they_are_for() {
        for target in TARGETS {
            let report = run(*target, 500, 1).unwrap();
            assert!(report.understood * 100 >= report.mutations, "{}: {report:?}", target.name);
        }
        let deaf = Target { name: "frame", run: |_| false };
        assert!(run(deaf, 0, 1).unwrap_err().to_string().contains("lead nowhere"));
    }

    #[test]
    fn each_target_has_a_corpus_and_a_way_to_be_run_by_libfuzzer() {
        let manifest = fs::read_to_string(corpus().join("../Cargo.toml")).unwrap();
        for target in TARGETS {
            assert!(!read(&corpus().join(target.name)).unwrap().is_empty());
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{}.rs\"", target.name)), "{}", target.name);
        }
    }
}
