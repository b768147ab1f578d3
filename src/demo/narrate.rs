//! The demo's words: facts in, text out.

use std::{collections::BTreeMap, fmt::Write as _, io::Write as _, time::Duration};

use tokio::time::Instant;

use super::{
    Takeover,
    account::{Balance, Cause},
};

/// Says things with the time since the demo began.
#[derive(Debug)]
pub(super) struct Narrator {
    begin: Instant,
}

impl Narrator {
    /// The demo begins now.
    pub(super) fn new() -> Self {
        Self { begin: Instant::now() }
    }

    /// One thing, of one line or more. Nobody need be listening: a closed pipe is no reason to leave processes behind.
    pub(super) fn say(&self, text: &str) {
        let time = self.begin.elapsed().as_secs_f64();
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{time:6.1} s  {}", text.replace('\n', "\n          ")).and_then(|()| out.flush());
    }
}

/// Who owns what, a line for each node.
pub(super) fn owners(owners: &BTreeMap<String, Vec<String>>) -> String {
    let mut text = String::new();
    for (node, sources) in owners {
        let node = if node.is_empty() { "nobody" } else { node };
        let _ = write!(text, "\n  {node:<8} {:>3}  {}", sources.len(), some_of(sources, 8));
    }
    text
}

fn some_of(names: &[String], most: usize) -> String {
    let mut text = names.iter().take(most).map(String::as_str).collect::<Vec<_>>().join(" ");
    if names.len() > most {
        let _ = write!(text, " and {} more", names.len() - most);
    }
    text
}

/// How it goes: totals, and the rates since the last time by node.
pub(super) fn progress(written: u64, delivered: u64, by_node: &BTreeMap<String, u64>, over: Duration) -> String {
    let per_s = |count: u64| (count as f64 / over.as_secs_f64().max(0.001)).round();
    let nodes: Vec<_> = by_node.iter().map(|(node, &count)| format!("{node} {}", per_s(count))).collect();
    let total = per_s(by_node.values().sum());
    format!("{} lines written, {} delivered, now {total} lines/s: {}", thousands(written), thousands(delivered), nodes.join(", "))
}

/// One source that goes on elsewhere.
pub(super) fn takeover(source: &str, takeover: &Takeover) -> String {
    let again = match takeover.lines_again {
        0 => String::new(),
        1 => "; 1 line comes a second time".to_owned(),
        lines => format!("; {} lines come a second time", thousands(lines)),
    };
    let from = takeover.offset.map_or(String::new(), |offset| format!(" from byte {}", thousands(offset)));
    format!("  {source} goes on at {}{from}, {:.1} s after the kill{again}", takeover.node, takeover.after.as_secs_f64())
}

/// The last word.
pub(super) fn account(balance: &Balance) -> String {
    let mut text = String::from("The account:\n");
    let mut row = |what: &str, count: u64, note: &str| {
        let _ = writeln!(text, "  {what:<28} {:>12}{note}", thousands(count));
    };
    row("lines written", balance.written, "");
    row("delivered, by line", balance.delivered, "");
    row("delivered, by record id", balance.unique_ids, "");
    row("lost", balance.lost, "");
    row("repeated (same record id)", balance.repeated.values().sum(), "");
    for (cause, &count) in &balance.repeated {
        row("", count, because(*cause));
    }
    if balance.two_ids > 0 {
        row("one line under two ids", balance.two_ids, "  a sink that knows ids would count it twice");
    }
    if balance.foreign > 0 {
        row("records of no line", balance.foreign, "  damaged, or never written");
    }
    if balance.torn > 0 {
        row("half records in the sink", balance.torn, "  of a write that the kill cut short; their lines came again");
    }
    for line in &balance.lost_first {
        let _ = writeln!(text, "  lost: line {} of {}", line.number, line.source_name());
    }
    let verdict = match (balance.lost, balance.holds()) {
        (0, true) => "Nothing was lost.",
        (0, false) => "Nothing was lost, but the sink holds what it should not.",
        _ => "LINES WERE LOST.",
    };
    text + verdict
}

fn because(cause: Cause) -> &'static str {
    match cause {
        Cause::Killed => "  sent by the killed node past its last checkpoint, and again by its successor",
        Cause::Moved => "  sent by two live nodes: the source moved before all of it was acknowledged",
        Cause::Resent => "  sent twice by one node, which began again from the checkpoint",
    }
}

/// 1234567 as 1,234,567.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group)).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::demo::line::LineId;

    fn balance() -> Balance {
        Balance {
            written: 61_200,
            delivered: 61_200,
            unique_ids: 61_200,
            lost: 0,
            lost_first: Vec::new(),
            repeated: [(Cause::Killed, 214)].into(),
            two_ids: 0,
            foreign: 0,
            torn: 0,
        }
    }

    #[test]
    fn a_good_account_says_so() {
        expect![[r"
            The account:
              lines written                      61,200
              delivered, by line                 61,200
              delivered, by record id            61,200
              lost                                    0
              repeated (same record id)             214
                                                    214  sent by the killed node past its last checkpoint, and again by its successor
            Nothing was lost."]]
        .assert_eq(&account(&balance()));
    }

    #[test]
    fn a_loss_is_named() {
        let text = account(&Balance { lost: 1, lost_first: vec![LineId { source: 3, number: 17 }], delivered: 61_199, ..balance() });
        assert!(text.contains("lost: line 17 of app-03\nLINES WERE LOST."), "{text}");
    }

    #[test]
    fn ownership_is_a_line_a_node() {
        let sources = |range: std::ops::Range<u32>| range.map(|at| format!("app-{at:02}")).collect::<Vec<_>>();
        let text = owners(&[("node-1".to_owned(), sources(1..3)), ("node-2".to_owned(), sources(3..13))].into());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "  node-1     2  app-01 app-02");
        assert_eq!(lines[2], "  node-2    10  app-03 app-04 app-05 app-06 app-07 app-08 app-09 app-10 and 2 more");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
