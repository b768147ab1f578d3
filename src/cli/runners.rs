//! The verbs of runners.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    ChangeArgs, Exit, Failure, NodesArgs, OnNodesArgs, RunnerVerb, live,
    local::read_document,
    output::{self, Column},
    remote::{Remote, confirm},
};
use crate::document::Format;

const RUNNERS: &[Column] = &[
    ("NAME", "/name"),
    ("READER", "/reader"),
    ("PLACEMENT", "/placement"),
    ("DESIRED", "/desired"),
    ("INSTANCES", "/instances"),
    ("SOURCES", "/sources"),
    ("REVISION", "/revision"),
    ("ERROR", "/error"),
];

const REVISIONS: &[Column] = &[
    ("REVISION", "/revision"),
    ("TIME", "/time"),
    ("PRESENT", "/present"),
    ("DELETED", "/deleted"),
    ("BY", "/actor"),
    ("REASON", "/reason"),
    ("OPERATION", "/operation"),
];

/// A runner as a file has it; its name is needed for the path, the rest is the API's to check.
struct Written {
    name: String,
    text: String,
    format: Format,
}

/// What `apply` was told beside its files.
struct Applying {
    prune: bool,
    yes: bool,
    if_absent: bool,
    change: ChangeArgs,
}

impl Remote {
    pub(super) async fn runner(&self, verb: RunnerVerb) -> Result<Exit, Failure> {
        match verb {
            RunnerVerb::List(list) => self.list(&["runners"], &list, &[], RUNNERS, "/name").await,
            RunnerVerb::Show { runner } => self.one(&["runners", &runner], "/name").await,
            RunnerVerb::Apply { files, prune, yes, if_absent, change } => self.apply(&files, Applying { prune, yes, if_absent, change }).await,
            RunnerVerb::Delete { runners, yes, change } => {
                confirm(yes || change.dry_run, &format!("delete {} and what is remembered of their sources", runners.join(", ")))?;
                match runners.as_slice() {
                    [runner] => self.write(Method::DELETE, &["runners", runner], change, None).await,
                    _ => {
                        let body = json!({ "runners": runners, "verb": "delete", "nodes": "all" });
                        self.write_json(Method::POST, &["operations"], change, &body).await
                    }
                }
            }
            RunnerVerb::Start(on) => self.on_nodes("start", on).await,
            RunnerVerb::Stop(on) => self.on_nodes("stop", on).await,
            RunnerVerb::Remove(on) => self.on_nodes("remove", on).await,
            RunnerVerb::Follow(on) => self.on_nodes("follow", on).await,
            RunnerVerb::Restart(on) => self.on_nodes("restart", on).await,
            RunnerVerb::Rewind { on, source, yes } => self.rewind(on, &source, yes).await,
            RunnerVerb::ClearCounters(on) => self.on_nodes("clear-counters", on).await,
            RunnerVerb::DropQueue { on, yes } => {
                confirm(yes || on.change.dry_run, &format!("throw away what waits in the disk queues of {}", on.runners.join(", ")))?;
                self.on_nodes("drop-queue", on).await
            }
            RunnerVerb::Revisions { runner, spec: None, page } => self.pages(&["runners", &runner, "revisions"], &page, REVISIONS, "/revision").await,
            RunnerVerb::Revisions { runner, spec: Some(revision), .. } => self.earlier(&runner, &revision).await,
            RunnerVerb::Tap(args) => live::tap(self, &args).await,
            RunnerVerb::Test { .. } => unreachable!("the caller carries out the verbs that need no agent"),
        }
    }

    /// Applies every file, also after one is refused; the exit code is the first refusal's.
    async fn apply(&self, files: &[PathBuf], applying: Applying) -> Result<Exit, Failure> {
        let runners = read(files)?;
        if applying.change.if_match.is_some() && runners.len() != 1 {
            return Err(Failure::usage(format!("--if-match: a revision is of one runner, and these are {}", runners.len())));
        }
        let condition = applying.if_absent.then(|| ("if-none-match", "*".to_owned()));
        let mut exit = Exit::Ok;
        for Written { name, text, format } in &runners {
            let body = Some((format.content_type(), text.clone()));
            if runners.len() > 1 {
                output::warn(&format!("apply {name}"));
            }
            match self.write_if(condition.clone(), Method::PUT, &["runners", name], &applying.change, body).await {
                Ok(done) => exit = exit.or(done),
                Err(failure) if runners.len() == 1 => return Err(failure),
                Err(failure) => {
                    output::warn(&format!("error: {name}: {failure}"));
                    exit = exit.or(failure.exit);
                }
            }
        }
        // What could not be applied may have been meant as a new name of what would be deleted.
        if applying.prune && exit == Exit::Ok { self.prune(&runners, &applying).await } else { Ok(exit) }
    }

    /// Deletes the runners that no file names.
    async fn prune(&self, runners: &[Written], applying: &Applying) -> Result<Exit, Failure> {
        let named: BTreeSet<&str> = runners.iter().map(|runner| runner.name.as_str()).collect();
        let there = self.client.list(&["runners"], &[], None).await?;
        let there = there.iter().filter_map(|row| row.pointer("/name").and_then(Value::as_str));
        let gone: Vec<&str> = there.filter(|name| !named.contains(name)).collect();
        if gone.is_empty() {
            return Ok(Exit::Ok);
        }
        confirm(applying.yes || applying.change.dry_run, &format!("delete {}, which no file names", gone.join(", ")))?;
        let mut exit = Exit::Ok;
        for name in gone {
            output::warn(&format!("delete {name}"));
            exit = exit.or(self.write_if(None, Method::DELETE, &["runners", name], &applying.change, None).await?);
        }
        Ok(exit)
    }

    /// Prints a runner as it was, so that it can be applied.
    async fn earlier(&self, runner: &str, revision: &str) -> Result<Exit, Failure> {
        let answer = self.client.get(&["runners", runner, "revisions"]).await?;
        let rows = answer.pointer("/items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let found = rows.iter().find(|row| row.pointer("/revision").and_then(Value::as_str) == Some(revision));
        let none = || Failure::error(format!("there is no revision {revision} of {runner}: `runner revisions {runner}` lists them"));
        match found.ok_or_else(none)?.pointer("/spec") {
            Some(spec @ Value::Object(_)) => output::print(&format!("{spec:#}\n"))?,
            _ => return Err(Failure::error(format!("{runner} was deleted by revision {revision}: there is nothing to apply"))),
        }
        Ok(Exit::Ok)
    }

    async fn rewind(&self, on: OnNodesArgs, sources: &[String], yes: bool) -> Result<Exit, Failure> {
        let what = if sources.is_empty() { "all that they read".to_owned() } else { sources.join(", ") };
        confirm(yes || on.change.dry_run, &format!("have {} read {what} again, and send it again", on.runners.join(", ")))?;
        match (sources, on.runners.as_slice()) {
            ([], _) => self.on_nodes("rewind", on).await,
            (_, [runner]) => {
                let body = json!({ "nodes": on.nodes.nodes, "expected_count": on.nodes.expect, "sources": sources });
                self.write_json(Method::POST, &["runners", runner, "rewind"], on.change.clone(), &body).await
            }
            (_, runners) => Err(Failure::usage(format!("--source: a source is of one runner, and these are {}", runners.len()))),
        }
    }

    async fn on_nodes(&self, verb: &str, on: OnNodesArgs) -> Result<Exit, Failure> {
        let OnNodesArgs { runners, nodes: NodesArgs { nodes, expect }, change } = on;
        let mut body = json!({ "nodes": nodes, "expected_count": expect });
        if let [runner] = runners.as_slice() {
            return self.write_json(Method::POST, &["runners", runner, verb], change, &body).await;
        }
        (body["runners"], body["verb"]) = (json!(runners), json!(verb));
        self.write_json(Method::POST, &["operations"], change, &body).await
    }
}

/// The runners of files, and of all files of directories that end like one, by name of the file.
fn read(paths: &[PathBuf]) -> Result<Vec<Written>, Failure> {
    let mut runners = Vec::<Written>::new();
    for path in paths {
        let files = if path.is_dir() { files_of(path)? } else { vec![path.clone()] };
        for file in files {
            let (text, format) = read_document(&file)?;
            let tree = crate::document::tree(&text, format).map_err(|fault| Failure::error(format!("{} {}", file.display(), fault.detail)))?;
            let name = tree.get("name").and_then(Value::as_str);
            let name = name.ok_or_else(|| Failure::error(format!("{}: the runner has no `name`", file.display())))?;
            if runners.iter().any(|other| other.name == name) {
                return Err(Failure::usage(format!("{}: another of these files is runner `{name}` already", file.display())));
            }
            runners.push(Written { name: name.to_owned(), text, format });
        }
    }
    Ok(runners)
}

fn files_of(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| Failure::error(format!("cannot read {}: {error}", directory.display()));
    let entries = fs::read_dir(directory).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file() && Format::of_path(path).is_some()).collect();
    files.sort();
    if files.is_empty() {
        return Err(Failure::usage(format!("{}: there is no .toml, .yaml, .yml or .json file in it", directory.display())));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_all_of_its_runners_and_a_name_is_taken_once() {
        let home = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(home.path().join(file), text).unwrap();
        assert_eq!(read(&[home.path().to_owned()]).err().unwrap().exit, Exit::Usage, "an empty directory is a slip");
        write("b.toml", "name = \"two\"");
        write("a.json", r#"{"name": "one"}"#);
        write("notes.txt", "no runner");
        let names: Vec<_> = read(&[home.path().to_owned()]).unwrap().into_iter().map(|runner| runner.name).collect();
        assert_eq!(names, ["one", "two"]);
        write("c.yaml", "name: one");
        assert!(read(&[home.path().to_owned()]).err().unwrap().message.contains("`one` already"));
    }
}
