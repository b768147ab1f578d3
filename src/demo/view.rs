//! What the demo asks of a node's API, as any client could.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;

/// How long a node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A client of the nodes' API.
#[derive(Debug, Clone)]
pub(super) struct Api {
    client: reqwest::Client,
}

/// A row of `GET /v1/nodes`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct NodeRow {
    pub(super) name: String,
    pub(super) status: String,
}

/// A row of `GET /v1/sources`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct SourceRow {
    pub(super) id: String,
    pub(super) owner_name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

impl Api {
    /// Errors: the HTTP client cannot be made.
    pub(super) fn new() -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().context("make an HTTP client")?;
        Ok(Self { client })
    }

    /// All nodes that the node at `base` knows, itself included.
    ///
    /// Errors: it does not answer, or not so.
    pub(super) async fn nodes(&self, base: &str) -> anyhow::Result<Vec<NodeRow>> {
        self.list(&format!("{base}/v1/nodes")).await
    }

    /// All movable sources.
    ///
    /// Errors: the node does not answer, or not so.
    pub(super) async fn sources(&self, base: &str) -> anyhow::Result<Vec<SourceRow>> {
        self.list(&format!("{base}/v1/sources")).await
    }

    /// The names of the sources by the name of the node that owns them; sources without an owner are under "".
    ///
    /// Errors: the node does not answer, or not so.
    pub(super) async fn owners(&self, base: &str) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
        let mut owners = BTreeMap::<_, Vec<_>>::new();
        for source in self.sources(base).await? {
            owners.entry(source.owner_name.unwrap_or_default()).or_default().push(source.id);
        }
        Ok(owners)
    }

    /// Creates or replaces a runner.
    ///
    /// Errors: it is refused, with the API's own words, or the node does not answer.
    pub(super) async fn put_runner(&self, base: &str, name: &str, spec: &Value) -> anyhow::Result<()> {
        let answer = self.client.put(format!("{base}/v1/runners/{name}")).json(spec).send().await.context("send the runner")?;
        let status = answer.status();
        let text = answer.text().await.context("read the answer")?;
        if !status.is_success() {
            bail!("the runner was refused ({status}): {text}");
        }
        Ok(())
    }

    async fn list<T: for<'a> Deserialize<'a>>(&self, url: &str) -> anyhow::Result<Vec<T>> {
        let mut items = Vec::new();
        let mut cursor = None::<String>;
        loop {
            let parameters = [("limit", "1000")].into_iter().chain(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page_url = reqwest::Url::parse_with_params(url, parameters).with_context(|| format!("make an address of {url}"))?;
            let answer = self.client.get(page_url).send().await.with_context(|| format!("ask {url}"))?.error_for_status()?;
            let page: Page<T> = answer.json().await.with_context(|| format!("understand the answer of {url}"))?;
            items.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(items);
            }
        }
    }
}
