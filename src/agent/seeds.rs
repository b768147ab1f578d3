//! The seeds of `--join`: names are looked up again and again, and when none answers, the operator is told why.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use logvine_cluster::view::name_of;
use logvine_gossip::Status;
use logvine_transport::{CallError, Endpoint};
use tokio::{
    sync::watch::Sender,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{AgentHandle, Unavailable, Unheard};
use crate::config::{Config, Seed};

/// How long the start waits for name servers before it goes on without.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// How often names are looked up while nobody is heard, and how long nothing may be heard before the operator is told.
const ROUND: Duration = Duration::from_secs(10);
/// Members that are named in a message; more are counted.
const MEMBERS_NAMED: usize = 3;
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

/// While nobody is heard: looks names up again, and says what is wrong with each seed; else, which members it cannot hear. For as long as the node runs.
pub(super) async fn watch(config: Config, handle: AgentHandle, endpoint: Endpoint, unheard: Sender<Unheard>) {
    let named = config.join.iter().any(|seed| seed.host.parse::<IpAddr>().is_err());
    loop {
        sleep(ROUND).await;
        let heard = handle.udp_counters();
        if heard.senders_accepted > 0 {
            let Ok(left_behind) = left_behind(&handle).await else { return };
            if unheard.borrow().alone.is_some() {
                info!("this node is heard again");
            }
            tell(&unheard, &Unheard { alone: None, left_behind });
            continue;
        }
        if config.join.is_empty() {
            // A node that has never met anybody waits for others to come; one that is spoken to by strangers only has another key than they.
            if heard.nobody_shares_our_key() {
                let why = format!("{} seal with another cluster key than this node: {SAME_KEY}", nodes(heard.senders_refused));
                tell(&unheard, &Unheard { alone: Some(why), left_behind: None });
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
        let why = explain(&others, config.quic_port, &endpoint).await;
        tell(&unheard, &Unheard { alone: Some(why), left_behind: None });
    }
}

/// What to do about a key that is not the others'.
const SAME_KEY: &str = "give all nodes the same --cluster-key-file (if the cluster's key was changed while this node was away: put the present one \
                        there, and start it again)";

fn nodes(count: usize) -> String {
    if count == 1 { "1 node that speaks to this one".to_owned() } else { format!("all {count} nodes that speak to this one") }
}

/// Says it once, for as long as it stays so.
fn tell(unheard: &Sender<Unheard>, now: &Unheard) {
    let before = unheard.send_replace(now.clone());
    let news = |before: &Option<String>, now: &Option<String>| now.clone().filter(|_| before != now);
    for why in [news(&before.alone, &now.alone), news(&before.left_behind, &now.left_behind)].into_iter().flatten() {
        warn!("{why}");
    }
}

/// Which members seal with a key that this node does not have, while others are heard: they or this node missed a change of keys. Strangers are none
/// of it, as anybody can send a datagram in any name.
async fn left_behind(handle: &AgentHandle) -> Result<Option<String>, Unavailable> {
    let strangers: BTreeSet<_> = handle.strangers().into_iter().collect();
    if strangers.is_empty() {
        return Ok(None);
    }
    let looked = handle.look(move |node, _| {
        let members = node.gossip().members().filter(|member| member.status != Status::Left && strangers.contains(&member.gossip));
        members.map(|member| format!("{} ({})", name_of(node, &member.id), member.gossip)).collect::<Vec<_>>()
    });
    Ok(missed(&looked.await?))
}

fn missed(members: &[String]) -> Option<String> {
    let (first, further) = members.split_at(members.len().min(MEMBERS_NAMED));
    let more = if further.is_empty() { String::new() } else { format!(" and {} more", further.len()) };
    let who = format!("{}{more}", first.join(", "));
    let why = "sealed with a key that this node does not have: they or this node were left behind when the cluster's key was changed. `logvine key list` \
               on each shows who has which; put the present key into the --cluster-key-file of who was left behind, and start it again";
    (!members.is_empty()).then(|| format!("what comes from {who} is {why}"))
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

    #[test]
    fn who_is_not_heard_is_named_with_what_to_do() {
        assert_eq!(missed(&[]), None);
        let members: Vec<String> = (1..=5).map(|n| format!("n{n} (10.0.0.{n}:7946)")).collect();
        let told = missed(&members).unwrap();
        assert!(
            told.starts_with("what comes from n1 (10.0.0.1:7946), n2 (10.0.0.2:7946), n3 (10.0.0.3:7946) and 2 more is sealed with a key"),
            "{told}"
        );
        assert!(told.contains("logvine key list") && told.contains("--cluster-key-file"), "{told}");
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
