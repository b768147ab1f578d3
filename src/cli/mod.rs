//! The verbs of the binary (DESIGN §8.3). All but `agent`, `demo`, `keygen`, `config show`, `validate` and `completions` are clients of the API.

mod client;
mod events;
mod failure;
mod live;
mod local;
mod operations;
mod output;
mod remote;
mod runners;
mod suite;
mod watch;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, error::ErrorKind};

use self::failure::EXIT_CODES;
pub use self::failure::{Exit, Failure};
pub(crate) use self::local::new_cluster_key;
use self::operations::OperationVerb;
use crate::config::AgentArgs;

/// Collects logs on many machines, without a master.
#[derive(Debug, Parser)]
#[command(name = "logvine", version, max_term_width = 120, subcommand_required = true, arg_required_else_help = true, after_long_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    client: ClientArgs,
}

/// How the API is asked and its answers are shown.
#[derive(Debug, Clone, Args)]
struct ClientArgs {
    /// The API of any node of the cluster; of several, comma-separated, the first one that answers
    #[arg(
        long,
        global = true,
        env = "LOGVINE_API",
        default_value = "http://127.0.0.1:7948",
        value_delimiter = ',',
        value_name = "URL",
        help_heading = "API"
    )]
    api: Vec<String>,
    /// A certificate (PEM) that signed the API's, where the system does not trust it already
    #[arg(long, global = true, value_name = "FILE", help_heading = "API")]
    api_ca: Option<PathBuf>,
    /// The token to show to the API
    #[arg(long, global = true, env = "LOGVINE_TOKEN", hide_env_values = true, value_name = "TOKEN", help_heading = "API")]
    token: Option<String>,
    /// How to print answers
    #[arg(short, long, global = true, value_enum, default_value_t = OutputFormat::Table, value_name = "FORMAT", help_heading = "API")]
    output: OutputFormat,
    /// How long to wait for an answer, in seconds
    #[arg(long, global = true, value_parser = seconds, default_value = "30", value_name = "SECONDS", help_heading = "API")]
    timeout: Duration,
    /// Show it again and again, every so many seconds (2 if no number is given)
    #[arg(short, long, global = true, value_parser = seconds, num_args = 0..=1, default_missing_value = "2", require_equals = true,
        value_name = "SECONDS", help_heading = "API")]
    watch: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a number of seconds from 0.1 to 3600");
    let seconds: f64 = text.trim_end_matches('s').parse().map_err(|_| wrong())?;
    if (0.1..=3600.0).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err(wrong()) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    Table,
    /// The API's own body
    Json,
    /// One name or id a line
    Name,
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    /// Run a node
    Agent(AgentArgs),
    /// Start a whole cluster on this machine, with sources and a sink, and watch it lose a node without losing a line
    Demo(crate::demo::DemoArgs),
    /// Print a new cluster key, or a new token for the API
    Keygen {
        /// A token of this role: its line for the token file goes to standard output, the token itself to standard error
        #[arg(long, value_name = "view|operate|admin")]
        token: Option<String>,
        /// The next key for the cluster of the key in this file, to change it while the cluster runs
        #[arg(long, value_name = "FILE", conflicts_with = "token")]
        next: Option<PathBuf>,
    },
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Check runners or configurations, without an agent
    Validate {
        /// A runner (TOML, YAML or JSON) or a node's configuration (TOML)
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// The cluster's nodes
    #[command(subcommand)]
    Node(NodeVerb),
    /// The tags of nodes
    #[command(subcommand)]
    Tag(TagVerb),
    /// The runners: what is collected
    #[command(subcommand)]
    Runner(RunnerVerb),
    /// The movable sources of runners
    #[command(subcommand)]
    Source(SourceVerb),
    /// What was commanded, by whom, and what became of it
    #[command(subcommand)]
    Operation(OperationVerb),
    /// Runners at work on nodes
    #[command(subcommand)]
    Instance(InstanceVerb),
    /// What a runner can be made of
    #[command(subcommand)]
    Component(ComponentVerb),
    /// Try a runner on a node before it is applied; nothing is delivered or kept
    #[command(subcommand)]
    Try(live::TryVerb),
    /// Who collects what
    #[command(subcommand)]
    Assignment(AssignmentVerb),
    /// What would move if something came to pass; it changes nothing
    Plan(PlanArgs),
    /// The keys of the cluster, and changing them: keygen --next, install, use, remove
    #[command(subcommand)]
    Key(KeyVerb),
    /// The settings of the cluster, the same on all nodes
    #[command(subcommand)]
    Setting(SettingVerb),
    /// The cluster as a whole
    #[command(subcommand)]
    Cluster(ClusterVerb),
    /// The node that is asked
    #[command(name = "self")]
    This,
    /// How runners did lately, as lines of small bars
    Series(live::SeriesArgs),
    /// What happened
    Events(events::EventsArgs),
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Clone, Subcommand)]
enum ConfigVerb {
    /// Print the effective configuration, each value with where it is from
    Show(AgentArgs),
}

/// Which rows of a list.
#[derive(Debug, Clone, Default, Args)]
struct ListArgs {
    /// Only those of these nodes: `web`, `name=web-1`, `status=down`, `tag in (a, b)`
    #[arg(long, visible_alias = "nodes", value_name = "SELECTION")]
    selector: Option<String>,
    /// At most so many; all without it
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

#[derive(Debug, Clone, Subcommand)]
enum NodeVerb {
    /// All nodes
    List(ListArgs),
    /// One node
    Show {
        /// Its id, a unique beginning of it (6 digits or more), or its name
        node: String,
    },
    /// Change a node's tags
    Tag {
        /// Its id, a unique beginning of it (6 digits or more), or its name
        node: String,
        #[command(flatten)]
        tags: TagsArgs,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Hand all of a node's movable sources to others
    Drain {
        /// Its id, a unique beginning of it (6 digits or more), or its name
        node: String,
        /// Stay until nothing depends on it any more: it owns no source, and no source counts on it to keep its checkpoint
        #[arg(long, conflicts_with = "dry_run")]
        wait: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Forget a node that is down or has left
    Forget {
        /// Its id, a unique beginning of it (6 digits or more), or its name
        node: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Let a drained node take part again
    Undrain {
        /// Its id, a unique beginning of it (6 digits or more), or its name
        node: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
struct TagsArgs {
    /// Add this tag
    #[arg(long, value_name = "TAG")]
    add: Vec<String>,
    /// Remove this tag
    #[arg(long, value_name = "TAG")]
    remove: Vec<String>,
    /// Have exactly these, comma-separated
    #[arg(long, value_name = "TAGS", conflicts_with_all = ["add", "remove"], value_delimiter = ',')]
    set: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, Args)]
struct ChangeArgs {
    /// Check and show what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Why, for the record: `operation list` shows it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only if what is changed is still at this revision (`show -o json` tells it: of a runner `spec_revision`)
    #[arg(long, value_name = "REVISION")]
    if_match: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
enum TagVerb {
    /// All tags, with their nodes
    List(ListArgs),
    /// Give a tag another name, on its nodes and in all that is placed by it
    Rename {
        tag: String,
        to: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

#[derive(Debug, Clone, Subcommand)]
enum RunnerVerb {
    /// All runners
    List(ListArgs),
    /// One runner
    Show { runner: String },
    /// Create or replace a runner
    Apply {
        /// TOML, YAML or JSON, by its ending; `-` for standard input; of a directory all such files in it
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Also delete all runners that these files do not name
        #[arg(long, conflicts_with = "if_match")]
        prune: bool,
        /// Do not ask before that
        #[arg(short, long, requires = "prune")]
        yes: bool,
        /// Only if there is no such runner yet
        #[arg(long, conflicts_with_all = ["if_match", "prune"])]
        if_absent: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Delete runners and what is remembered of their sources
    Delete {
        #[arg(required = true)]
        runners: Vec<String>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Start runners
    Start(OnNodesArgs),
    /// Stop runners
    Stop(OnNodesArgs),
    /// Have runners not be on these nodes at all
    Remove(OnNodesArgs),
    /// Forget what was said of single nodes: they do as the runner does
    Follow(OnNodesArgs),
    /// What a runner was and is, the newest first; to go back: `runner revisions NAME --spec REVISION | logvine runner apply -`
    Revisions {
        runner: String,
        /// Print what it was then, as it can be applied
        #[arg(long, value_name = "REVISION")]
        spec: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Have runners begin anew where they run: flush, end, start again at what was acknowledged
    Restart(OnNodesArgs),
    /// Have sources read again from their beginning; what was read is sent again, under the same ids. With --dry-run: how much that is
    Rewind {
        #[command(flatten)]
        on: OnNodesArgs,
        /// Only this source; repeatable, of one runner
        #[arg(long, value_name = "SOURCE")]
        source: Vec<String>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Have the instances of runners count records, errors and dead letters from nothing again. With --dry-run: what would be forgotten
    ClearCounters(OnNodesArgs),
    /// Throw away what waits in the disk queues of runners whose readers cannot wait (syslog, http_push, stdin). With --dry-run: how much that is
    DropQueue {
        #[command(flatten)]
        on: OnNodesArgs,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Look at its records on their way, live
    Tap(live::TapArgs),
    /// Run the tests in a runner's own file, without an agent: sample lines, and the records that they must become
    Test {
        /// TOML, YAML or JSON, by its ending; `-` for standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Clone, Args)]
struct OnNodesArgs {
    #[arg(required = true)]
    runners: Vec<String>,
    #[command(flatten)]
    nodes: NodesArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Clone, Args)]
struct NodesArgs {
    /// On these nodes, those that match now: `web`, `name=web-1`, `tag in (a, b)`; `all` is the runner as a whole
    #[arg(long, visible_alias = "selector", value_name = "SELECTION", default_value = "all")]
    nodes: String,
    /// Refuse if these are not so many nodes
    #[arg(long, value_name = "NUMBER")]
    expect: Option<usize>,
}

#[derive(Debug, Clone, Subcommand)]
enum SourceVerb {
    /// All movable sources with their owners
    List {
        /// Only those in this state: collected, failing, waiting, waiting_for_checkpoint, unowned, no_node
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        of: OfRunnerArgs,
    },
    /// One source, with the exact position that its owner knows
    Show { runner: String, source: String },
    /// Add a source to a runner, or replace it
    Add {
        runner: String,
        source: String,
        url: String,
        /// Narrows the runner's placement
        #[arg(long, value_name = "SELECTION")]
        selector: Option<String>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Remove sources from a runner
    Remove {
        runner: String,
        #[arg(required = true)]
        sources: Vec<String>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

#[derive(Debug, Clone, Subcommand)]
enum InstanceVerb {
    /// All instances
    List {
        /// Only those in this state: starting, running, paused, failed, stopped, "waiting for node"
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        of: OfRunnerArgs,
    },
    /// One instance: positions, lag, each stage's errors, each sender
    Show {
        /// Its node's id, a unique beginning of it (6 digits or more), or its name
        node: String,
        runner: String,
    },
}

#[derive(Debug, Clone, Subcommand)]
enum ComponentVerb {
    /// All readers, parse stages, transforms and senders; with `-o json` also their schemas
    List(PageArgs),
}

/// How much of a list of what belongs to runners.
#[derive(Debug, Clone, Default, Args)]
struct OfRunnerArgs {
    /// Only of this runner
    #[arg(long)]
    runner: Option<String>,
    #[command(flatten)]
    list: ListArgs,
}

/// How much of a list.
#[derive(Debug, Clone, Default, Args)]
struct PageArgs {
    /// At most so many; all without it
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

#[derive(Debug, Clone, Subcommand)]
enum AssignmentVerb {
    /// Sources with no owner or two, and those that wait, with why; exit code 1 if something is wrong
    Check,
}

/// Changes hold in this order, each flag's in the order given. Without any: what is to move anyway.
#[derive(Debug, Clone, Args)]
struct PlanArgs {
    /// This node is gone without a word
    #[arg(long, value_name = "NODE")]
    dies: Vec<String>,
    /// This node is drained
    #[arg(long, value_name = "NODE")]
    leaves: Vec<String>,
    /// A node of this name comes, with what is usual here or this capacity, in quarter octaves
    #[arg(long, value_name = "NAME[=CAPACITY]", value_parser = named_or_numbered)]
    joins: Vec<(String, Option<u32>)>,
    /// The tags of the nodes that come, comma-separated
    #[arg(long, value_name = "TAGS", value_delimiter = ',', requires = "joins")]
    tags: Vec<String>,
    /// This node can bear this much, in quarter octaves: 4 more is twice as much
    #[arg(long, value_name = "NODE=CAPACITY", value_parser = numbered)]
    bears: Vec<(String, u32)>,
    /// So many sources are added to this runner
    #[arg(long, value_name = "RUNNER=NUMBER", value_parser = numbered)]
    adds: Vec<(String, u32)>,
}

fn numbered(text: &str) -> Result<(String, u32), String> {
    let (name, number) = text.split_once('=').ok_or_else(|| format!("`{text}` has no `=` and number after its name"))?;
    number.parse().map(|number| (name.to_owned(), number)).map_err(|_| format!("`{number}` is not a number"))
}

fn named_or_numbered(text: &str) -> Result<(String, Option<u32>), String> {
    if text.contains('=') { numbered(text).map(|(name, number)| (name, Some(number))) } else { Ok((text.to_owned(), None)) }
}

#[derive(Debug, Clone, Subcommand)]
enum KeyVerb {
    /// The keys by their fingerprints, with how many nodes have them
    List(PageArgs),
    /// 1. Have all nodes accept a new key
    Install {
        /// The file with the key; `-` for standard input
        file: PathBuf,
        #[command(flatten)]
        step: StepArgs,
    },
    /// 2. Have all nodes seal with it, once all accept it
    Use {
        /// As `key list` shows it
        key: String,
        /// Even if nodes are left behind that are not ready for it
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        step: StepArgs,
    },
    /// 3. Have all nodes accept an old key no more, once nobody seals with it
    Remove {
        /// As `key list` shows it
        key: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// Even if nodes are left behind that are not ready for it
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        step: StepArgs,
    },
}

#[derive(Debug, Clone, Default, Args)]
struct StepArgs {
    /// Check whether it may be done and which nodes answer, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Why, for the record: `events` shows it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
enum SettingVerb {
    /// All settings, with what they may be
    List(PageArgs),
    /// Set one on all nodes
    Set {
        setting: String,
        /// In the unit that `setting list` shows
        value: u64,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Back to its default
    Unset {
        setting: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

#[derive(Debug, Clone, Subcommand)]
enum ClusterVerb {
    /// The cluster at a glance
    Status,
}

/// Runs the program of this process.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // clap's own 2 would say "some targets failed" here.
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok.into(),
                _ => Exit::Usage.into(),
            };
        }
    };
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !failure.message.is_empty() {
                output::warn(&format!("error: {failure}"));
            }
            failure.exit.into()
        }
    }
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    match cli.verb {
        Verb::Agent(args) => local::agent(&args),
        Verb::Demo(args) => local::demo(args),
        Verb::Keygen { token, next } => local::keygen(token.as_deref(), next.as_deref()),
        Verb::Config(ConfigVerb::Show(args)) => local::config_show(&args),
        Verb::Validate { files } => local::validate(&files),
        Verb::Runner(RunnerVerb::Test { files }) => suite::test(&files),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "logvine", &mut script);
            output::print(&String::from_utf8_lossy(&script)).map(|()| Exit::Ok)
        }
        verb => local::runtime()?.block_on(remote::run(verb, &cli.client)),
    }
}

#[cfg(test)]
mod tests;
