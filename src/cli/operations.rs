//! What became of commands: the verbs of operations, and what a write prints.

use std::time::Duration;

use clap::Subcommand;
use serde_json::Value;

use super::{
    Exit, Failure, OfRunnerArgs, OutputFormat, output,
    output::Column,
    remote::{Remote, given},
};

const OPERATIONS: &[Column] = &[
    ("ID", "/id"),
    ("TIME", "/time"),
    ("VERB", "/verb"),
    ("RUNNERS", "/runners"),
    ("NODES", "/nodes"),
    ("VIA", "/relay_name"),
    ("STATE", "/state"),
    ("APPLIED", "/applied"),
    ("FAILED", "/failed"),
    ("PENDING", "/pending"),
    ("REASON", "/reason"),
];
const TARGETS: &[Column] = &[("NODE", "/node_name"), ("ID", "/node"), ("STATE", "/state"), ("REASON", "/reason")];
const REWOUND: &[Column] = &[("RUNNER", "/runner"), ("SOURCE", "/source"), ("NODE", "/node_name"), ("BYTES", "/bytes"), ("PATH", "/path")];
const QUEUES: &[Column] = &[("RUNNER", "/runner"), ("NODE", "/node_name"), ("BYTES", "/bytes")];
const COUNTERS: &[Column] = &[
    ("RUNNER", "/runner"),
    ("NODE", "/node_name"),
    ("RECORDS", "/records"),
    ("ERRORS", "/errors"),
    ("DEAD", "/dead_lettered"),
    ("SINCE", "/counted_since"),
];
const UNANSWERED: &[Column] = &[("NODE", "/node_name"), ("NOT COUNTED, AS", "/why")];
/// How often an operation that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Subcommand)]
pub(super) enum OperationVerb {
    /// All operations of the last seven days, the newest first
    List {
        /// Only with this verb, as the list shows it: apply, stop, "drop queue", …
        #[arg(long)]
        verb: Option<String>,
        /// Only in this state: proposed, published, accepted, withdrawn
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        of: OfRunnerArgs,
    },
    /// One operation, with what became of it on each of its nodes
    Show { operation: String },
    /// Wait until it has been carried out on all of its nodes, or could not be; those that are away are waited for too
    Wait { operation: String },
}

impl Remote {
    pub(super) async fn operation(&self, verb: OperationVerb) -> Result<Exit, Failure> {
        match verb {
            OperationVerb::List { verb, state, of: OfRunnerArgs { runner, list } } => {
                let query = given(&[("runner", &runner), ("verb", &verb), ("state", &state)]);
                self.list(&["operations"], &list, &query, OPERATIONS, "/id").await
            }
            OperationVerb::Show { operation } => {
                let found = self.client.get(&["operations", &operation]).await?;
                self.print_operation(&found)?;
                Ok(outcome(&found))
            }
            OperationVerb::Wait { operation } => self.wait(&operation).await,
        }
    }

    async fn wait(&self, operation: &str) -> Result<Exit, Failure> {
        let mut told = String::new();
        loop {
            let found = self.client.get(&["operations", operation]).await?;
            let state = found.pointer("/state").and_then(Value::as_str).unwrap_or_default();
            if state == "withdrawn" {
                return Err(Failure::error(format!("{operation} is withdrawn: no other node has taken it in ten minutes")));
            }
            if state == "accepted" && count(&found, "pending") == 0 {
                self.print_operation(&found)?;
                return Ok(outcome(&found));
            }
            let progress = counts(&found);
            if progress != told {
                output::warn(&progress);
                told = progress;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn print_operation(&self, found: &Value) -> Result<(), Failure> {
        if self.output != OutputFormat::Table {
            return self.print_one(found, "/id");
        }
        output::print(&output::table(OPERATIONS, std::slice::from_ref(found)))?;
        output::print(&format!("\n{}", output::table(TARGETS, &targets(found))))
    }

    /// Says what became of a write: its nodes, each with what became of it there.
    pub(super) fn print_written(&self, answer: &Value, dry_run: bool) -> Result<Exit, Failure> {
        match self.output {
            OutputFormat::Json => output::print(&format!("{answer:#}\n"))?,
            OutputFormat::Name => output::print(&output::names("/operation", std::slice::from_ref(answer)))?,
            OutputFormat::Table => {
                let targets = targets(answer).len();
                let concerned = format!("it concerns {targets} node{}", if targets == 1 { "" } else { "s" });
                let accepted = answer.pointer("/accepted") == Some(&Value::Bool(true));
                let operation = answer.pointer("/operation").and_then(Value::as_str).unwrap_or_default();
                let head = match (dry_run, accepted) {
                    (true, _) => format!("would be written: {concerned} now\n"),
                    (false, true) => format!("written: {concerned} now: {}. {operation}\n", counts(answer)),
                    (false, false) => format!(
                        "not accepted yet: too few other nodes have it on disk. It is withdrawn if none takes it within ten minutes; see \
                         `logvine operation show {operation}`\n"
                    ),
                };
                output::print(&head)?;
                if let Some(plan) = answer.get("plan").filter(|plan| !plan.is_null()) {
                    super::remote::print_plan(plan)?;
                }
                if let Some(rewind) = answer.get("rewind").filter(|rewind| !rewind.is_null()) {
                    print_rewind(rewind)?;
                }
                if let Some(queue) = answer.get("queue").filter(|queue| !queue.is_null()) {
                    print_queues(queue)?;
                }
                if let Some(counters) = answer.get("counters").filter(|counters| !counters.is_null()) {
                    print_counters(counters)?;
                }
                let open = open(answer);
                if !open.is_empty() {
                    output::print(&output::table(TARGETS, &open))?;
                }
            }
        }
        Ok(outcome(answer))
    }
}

/// What a rewind would have read again.
fn print_rewind(rewind: &Value) -> Result<(), Failure> {
    let rows = |of: &str| rewind.pointer(of).and_then(Value::as_array).cloned().unwrap_or_default();
    let number = |of: &str| rewind.pointer(of).and_then(Value::as_u64).unwrap_or(0);
    output::print(&format!("{} bytes of {} sources would be read and sent again\n", number("/bytes"), number("/sources_total")))?;
    for (columns, rows) in [(REWOUND, rows("/sources")), (UNANSWERED, rows("/unanswered"))] {
        if !rows.is_empty() {
            output::print(&format!("{}\n", output::table(columns, &rows)))?;
        }
    }
    Ok(())
}

/// What dropping queues would throw away.
fn print_queues(queue: &Value) -> Result<(), Failure> {
    let rows = |of: &str| queue.pointer(of).and_then(Value::as_array).cloned().unwrap_or_default();
    let number = |of: &str| queue.pointer(of).and_then(Value::as_u64).unwrap_or(0);
    output::print(&format!("{} bytes in {} disk queues would be thrown away\n", number("/bytes"), number("/queues_total")))?;
    for (columns, rows) in [(QUEUES, rows("/queues")), (UNANSWERED, rows("/unanswered"))] {
        if !rows.is_empty() {
            output::print(&format!("{}\n", output::table(columns, &rows)))?;
        }
    }
    Ok(())
}

/// What clearing counters would forget.
fn print_counters(counters: &Value) -> Result<(), Failure> {
    let number = |of: &str| counters.pointer(of).and_then(Value::as_u64).unwrap_or(0);
    let (records, errors, dead) = (number("/records"), number("/errors"), number("/dead_lettered"));
    output::print(&format!(
        "{} instances would forget that they counted {records} records, {errors} errors, {dead} dead letters\n",
        number("/instances_total")
    ))?;
    let rows = counters.pointer("/instances").and_then(Value::as_array).cloned().unwrap_or_default();
    if rows.is_empty() { Ok(()) } else { output::print(&format!("{}\n", output::table(COUNTERS, &rows))) }
}

fn targets(answer: &Value) -> Vec<Value> {
    answer.pointer("/targets").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Those where it is not done.
fn open(answer: &Value) -> Vec<Value> {
    targets(answer).into_iter().filter(|row| row.pointer("/state").and_then(Value::as_str) != Some("applied")).collect()
}

fn count(answer: &Value, state: &str) -> usize {
    targets(answer).iter().filter(|row| row.pointer("/state").and_then(Value::as_str) == Some(state)).count()
}

fn counts(answer: &Value) -> String {
    format!("{} applied, {} failed, {} pending", count(answer, "applied"), count(answer, "failed"), count(answer, "pending"))
}

/// A node that is away is no failure: it carries the command out when it returns.
fn outcome(answer: &Value) -> Exit {
    if count(answer, "failed") > 0 { Exit::Partly } else { Exit::Ok }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Issue 5: a spec that fails on 3 of 20 nodes ends with 2, and the three are shown with why; `-o json` and `operation show` have all twenty.
    #[test]
    fn a_write_that_three_of_twenty_nodes_could_not_carry_out_ends_with_two_and_shows_them() {
        let row = |n: usize| match n {
            4 | 11 | 20 => json!({ "node": format!("{n:032}"), "node_name": format!("n{n}"), "state": "failed", "reason": "no such file" }),
            n => json!({ "node": format!("{n:032}"), "node_name": format!("n{n}"), "state": "applied", "reason": null }),
        };
        let answer = json!({ "operation": "7-ab", "accepted": true, "targets": (1..=20).map(row).collect::<Vec<_>>() });
        assert_eq!(outcome(&answer), Exit::Partly);
        assert_eq!(Exit::Partly as u8, 2);
        assert_eq!(counts(&answer), "17 applied, 3 failed, 0 pending");
        let (shown, all) = (output::table(TARGETS, &open(&answer)), output::table(TARGETS, &targets(&answer)));
        assert_eq!((shown.lines().count(), all.lines().count()), (1 + 3, 1 + 20), "a head above");
        assert!(["n4 ", "n11 ", "n20 "].iter().all(|name| shown.contains(name)) && shown.matches("no such file").count() == 3, "{shown}");
    }

    #[test]
    fn a_target_that_could_not_makes_the_exit_code_and_one_that_is_away_does_not() {
        let answer = |states: &[&str]| json!({ "targets": states.iter().map(|state| json!({ "state": state })).collect::<Vec<_>>() });
        assert_eq!(outcome(&answer(&["applied", "pending"])), Exit::Ok);
        assert_eq!(outcome(&answer(&["applied", "failed", "pending"])), Exit::Partly);
        assert_eq!(counts(&answer(&["applied", "failed", "pending"])), "1 applied, 1 failed, 1 pending");
    }
}
