//! The seeds of `--join`: names are looked up again and again, and when none answers, the operator is told why.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use logvine_transport::{CallError, Endpoint};
use tokio::{
    sync::watch::Sender,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use super::AgentHandle;
use crate::config::{Config, Seed};

/// How long the start waits for name servers before it goes on without.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// How often names are looked up while nobody is heard, and how long nothing may be heard before the operator is told.
const ROUND: Duration = Duration::from_secs(10);
/// How long a seed may take to greet.
const GREETING: Duration = Duration::from_secs(3);

/// The seeds' addresses as far as they are known at once.
pub(super) async fn first_look(config: &Config) -> Vec<SocketAddr> {
    match timeout(FIRST_LOOK, resolve(&config.join, config.gossip_port)).await {
        Ok(seeds) => seeds,
        Err(_) => {
            config.join.iter().filter_map(|seed| Some(SocketAddr::new(seed.host.parse().ok()?, seed.port.unwrap_or(config.gossip_port)))).collect()
        }
    }
}

async fn resolve(seeds: &[Seed], gossip_port: u16) -> Vec<SocketAddr> {
    let mut found = BTreeSet::new();
    for seed in seeds {
        let port = seed.port.unwrap_or(gossip_port);
        if let Ok(address) = seed.host.parse::<IpAddr>() {
            found.insert(SocketAddr::new(address, port));
            continue;
        }
        match tokio::net::lookup_host((seed.host.as_str(), port)).await {
            Ok(addresses) => found.extend(addresses),
            Err(error) => warn!(%seed, %error, "a seed's name is not known; it is looked up again"),
        }
    }
    found.into_iter().collect()
}

/// While nobody is heard: looks names up again, and says what is wrong with each seed. For as long as the node runs.
pub(super) async fn watch(config: Config, handle: AgentHandle, endpoint: Endpoint, alone: Sender<Option<String>>) {
    let named = config.join.iter().any(|seed| seed.host.parse::<IpAddr>().is_err());
    loop {
        sleep(ROUND).await;
        let heard = handle.udp_counters();
        if heard.senders_accepted > 0 {
            if alone.send_replace(None).is_some() {
                info!("this node is heard again");
            }
            continue;
        }
        if config.join.is_empty() {
            // A node that has never met anybody waits for others to come; one that is spoken to by strangers only has another key than they.
            if heard.nobody_shares_our_key() {
                tell(&alone, &format!("{} seal with another cluster key than this node: {SAME_KEY}", nodes(heard.senders_refused)));
            }
            continue;
        }
        let seeds = resolve(&config.join, config.gossip_port).await;
        let own = SocketAddr::new(config.advertise, config.gossip_port);
        let others: Vec<SocketAddr> = seeds.iter().copied().filter(|seed| *seed != own).collect();
        if named && handle.change(move |node, _| node.set_seeds(seeds)).await.is_err() {
            return;
        }
        // A node that is its only seed waits for others to come.
        if others.is_empty() && !named {
            continue;
        }
        tell(&alone, &explain(&others, config.quic_port, &endpoint).await);
    }
}

/// What to do about a key that is not the others'.
const SAME_KEY: &str = "give all nodes the same --cluster-key-file (if the cluster's key was changed while this node was away: put the present one \
                        there, and start it again)";

fn nodes(count: usize) -> String {
    if count == 1 { "1 node that speaks to this one".to_owned() } else { format!("all {count} nodes that speak to this one") }
}

/// Says it once, for as long as it stays so.
fn tell(alone: &Sender<Option<String>>, why: &str) {
    let changed = alone.send_if_modified(|told| {
        let changed = told.as_deref() != Some(why);
        *told = Some(why.to_owned());
        changed
    });
    if changed {
        warn!("{why}");
    }
}

/// Why none of `seeds` answers, as far as a handshake with each can tell.
async fn explain(seeds: &[SocketAddr], quic_port: u16, endpoint: &Endpoint) -> String {
    let mut strangers = Vec::new();
    let mut deaf = Vec::new();
    for seed in seeds {
        match endpoint.greet(SocketAddr::new(seed.ip(), quic_port), GREETING).await {
            Ok(_) => deaf.push(seed.to_string()),
            Err(CallError::NotOurCluster { .. }) => strangers.push(seed.to_string()),
            Err(error) => debug!(%seed, %error, "no greeting from a seed"),
        }
    }
    if !strangers.is_empty() {
        let list = strangers.join(", ");
        return format!("nobody that this node reaches shares its cluster key: {list} runs logvine with another one; {SAME_KEY}");
    }
    if !deaf.is_empty() {
        let list = deaf.join(", ");
        return format!(
            "{list} shares this node's cluster key, but its gossip does not get through: check that UDP passes on the gossip port, both ways"
        );
    }
    "no seed answers: check the addresses of --join, that a node runs there, and that UDP passes on its gossip port and QUIC port".to_owned()
}

#[cfg(test)]
mod tests {
    use logvine_gossip::seal::Keyring;
    use logvine_transport::{EndpointConfig, NodeKey};

    use super::*;
    use crate::cli::new_cluster_key;

    fn endpoint(address: &str, keyring: &Keyring) -> Endpoint {
        Endpoint::bind(address.parse().unwrap(), &NodeKey::generate().unwrap(), keyring, &EndpointConfig::default()).unwrap().0
    }

    #[tokio::test]
    async fn a_node_that_nobody_answers_says_whether_it_is_the_key_or_the_way() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let [ours, theirs] = [(); 2].map(|()| Keyring::new(vec![new_cluster_key().unwrap()]).unwrap());
        let me = endpoint("127.0.0.1:0", &ours);
        let stranger = endpoint("127.0.0.1:0", &theirs);
        let friend = endpoint("127.0.0.1:0", &ours);
        let seeds = ["127.0.0.1:7946".parse().unwrap()];
        let explained = async |to: &Endpoint| explain(&seeds, to.local().port(), &me).await;
        assert!(explained(&stranger).await.starts_with("nobody that this node reaches shares its cluster key: 127.0.0.1:7946"));
        assert!(explained(&friend).await.starts_with("127.0.0.1:7946 shares this node's cluster key, but"));
    }
}
