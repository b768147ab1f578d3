//! Draws a recorded run as one page: nothing is fetched, and what a run said is text wherever it stands.

use base64::{Engine, prelude::BASE64_STANDARD};
use logvine_gossip::Instant;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    file,
    recording::{Glance, PAIRS_NODES_MAX, Recording, Sight},
    report::Report,
};

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// Source, node, from, to, how it came, when it was told to read no more, whether with a majority.
type Held<'a> = (usize, usize, u64, Option<u64>, &'a str, Option<u64>, bool);

/// What the page's script reads. Times are milliseconds.
#[derive(Serialize)]
struct Data<'a> {
    seed: u64,
    end: u64,
    nodes: &'a [String],
    sources: &'a [String],
    /// The outcome in a line.
    outcome: String,
    violation: Option<Broken<'a>>,
    /// `[time since the last, observer, subject, sight]` one after the other; none if there are too many nodes.
    glances: Option<Vec<u64>>,
    lives: Vec<Vec<(u64, Option<u64>)>>,
    faults: Vec<(u64, Option<u64>, &'a str, &'a [usize])>,
    bucket: u64,
    traffic: &'a [Vec<u32>],
    agreements: Vec<[u64; 5]>,
    owners: Vec<Held<'a>>,
    loads: &'a [Vec<u32>],
    story: &'a [String],
    scenario: String,
}

#[derive(Serialize)]
struct Broken<'a> {
    invariant: &'a str,
    detail: &'a str,
    at: u64,
}

fn millis(at: Instant) -> u64 {
    at.as_micros() / 1_000
}

fn sight(sight: Sight) -> u64 {
    match sight {
        Sight::Unknown => 0,
        Sight::Alive => 1,
        Sight::Suspect => 2,
        Sight::Down => 3,
        Sight::Left => 4,
    }
}

fn deltas(glances: &[Glance]) -> Vec<u64> {
    let mut last = 0;
    let row = |glance: &Glance| {
        let since = millis(glance.at) - std::mem::replace(&mut last, millis(glance.at));
        [since, glance.observer as u64, glance.subject as u64, sight(glance.sight)]
    };
    glances.iter().flat_map(row).collect()
}

/// The page of a run; `report` as it ended, if it held.
pub fn page(recording: &Recording, report: Option<&Report>) -> String {
    let end = millis(recording.end);
    let open = |(from, to): &(Instant, Option<Instant>)| (millis(*from), to.map(millis));
    let data = Data {
        seed: recording.scenario.seed,
        end,
        nodes: &recording.names,
        sources: &recording.sources,
        outcome: report.map_or_else(String::new, ToString::to_string),
        violation: recording.violation.as_ref().map(|violation| Broken {
            invariant: &violation.invariant,
            detail: &violation.detail,
            at: millis(violation.at),
        }),
        glances: (recording.names.len() <= PAIRS_NODES_MAX).then(|| deltas(&recording.glances)),
        lives: recording.lives.iter().map(|lives| lives.iter().map(open).collect()).collect(),
        faults: recording
            .faults
            .iter()
            .map(|fault| (millis(fault.from), fault.to.map(|to| millis(to).min(end)), fault.what.as_str(), fault.nodes.as_slice()))
            .collect(),
        bucket: u64::try_from(recording.bucket.as_millis()).unwrap_or(u64::MAX),
        traffic: &recording.traffic,
        agreements: recording
            .agreements
            .iter()
            .map(|one| [millis(one.at), one.running as u64, one.complete as u64, one.catalogs as u64, one.node_maps as u64])
            .collect(),
        owners: recording
            .owners
            .iter()
            .map(|owned| {
                let (from, to, closing) = (millis(owned.from), owned.to.map(millis), owned.closing.map(millis));
                (owned.source, owned.node, from, to, owned.cause, closing, owned.majority)
            })
            .collect(),
        loads: &recording.loads,
        story: &recording.story,
        scenario: file::write(&recording.scenario),
    };
    // In a script element only `<` could end it.
    let json = serde_json::to_string(&data).expect("numbers and texts are JSON").replace('<', "\\u003c");
    let hash = BASE64_STANDARD.encode(Sha256::digest(SCRIPT));
    let filled = PAGE.replacen("{{hash}}", &hash, 1).replacen("{{style}}", STYLE, 1).replacen("{{script}}", SCRIPT, 1);
    filled.replacen("{{data}}", &json, 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        recording::Recording,
        runs::{Company, run_in},
        script,
    };

    fn recorded(text: &str) -> String {
        let mut scenario = script::parse(text).unwrap();
        for source in &mut scenario.sources {
            // Enough to be seen in a page that shows millionths of what a node bears.
            (source.gap, source.line_bytes_max) = (Duration::from_millis(10), 1_000);
        }
        let recorder = Recording::new(&scenario);
        let report = run_in(scenario.clone(), Company { recorder: Some(recorder.clone()), ..Company::default() }).unwrap();
        let alone = run_in(scenario, Company::default()).unwrap();
        assert_eq!(report, alone, "a run that is drawn is the same run");
        recorder.borrow_mut().close(None);
        recorder.borrow_mut().story.push("</script><script>alert(1)</script>".to_owned());
        let page = page(&recorder.borrow(), Some(&report));
        let recording = recorder.borrow();
        let seen_down = recording.glances.iter().filter(|glance| glance.subject == 1 && glance.sight == Sight::Down).count();
        assert_eq!(seen_down, 2, "both others see it down");
        assert_eq!(recording.lives[1].len(), 2, "it lived twice");
        assert!(recording.agreements.iter().any(|one| one.complete == one.running && one.catalogs == 1));
        assert!(recording.loads.iter().any(|load| load.iter().any(|load| *load > 0)), "who has a source has bytes to send");
        assert!(recording.traffic.iter().all(|bytes| bytes.iter().any(|bytes| *bytes > 0)));
        page
    }

    /// What a run said stays text, nothing is fetched, and the policy in the page allows its own script alone.
    #[test]
    fn a_page_has_all_in_it_and_runs_no_word_of_the_run() {
        let page = recorded("nodes a b c; sources 2; crash b at 12; start b at 30; cut a from c at 35 for 2; run 45");
        assert_eq!(page.matches("<script").count(), 2, "the data and the code");
        assert!(!page.contains("{{"), "everything is filled in");
        assert!(page.contains("default-src 'none'") && !page.contains("unsafe-eval"));
        for fetch in ["src=", "href=", "url(", "@import", "fetch(", "innerHTML"] {
            assert!(!page.contains(fetch), "{fetch}");
        }
    }
}
