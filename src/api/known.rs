//! The names that there are, for whoever wrote one that there is not.

use std::collections::BTreeSet;

use logvine_cluster::{
    command::CommandError,
    name::Name,
    node::Node,
    selection::{SelectedBy, Selection},
    setting::SETTINGS,
};

use super::{ApiError, App};

/// Known names that are looked through for a near one: comparing a hundred thousand would hold up the node's loop.
const LOOKED_AT_MAX: usize = 10_000;

/// There is no `kind` of this name; with those of its kind that are near.
pub(super) fn not_found(node: &Node, kind: &'static str, name: &str) -> ApiError {
    let list = if kind == "source" { "GET /v1/sources".to_owned() } else { format!("GET /v1/{kind}s") };
    let known: Vec<String> = match kind {
        "node" => node.view().values().filter_map(|info| info.name.as_ref()).map(Name::to_string).take(LOOKED_AT_MAX).collect(),
        "runner" => {
            let runners = node.catalog().runners().map(|(name, _)| name.to_string());
            runners.take(LOOKED_AT_MAX).chain(proposed(node, "runner/").map(str::to_owned)).collect()
        }
        "tag" => {
            let tags: BTreeSet<&Name> = node.view().values().flat_map(|info| &info.tags).collect();
            tags.into_iter().map(Name::to_string).take(LOOKED_AT_MAX).collect()
        }
        "setting" => SETTINGS.iter().map(|setting| setting.name.to_owned()).collect(),
        _ => Vec::new(),
    };
    ApiError::not_found(kind, name, &list).near(name, known.iter().map(String::as_str))
}

/// What is written under a prefix and only proposed yet: it is no less likely to be meant for that.
fn proposed<'a>(node: &'a Node, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let written = node.proposed().filter(|(_, entry)| entry.value.is_some());
    written.filter_map(move |(key, _)| key.strip_prefix(prefix)).take(LOOKED_AT_MAX)
}

/// There is no such source; with the near ones of its runner, or the near runners where there is no such runner.
pub(super) fn no_source(node: &Node, runner: &str, source: &str) -> ApiError {
    let Some(name) = runner
        .parse::<Name>()
        .ok()
        .filter(|name| node.catalog().runner(name).is_some() || proposed(node, "runner/").any(|known| known == name.as_str()))
    else {
        return not_found(node, "runner", runner);
    };
    let prefix = format!("source/{name}/");
    let sources = node.catalog().sources(&name).map(|source| source.spec.id.as_str()).take(LOOKED_AT_MAX);
    let known: Vec<&str> = sources.chain(proposed(node, &prefix)).collect();
    ApiError::not_found("source", &format!("{runner}/{source}"), "GET /v1/sources").near(source, known)
}

/// A command's refusal, with the names that were probably meant.
pub(super) async fn explain(app: &App, error: CommandError) -> ApiError {
    let looked = match error {
        CommandError::NotFound { kind: "source", ref name } if name.contains('/') => {
            let name = name.clone();
            app.agent().look(move |node, _| name.split_once('/').map(|(runner, source)| no_source(node, runner, source))).await.ok().flatten()
        }
        CommandError::NotFound { kind, ref name } => {
            let name = name.clone();
            app.agent().look(move |node, _| not_found(node, kind, &name)).await.ok()
        }
        CommandError::NobodySelected { ref selection } => {
            let (text, refusal) = (selection.clone(), ApiError::from(error.clone()));
            app.agent().look(move |node, _| nobody(node, &text, refusal)).await.ok()
        }
        _ => None,
    };
    looked.unwrap_or_else(|| error.into())
}

/// The first tag or name of a selection that no node has is most likely the slip.
fn nobody(node: &Node, selection: &str, refusal: ApiError) -> ApiError {
    let tags: Vec<&str> = node.view().values().flat_map(|info| &info.tags).map(Name::as_str).take(LOOKED_AT_MAX).collect();
    let names: Vec<&str> = node.view().values().filter_map(|info| info.name.as_ref()).map(Name::as_str).take(LOOKED_AT_MAX).collect();
    let Ok(selection) = selection.parse::<Selection>() else { return refusal };
    for (by, word) in selection.words() {
        let known = match by {
            SelectedBy::Tag => &tags,
            SelectedBy::Name => &names,
        };
        if !known.contains(&word) {
            // Whoever says a node's name alone has named a tag.
            return if by == SelectedBy::Tag && names.contains(&word) {
                refusal.hint(format!("`{word}` is a node's name: say `name={word}`."))
            } else {
                refusal.near(word, known.iter().copied())
            };
        }
    }
    refusal
}
