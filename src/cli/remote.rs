//! The verbs that ask a node's API.

use std::{
    collections::BTreeSet,
    io::{BufRead, IsTerminal, Write},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    AssignmentVerb, ChangeArgs, ClientArgs, ClusterVerb, ComponentVerb, Exit, Failure, InstanceVerb, KeyVerb, ListArgs, NodeVerb, OfRunnerArgs,
    OutputFormat, PageArgs, PlanArgs, SettingVerb, SourceVerb, StepArgs, TagVerb, TagsArgs, Verb,
    client::Client,
    events, live,
    local::read_text,
    output::{self, Column},
    watch,
};
use crate::document::Format;

const NODES: &[Column] = &[
    ("NAME", "/name"),
    ("ID", "/id"),
    ("STATUS", "/status"),
    ("PHASE", "/phase"),
    ("TAGS", "/tags"),
    ("GOSSIP", "/gossip"),
    ("SOURCES", "/sources"),
    ("LOAD %", "/load_pct"),
    ("VERSION", "/version"),
    ("SINCE", "/since"),
];
const TAGS: &[Column] = &[("TAG", "/tag"), ("NODES", "/nodes"), ("WORST", "/worst_status")];
const SOURCES: &[Column] =
    &[("RUNNER", "/runner"), ("SOURCE", "/id"), ("STATE", "/state"), ("OWNER", "/owner_name"), ("SINCE", "/since"), ("WHY", "/why"), ("URL", "/url")];
const INSTANCES: &[Column] = &[
    ("RUNNER", "/runner"),
    ("NODE", "/node_name"),
    ("STATE", "/state"),
    ("RECORDS/S", "/records_per_s"),
    ("BYTES/S", "/bytes_per_s"),
    ("LAG", "/lag_bytes"),
    ("RECORDS", "/records"),
    ("ERRORS", "/errors"),
    ("ERROR", "/error"),
];
const COMPONENTS: &[Column] = &[("KIND", "/kind"), ("NAME", "/name"), ("WHAT IT IS", "/description")];
const KEYS: &[Column] = &[("KEY", "/fingerprint"), ("SEALING", "/sealing"), ("NODES", "/nodes"), ("MISSING", "/missing")];
const KEY_OUTCOMES: &[Column] = &[("NODE", "/node_name"), ("ID", "/node"), ("OUTCOME", "/outcome"), ("ERROR", "/error")];
const SETTINGS: &[Column] = &[
    ("SETTING", "/name"),
    ("VALUE", "/value"),
    ("UNIT", "/unit"),
    ("DEFAULT", "/default"),
    ("LEAST", "/least"),
    ("MOST", "/most"),
    ("WHAT IT DOES", "/description"),
];
const FINDINGS: &[Column] = &[("KIND", "/kind"), ("WRONG", "/wrong"), ("RUNNER", "/runner"), ("SOURCE", "/source"), ("DETAIL", "/detail")];
const MOVES: &[Column] =
    &[("RUNNER", "/runner"), ("SOURCE", "/source"), ("FROM", "/from_name"), ("TO", "/to_name"), ("WHY", "/why"), ("CERTAIN", "/certain")];
const SHARES: &[Column] = &[
    ("NODE", "/node_name"),
    ("SOURCES", "/sources_before"),
    ("THEN", "/sources_after"),
    ("CAPACITY", "/capacity_before"),
    ("THEN", "/capacity_after"),
    ("LOAD", "/load_before"),
    ("THEN", "/load_after"),
];

/// How often a drain is looked at that is waited for.
const DRAIN_LOOK: std::time::Duration = std::time::Duration::from_millis(500);
/// So often another may have set a node's tags between a look and the change, before it is given up.
const TAGS_TRIES: u32 = 5;

/// Asks, and prints what is answered.
pub(super) async fn run(verb: Verb, args: &ClientArgs) -> Result<Exit, Failure> {
    let remote = Remote { client: Client::new(args)?, output: args.output };
    match args.watch {
        Some(every) => watch::run(&remote, verb, every).await,
        None => remote.once(verb).await,
    }
}

pub(super) struct Remote {
    pub(super) client: Client,
    pub(super) output: OutputFormat,
}

impl Remote {
    pub(super) async fn once(&self, verb: Verb) -> Result<Exit, Failure> {
        match verb {
            Verb::Node(verb) => self.node(verb).await,
            Verb::Tag(TagVerb::Rename { tag, to, change }) => {
                self.write_json(Method::POST, &["tags", &tag, "rename"], change, &json!({ "to": to })).await
            }
            Verb::Tag(TagVerb::List(list)) => self.list(&["tags"], &list, &[], TAGS, "/tag").await,
            Verb::Runner(verb) => self.runner(verb).await,
            Verb::Operation(verb) => self.operation(verb).await,
            Verb::Source(verb) => self.source(verb).await,
            Verb::Instance(verb) => self.instance(verb).await,
            Verb::Component(ComponentVerb::List(page)) => self.pages(&["components"], &page, COMPONENTS, "/name").await,
            Verb::Assignment(AssignmentVerb::Check) => self.check().await,
            Verb::Plan(args) => self.plan(&args).await,
            Verb::Key(verb) => self.key(verb).await,
            Verb::Setting(verb) => self.setting(verb).await,
            Verb::Cluster(ClusterVerb::Status) => self.status().await,
            Verb::This => self.one(&["self"], "/id").await,
            Verb::Try(verb) => live::attempt(self, verb).await,
            Verb::Series(args) => live::series(self, &args).await,
            Verb::Events(args) => events::run(self, &args).await,
            Verb::Agent(_) | Verb::Demo(_) | Verb::Keygen { .. } | Verb::Config(_) | Verb::Validate { .. } | Verb::Completions { .. } => {
                unreachable!("the caller carries out the verbs that need no agent")
            }
        }
    }

    /// A list that is not of nodes.
    pub(super) async fn pages(&self, path: &[&str], page: &PageArgs, columns: &[Column], name: &str) -> Result<Exit, Failure> {
        let rows = self.client.list(path, &[], page.limit).await?;
        self.print_rows(columns, name, &rows)?;
        Ok(Exit::Ok)
    }

    pub(super) async fn list(&self, path: &[&str], list: &ListArgs, query: &[(&str, &str)], columns: &[Column], name: &str) -> Result<Exit, Failure> {
        let mut query = query.to_vec();
        query.extend(list.selector.as_deref().map(|selector| ("selector", selector)));
        let rows = self.client.list(path, &query, list.limit).await?;
        self.print_rows(columns, name, &rows)?;
        Ok(Exit::Ok)
    }

    pub(super) fn print_rows(&self, columns: &[Column], name: &str, rows: &[Value]) -> Result<(), Failure> {
        match self.output {
            OutputFormat::Table if rows.is_empty() => {
                output::warn("none");
                Ok(())
            }
            OutputFormat::Table => output::print(&output::table(columns, rows)),
            OutputFormat::Json => output::print(&format!("{:#}\n", json!({ "items": rows, "next_cursor": null }))),
            OutputFormat::Name => output::print(&output::names(name, rows)),
        }
    }

    pub(super) async fn one(&self, path: &[&str], name: &str) -> Result<Exit, Failure> {
        let document = self.client.get(path).await?;
        self.print_one(&document, name)?;
        Ok(Exit::Ok)
    }

    pub(super) fn print_one(&self, document: &Value, name: &str) -> Result<(), Failure> {
        match self.output {
            OutputFormat::Table => output::print(&output::leaves(document)),
            OutputFormat::Json => output::print(&format!("{document:#}\n")),
            OutputFormat::Name => output::print(&output::names(name, std::slice::from_ref(document))),
        }
    }

    /// Sends a write and says what became of it.
    pub(super) async fn write(&self, method: Method, path: &[&str], change: ChangeArgs, body: Option<(&str, String)>) -> Result<Exit, Failure> {
        self.write_if(None, method, path, &change, body).await
    }

    /// The same under a condition, a header with its value, beside that of `--if-match`.
    pub(super) async fn write_if(
        &self,
        condition: Option<(&str, String)>,
        method: Method,
        path: &[&str],
        change: &ChangeArgs,
        body: Option<(&str, String)>,
    ) -> Result<Exit, Failure> {
        let mut query = change.reason.as_deref().map(|reason| vec![("reason", reason)]).unwrap_or_default();
        query.extend(change.dry_run.then_some(("dry_run", "true")));
        let mut request = self.client.request(method, path, &query);
        let revision = change.if_match.as_deref().map(|revision| ("if-match", format!("\"{}\"", revision.trim_matches('"'))));
        for (header, value) in condition.into_iter().chain(revision) {
            request = request.header(header, value);
        }
        if let Some((content_type, body)) = body {
            request = request.header(reqwest::header::CONTENT_TYPE, content_type).body(body);
        }
        let (_, answer) = self.client.send(request).await?;
        self.print_written(&answer, change.dry_run)
    }

    pub(super) async fn write_json(&self, method: Method, path: &[&str], change: ChangeArgs, body: &Value) -> Result<Exit, Failure> {
        self.write(method, path, change, Some((Format::Json.content_type(), body.to_string()))).await
    }

    async fn node(&self, verb: NodeVerb) -> Result<Exit, Failure> {
        match verb {
            NodeVerb::List(list) => self.list(&["nodes"], &list, &[], NODES, "/name").await,
            NodeVerb::Show { node } => self.one(&["nodes", &node], "/id").await,
            NodeVerb::Tag { node, tags: TagsArgs { add, remove, set }, change } => {
                let Some(tags) = set else { return self.change_tags(&node, &add, &remove, change).await };
                self.write_json(Method::PUT, &["nodes", &node, "tags"], change, &json!({ "tags": tags })).await
            }
            NodeVerb::Drain { node, wait, change } => {
                let exit = self.write(Method::POST, &["nodes", &node, "drain"], change, None).await?;
                if wait { self.drained(&node).await } else { Ok(exit) }
            }
            NodeVerb::Forget { node, yes, change } => {
                confirm(yes || change.dry_run, &format!("forget node {node}"))?;
                self.write(Method::DELETE, &["nodes", &node], change, None).await
            }
            NodeVerb::Undrain { node, change } => self.write(Method::POST, &["nodes", &node, "undrain"], change, None).await,
        }
    }

    /// Waits until a drain is done, and tells how far it is whenever that changes.
    async fn drained(&self, node: &str) -> Result<Exit, Failure> {
        let mut told = String::new();
        loop {
            let row = self.client.get(&["nodes", node]).await?;
            let count = |pointer: &str| row.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
            match row.pointer("/drain") {
                Some(Value::Object(drain)) if drain.get("done") == Some(&Value::Bool(true)) => {
                    output::warn("done: nothing depends on it any more");
                    return Ok(Exit::Ok);
                }
                Some(Value::Object(_)) => {}
                _ => return Err(Failure::error(format!("{node} is not asked to drain any more"))),
            }
            let status = row.pointer("/status").and_then(Value::as_str).unwrap_or_default();
            if !matches!(status, "alive" | "suspect") {
                return Err(Failure::error(format!("{node} is {status}, before its drain was done: others take its sources over")));
            }
            let progress = format!("{} sources to hand over, {} that count on it as a witness", count("/drain/sources"), count("/drain/witness_of"));
            if progress != told {
                output::warn(&progress);
                told = progress;
            }
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }

    /// Adds and takes away. What is sent are all tags that the node shall have, so it is on the condition that they are those that were read: a tag that
    /// another gives it meanwhile stays.
    async fn change_tags(&self, node: &str, add: &[String], remove: &[String], mut change: ChangeArgs) -> Result<Exit, Failure> {
        let is_own_condition = change.if_match.is_none();
        let mut tries = 0;
        loop {
            let row = self.client.get(&["nodes", node]).await?;
            if is_own_condition {
                change.if_match = row.pointer("/tags_revision").and_then(Value::as_str).map(str::to_owned);
            }
            let held = row.pointer("/tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            let tags: BTreeSet<&str> = held.filter(|tag| !remove.iter().any(|gone| gone == tag)).chain(add.iter().map(String::as_str)).collect();
            let body = (Format::Json.content_type(), json!({ "tags": tags }).to_string());
            tries += 1;
            match self.write_if(None, Method::PUT, &["nodes", node, "tags"], &change, Some(body)).await {
                Err(failure) if failure.exit == Exit::Conflict && is_own_condition && tries < TAGS_TRIES => {}
                result => return result,
            }
        }
    }

    async fn setting(&self, verb: SettingVerb) -> Result<Exit, Failure> {
        match verb {
            SettingVerb::List(page) => self.pages(&["settings"], &page, SETTINGS, "/name").await,
            SettingVerb::Set { setting, value, change } => {
                self.write_json(Method::PUT, &["settings", &setting], change, &json!({ "value": value })).await
            }
            SettingVerb::Unset { setting, change } => self.write(Method::DELETE, &["settings", &setting], change, None).await,
        }
    }

    /// What a node sees is worth as much as what it hears: where that is little, it says so.
    async fn status(&self) -> Result<Exit, Failure> {
        let exit = self.one(&["cluster"], "/id").await?;
        let asked = self.client.get(&["self"]).await?;
        for why in ["/alone", "/left_behind"].iter().filter_map(|pointer| asked.pointer(pointer)?.as_str()) {
            output::warn(&format!("warning: {}: {why}", asked.pointer("/name").and_then(Value::as_str).unwrap_or("the node that was asked")));
        }
        Ok(exit)
    }

    async fn key(&self, verb: KeyVerb) -> Result<Exit, Failure> {
        match verb {
            KeyVerb::List(page) => self.pages(&["keys"], &page, KEYS, "/fingerprint").await,
            KeyVerb::Install { file, step } => {
                let key = read_text(&file)?;
                let body = json!({ "key": key.trim() }).to_string();
                self.key_change(Method::POST, &["keys"], false, step, Some(body)).await
            }
            KeyVerb::Use { key, force, step } => self.key_change(Method::POST, &["keys", &key, "use"], force, step, None).await,
            KeyVerb::Remove { key, yes, force, step } => {
                confirm(
                    yes || step.dry_run,
                    &format!("remove key {key}: nodes that have no other one come back only when they are given the present one"),
                )?;
                self.key_change(Method::DELETE, &["keys", &key], force, step, None).await
            }
        }
    }

    async fn key_change(&self, method: Method, path: &[&str], force: bool, step: StepArgs, body: Option<String>) -> Result<Exit, Failure> {
        let mut query = step.reason.as_deref().map(|reason| vec![("reason", reason)]).unwrap_or_default();
        query.extend(step.dry_run.then_some(("dry_run", "true")));
        query.extend(force.then_some(("force", "true")));
        let mut request = self.client.request(method, path, &query);
        if let Some(body) = body {
            request = request.header(reqwest::header::CONTENT_TYPE, Format::Json.content_type()).body(body);
        }
        let (status, answer) = self.client.send(request).await?;
        match self.output {
            OutputFormat::Json => output::print(&format!("{answer:#}\n"))?,
            OutputFormat::Name => output::print(&output::names("/fingerprint", &[answer]))?,
            OutputFormat::Table => {
                let rows = answer.pointer("/nodes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                output::print(&output::table(KEY_OUTCOMES, rows))?;
            }
        }
        Ok(if status == StatusCode::MULTI_STATUS { Exit::Partly } else { Exit::Ok })
    }

    async fn source(&self, verb: SourceVerb) -> Result<Exit, Failure> {
        match verb {
            SourceVerb::List { state, of: OfRunnerArgs { runner, list } } => {
                let query = given(&[("runner", &runner), ("state", &state)]);
                self.list(&["sources"], &list, &query, SOURCES, "/id").await
            }
            SourceVerb::Show { runner, source } => self.one(&["sources", &runner, &source], "/id").await,
            SourceVerb::Add { runner, source, url, selector, change } => {
                let mut put = json!({ "id": source, "url": url });
                if let Some(selector) = selector {
                    put["selection"] = selector.into();
                }
                self.write_json(Method::PATCH, &["runners", &runner, "sources"], change, &json!({ "put": [put] })).await
            }
            SourceVerb::Remove { runner, sources, yes, change } => {
                confirm(yes || change.dry_run, &format!("remove {} of runner {runner}", sources.join(", ")))?;
                self.write_json(Method::PATCH, &["runners", &runner, "sources"], change, &json!({ "remove": sources })).await
            }
        }
    }

    async fn instance(&self, verb: InstanceVerb) -> Result<Exit, Failure> {
        match verb {
            InstanceVerb::List { state, of: OfRunnerArgs { runner, list } } => {
                let query = given(&[("runner", &runner), ("state", &state)]);
                self.list(&["instances"], &list, &query, INSTANCES, "/runner").await
            }
            InstanceVerb::Show { node, runner } => self.one(&["instances", &node, &runner], "/runner").await,
        }
    }

    async fn check(&self) -> Result<Exit, Failure> {
        let findings = self.client.list(&["assignments", "check"], &[], None).await?;
        if findings.is_empty() && self.output == OutputFormat::Table {
            output::print("every source has exactly one owner\n")?;
        } else {
            self.print_rows(FINDINGS, "/source", &findings)?;
        }
        let is_wrong = |finding: &Value| finding.pointer("/wrong") != Some(&Value::Bool(false));
        Ok(if findings.iter().any(is_wrong) { Exit::Error } else { Exit::Ok })
    }

    async fn plan(&self, args: &PlanArgs) -> Result<Exit, Failure> {
        let joins = args.joins.iter().map(|(name, capacity)| json!({ "joins": { "name": name, "tags": args.tags, "capacity": capacity } }));
        let changes = (args.dies.iter().map(|node| json!({ "dies": node })))
            .chain(args.leaves.iter().map(|node| json!({ "leaves": node })))
            .chain(joins)
            .chain(args.bears.iter().map(|(node, capacity)| json!({ "bears": { "node": node, "capacity": capacity } })))
            .chain(args.adds.iter().map(|(runner, sources)| json!({ "adds": { "runner": runner, "sources": sources } })));
        let body = json!({ "changes": changes.collect::<Vec<_>>() }).to_string();
        let request = self.client.request(Method::POST, &["plan"], &[]).header(reqwest::header::CONTENT_TYPE, Format::Json.content_type());
        let (_, answer) = self.client.send(request.body(body)).await?;
        let rows = |pointer: &str| answer.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
        match self.output {
            OutputFormat::Json => output::print(&format!("{answer:#}\n"))?,
            OutputFormat::Name => output::print(&output::names("/source", &rows("/moves")))?,
            OutputFormat::Table => print_plan(&answer)?,
        }
        Ok(Exit::Ok)
    }
}

/// The query of those filters that were given.
pub(super) fn given<'a>(filters: &[(&'static str, &'a Option<String>)]) -> Vec<(&'static str, &'a str)> {
    filters.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect()
}

/// Asks a person before what cannot be undone; a script must say `--yes`.
pub(super) fn confirm(said: bool, what: &str) -> Result<(), Failure> {
    if said {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("this would {what}: say --yes")));
    }
    let mut prompt = std::io::stderr();
    let _ = write!(prompt, "{what}? [y/N] ").and_then(|()| prompt.flush());
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|error| Failure::error(format!("cannot read your answer: {error}")))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Failure::error("nothing was changed")) }
}

/// Prints what would move, and what each node would have.
pub(super) fn print_plan(answer: &Value) -> Result<(), Failure> {
    let rows = |pointer: &str| answer.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let count = |pointer: &str| answer.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let ratio = |pointer: &str| answer.pointer(pointer).and_then(Value::as_f64).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    output::print(&output::table(SHARES, &rows("/nodes")))?;
    let (before, after) = (ratio("/unevenness_before"), ratio("/unevenness_after"));
    let lost = count("/unowned_after");
    let lost = if lost == 0 { String::new() } else { format!("; {lost} have no node that may collect them") };
    output::print(&format!("\n{} sources move{lost}; most/mean {before}, then {after}\n", count("/moves_total")))?;
    let moves = rows("/moves");
    if !moves.is_empty() {
        output::print(&format!("\n{}", output::table(MOVES, &moves)))?;
    }
    Ok(())
}
