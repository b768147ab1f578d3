//! The agent: a node's sockets, clock, disk and tasks around the pure `logvine_cluster::node::Node` (DESIGN §2, §8.1).
//!
//! Here: the order in which a node starts and stops. `shell` is its one loop, `handle` what the API asks the loop, `seeds` the names of `--join`,
//! `cluster_key` the key that it begins with, `asking` what nodes ask of each other's data planes, `keys` the ring that it becomes, `host` how its machine does. Decisions are the node's.

pub(crate) mod asking;
mod cluster_key;
mod handle;
mod host;
mod introductions;
mod keys;
mod load;
mod seeds;
mod shell;

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow};
use logvine_cluster::node::{Node, NodeConfig};
use logvine_gossip::{Generation, GossipConfig, Me};
use logvine_runner::{
    RunnerContext, Runners, Sights, Tags,
    policy::{Policy, PolicyConfig},
};
use logvine_transport::{Endpoint, EndpointConfig, NodeKey, Udp};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

pub use self::asking::Asking;
use self::shell::Shell;
#[cfg(test)]
pub(crate) use self::{asking::test_asking, handle::test_handle, keys::test_keys};
pub use self::{
    handle::{AgentHandle, Clock, Unavailable, Unheard},
    keys::{Keys, KeysError, Refused, Relayed},
};
pub(crate) use self::{
    keys::{KeyWord, Manner},
    shell::Superseded,
};
use crate::{
    api,
    config::{Config, Effective, GossipPreset, LogFormat},
    events::EventLog,
    series::Series,
    signals::Signals,
    store::{DataDir, Store},
};

/// How long a node without anybody to hear waits for one complete exchange before it runs what it knows (DESIGN §4).
const JOIN_PATIENCE: Duration = Duration::from_secs(30);
/// Orders of the API that wait for the loop; more wait with their callers.
const CALLS_WAITING_MAX: usize = 256;
/// What the data plane has told and the loop has not heard yet; more makes the data plane wait.
const INSTANCE_EVENTS_MAX: usize = 1024;

/// Runs a node until it is told to stop. Blocks.
///
/// Errors: why it could not start, or what of its own (a disk, a socket) failed; the message says what to do.
pub fn run(effective: Effective, exit_with_stdin: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(logvine_runner::transform::STACK_BYTES)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let result = runtime.block_on(start(effective, exit_with_stdin));
    // What still blocks (a name being looked up, a read of a dead mount) must not hold the end up.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

async fn start(effective: Effective, exit_with_stdin: bool) -> anyhow::Result<()> {
    let config = effective.config;
    log_to_stderr(&config);
    effective.warnings.iter().for_each(|warning| warn!("{warning}"));
    // Whoever installed a provider before installed the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let dir = DataDir::open(&config.data_dir)?;
    let key = NodeKey::load_or_create(&dir.path().join("node.key"))?;
    let (cluster_key, cluster_key_file) = cluster_key::load(&config)?;
    let cluster = cluster_key.cluster();
    let ring = keys::Stored::load(dir.path(), cluster_key, &cluster_key_file)?;
    let keyring = ring.ring().clone();
    let access = api::Access::load(&config)?;
    let tls = match &config.tls {
        Some(files) => Some(api::Tls::load(files).await?),
        None => None,
    };
    let (store, restored) = Store::open(&dir)?;
    let exposed = exposed(&config);
    if !exposed && config.policy == PolicyConfig::default() {
        warn!("bound to loopback: runners may do all that this user may; --allow-read, --allow-write and --allow-connect narrow it");
    }
    let policy = Policy::new(&config.policy, exposed, dir.path()).keeping(own_files(&config, cluster_key_file));

    let udp = Udp::bind(SocketAddr::new(config.bind, config.gossip_port), SocketAddr::new(config.advertise, config.gossip_port), keyring.clone())?;
    let quic_address = SocketAddr::new(config.bind, config.quic_port);
    let (endpoint, incoming) = Endpoint::bind(quic_address, &key, &keyring, &EndpointConfig::default())?;
    let http = bind_http(config.http)?;

    let clock = Clock::start();
    let me = Me {
        id: key.id(),
        generation: Generation(0),
        gossip: SocketAddr::new(config.advertise, config.gossip_port),
        quic: SocketAddr::new(config.advertise, config.quic_port),
    };
    let seeds = seeds::first_look(&config).await;
    let preset = match config.gossip_preset {
        GossipPreset::Lan => GossipConfig::lan(),
        GossipPreset::Wan => GossipConfig::wan(),
    };
    let node_config = NodeConfig {
        name: config.name.clone(),
        tags: config.tags.iter().cloned().collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        http: Some(config.http),
        gossip: GossipConfig { seeds, ..preset },
        capacity: capacity(),
        restart_grace: config.grace,
        join_patience: JOIN_PATIENCE,
    };
    let mut node = Node::new(clock.now(), node_config, me, restored.writes, getrandom::u64().context("get a seed from the system")?);
    node.set_keys(clock.now(), &keyring.fingerprints());
    info!(node = %me.id, name = %config.name, gossip = %me.gossip, quic = %me.quic, http = %config.http, %cluster, "node starts");

    let (instance_events, from_instances) = mpsc::channel(INSTANCE_EVENTS_MAX);
    let context = RunnerContext {
        node_name: config.name.clone(),
        node_id: me.id,
        policy: Arc::new(policy),
        data_dir: dir.path().to_owned(),
        sights: Sights::default(),
        tags: Tags::default(),
    };
    let runners = Runners::new(context.clone(), instance_events);
    let (calls, waiting) = mpsc::channel(CALLS_WAITING_MAX);
    let (unheard, whom) = watch::channel(Unheard::default());
    let (events, last_event) = EventLog::open(me.id, &dir.path().join("events"));
    events.tell(clock.now().wall, crate::events::started(me.id, last_event.as_deref()));
    if let Some(aside) = restored.set_aside {
        events.tell(clock.now().wall, crate::events::store_set_aside(&aside));
    }
    let udp = Arc::new(udp);
    let handle = AgentHandle::new(calls, clock, udp.clone(), whom);
    tokio::spawn(seeds::watch(config.clone(), handle.clone(), endpoint.clone(), unheard));
    tokio::spawn(host::watch(handle.clone(), dir.path().to_owned()));
    tokio::spawn(load::watch(handle.clone(), context.sights.clone()));
    let keys = Keys::new(ring, udp.clone(), endpoint.clone(), handle.clone(), events.clone());
    let series = Series::default();
    tokio::spawn(series.clone().watch(handle.clone()));
    let tags = context.tags.clone();
    let asking = Asking::new(handle.clone(), endpoint.clone(), context, keys.clone(), events.clone());
    let app = api::App::new(handle.clone(), asking.clone(), keys, events.clone(), series, &config, access, cluster);
    let server = tokio::spawn(async move {
        if let Err(error) = api::serve(http, tls, app).await {
            error!(%error, "the API has ended");
        }
    });
    tokio::spawn(stop_when_told(handle, exit_with_stdin));

    let shell = Shell::new(node, clock, udp, endpoint.clone(), asking, store, runners, tags, events);
    let result = shell.run(waiting, incoming, from_instances).await;
    server.abort();
    endpoint.close().await;
    info!("node has stopped");
    result
}

/// Whether other machines can write runners here, through other nodes or through this node's own API: then what runners may do by default is little.
fn exposed(config: &Config) -> bool {
    !config.bind.is_loopback() || !config.http.ip().is_loopback()
}

/// Files of this node's that no runner may read or write, besides those of its data directory.
fn own_files(config: &Config, cluster_key: PathBuf) -> Vec<PathBuf> {
    let tls = config.tls.iter().flat_map(|files| [&files.cert, &files.key]);
    std::iter::once(cluster_key).chain(tls.chain(&config.token_file).cloned()).collect()
}

fn log_to_stderr(config: &Config) {
    let filter: Targets = config.log.parse().unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    // A second agent in one process (a test) keeps the first one's log.
    let _ = match config.log_format {
        LogFormat::Text => registry.with(lines).try_init(),
        LogFormat::Json => registry.with(lines.json()).try_init(),
    };
}

fn bind_http(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow!("TCP {address} is in use; stop the other process (`ss -tlnp` shows it) or choose another --http"),
        std::io::ErrorKind::AddrNotAvailable => {
            anyhow!("TCP {address} is not an address of this machine; choose one that `ip address` shows for --http")
        }
        _ => anyhow!("cannot bind TCP {address}: {error}"),
    })?;
    listener.set_nonblocking(true).context("prepare the API's socket")?;
    Ok(listener)
}

/// What this node can bear, in quarter octaves (DESIGN §5.1): 16 for one core, 4 more for each doubling.
fn capacity() -> u8 {
    let cores = load::cores().min(1 << 12);
    // 4·log2(n) = log2(n⁴).
    16 + u8::try_from(cores.pow(4).ilog2()).expect("at most 48")
}

/// Stops the node on SIGTERM, SIGINT or the end of standard input; exits at once on a second signal.
async fn stop_when_told(handle: AgentHandle, exit_with_stdin: bool) {
    let Ok(mut signals) = Signals::listen() else {
        error!("signals cannot be listened to: this node stops only by being killed");
        return;
    };
    tokio::select! {
        name = signals.next() => info!("told to stop by {name}"),
        () = end_of_stdin(), if exit_with_stdin => info!("told to stop: standard input has ended"),
    }
    handle.stop().await;
    signals.next().await;
    warn!("told to stop again: exiting at once");
    std::process::exit(1);
}

/// Reads on a thread of its own: it blocks for as long as the process lives, and must not hold the runtime's end up.
async fn end_of_stdin() {
    let (ended, end) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(ended);
    });
    // Either way the sender is gone.
    let _ = end.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_told_with_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let message = bind_http(taken.local_addr().unwrap()).expect_err("it is taken").to_string();
        assert!(message.contains("is in use") && message.contains("--http"), "{message}");
    }

    /// An API that others reach is as good a way in as gossip: `--http 0.0.0.0 --insecure-http` on a laptop must not let the network write to its disk.
    #[test]
    fn an_api_beyond_loopback_narrows_what_runners_may_do() {
        let config = crate::config::load(&crate::config::AgentArgs::default()).unwrap().config;
        assert!(!exposed(&config));
        assert!(exposed(&Config { http: "0.0.0.0:7948".parse().unwrap(), ..config.clone() }));
        assert!(exposed(&Config { bind: "10.0.0.5".parse().unwrap(), ..config }));
    }

    #[test]
    fn an_address_of_another_machine_is_told_with_what_to_do() {
        // TEST-NET-1 (RFC 5737) is nobody's.
        let message = bind_http("192.0.2.1:7948".parse().unwrap()).expect_err("not ours").to_string();
        assert!(message.contains("not an address of this machine"), "{message}");
    }
}
