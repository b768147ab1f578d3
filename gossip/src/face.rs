//! The types of [`Gossip`](crate::Gossip)'s face: what goes in, what comes out, and why something is refused.

use std::{net::SocketAddr, time::Duration};

use crate::{ClockOff, Entry, Generation, Instant, NodeId, Stamp, UnixMicros};

/// This node, as it presents itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Me {
    /// Its lasting identity.
    pub id: NodeId,
    /// max(the first generation that is not reserved yet, wall milliseconds) at a start.
    pub generation: Generation,
    /// Where it sends datagrams from and takes them: its advertised address.
    pub gossip: SocketAddr,
    /// Where it takes calls.
    pub quic: SocketAddr,
}

/// Another node's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Peer {
    /// Its lasting identity.
    pub id: NodeId,
    /// Where it takes datagrams.
    pub gossip: SocketAddr,
    /// Where it takes calls.
    pub quic: SocketAddr,
}

/// Another node as the disk keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Met {
    /// Its lasting identity.
    pub id: NodeId,
    /// Where it takes datagrams.
    pub gossip: SocketAddr,
    /// Where it takes calls.
    pub quic: SocketAddr,
    /// The highest generation of it that was heard of; zero if that was not kept.
    #[serde(default)]
    pub generation: Generation,
}

/// What the disk still knew at the start.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// The catalog, tombstones included.
    pub catalog: Vec<(String, Entry)>,
    /// The catalog's floor. [`Stamp::ZERO`] where rows of the catalog could not be read: what is missing was not deleted.
    pub floor: Stamp,
    /// What was dropped as deleted, by key, with the floor that told so.
    pub dropped: Vec<(String, Stamp)>,
    /// Nodes met before: asked beside the seeds, and down in the view until they are heard of.
    pub peers: Vec<Met>,
    /// Generations below this one are ours to use. If `Me::generation` is not below it, nothing is sent before the next
    /// block has been reserved ([`Durable::ReserveGeneration`] and `handle_reserved`).
    pub reserved: Generation,
    /// Which generations this disk knows to be its own.
    pub doubt: Doubt,
    /// How many votes this disk counts ([`Gossip::say_votes`](crate::Gossip::say_votes)).
    pub votes: u64,
    /// Stamps below this one may have been given ([`Gossip::stamp`](crate::Gossip::stamp)): none of them is given again.
    pub stamps: Stamp,
}

/// Which generations a disk knows of: a node of which others know another has an old image of its disk (DESIGN §5.3, "Restart").
///
/// A life that ended before others confirmed it proves nothing of the disk that it began with; so its block is told apart.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Doubt {
    /// All below this.
    pub confirmed: Generation,
    /// And those from the first up to, without it, the second: of lives that nobody confirmed.
    pub since: Vec<(Generation, Generation)>,
    /// How many votes the disk counted when the first of those began. None: it was kept by a version that did not count.
    #[serde(default)]
    pub votes: Option<u64>,
}

impl Doubt {
    /// Whether the disk knows of this generation.
    pub(crate) fn knows(&self, generation: Generation) -> bool {
        generation < self.confirmed || self.since.iter().any(|(from, to)| (*from..*to).contains(&generation))
    }

    /// Whether a disk that counts `counted` votes has all that its node had said under this generation to be on it.
    pub(crate) fn has_votes(&self, generation: Generation, said: u64, counted: u64) -> bool {
        let is_confirmed = generation < self.confirmed;
        said <= self.votes.filter(|_| is_confirmed).unwrap_or(counted)
    }
}

/// How the node gossips. `Default` is [`GossipConfig::lan`]; each number's source stands beside it. All nodes of a cluster have the same preset: a node
/// that probes faster than others answer accuses them.
#[derive(Debug, Clone)]
pub struct GossipConfig {
    /// Gossip addresses of nodes to join by. This node's own is ignored.
    pub seeds: Vec<SocketAddr>,
    /// One member is probed per period. Measured: 500 ms finds a crash in 4.9 s (p50 at 256 nodes, with 4 s of suspicion) for 400 B/s.
    /// Alike on all nodes.
    pub probe_period: Duration,
    /// How long a direct answer may take before three others are asked to probe. Half a period leaves them the other half.
    pub probe_rtt: Duration,
    /// How many others are asked to probe: SWIM's k = 3.
    pub indirect_probes: usize,
    /// How long a suspect has to speak. Longer than the longest pause that is to be borne (measured: 3 s); shorter evicts slow nodes.
    pub suspicion: Duration,
    /// How often membership news, and rumours, are passed on while there are any: memberlist's LAN value.
    pub gossip_interval: Duration,
    /// To how many members at a time: memberlist's LAN value.
    pub gossip_members: usize,
    /// How often a node asks a random member for more members: memberlist's LAN value.
    pub announce_interval: Duration,
    /// How often two down members are called. A healed split is found by this and by the watchdog.
    pub announce_down_interval: Duration,
    /// How often catalog and node maps are compared with one random member. Measured: any change reaches 1,024 nodes in p50 4 s, p99 7 s.
    pub push_pull_interval: Duration,
    /// How often the members themselves are compared, with any known address, down ones too. Measured: complete views of 1,024 in 13 s.
    pub members_interval: Duration,
    /// Bytes per second for rumours; push-pull brings what does not fit.
    pub rumour_bytes_per_second: u32,
    /// λ: a rumour is sent up to λ·log₂(n) times, at least four. Fresh news goes to ln n + 2 members at once; what is left for the ticks is few nodes, and
    /// three copies to each of a tick leave 5 % of those.
    pub rumour_factor: f64,
    /// The incarnation that each process begins with. Zero, but where simulations begin close to the greatest, 65,535: at that a suspect can say no more that it
    /// lives, and takes a further generation.
    pub incarnation: u16,
}

impl Default for GossipConfig {
    fn default() -> Self {
        Self::lan()
    }
}

impl GossipConfig {
    /// For nodes within some milliseconds of each other: a killed process is known in about a second, a silent host in five and a half.
    pub fn lan() -> Self {
        Self {
            seeds: Vec::new(),
            probe_period: Duration::from_millis(500),
            probe_rtt: Duration::from_millis(250),
            indirect_probes: 3,
            suspicion: Duration::from_secs(4),
            gossip_interval: Duration::from_millis(200),
            gossip_members: 3,
            announce_interval: Duration::from_secs(30),
            announce_down_interval: Duration::from_secs(10),
            push_pull_interval: Duration::from_secs(1),
            members_interval: Duration::from_secs(10),
            rumour_bytes_per_second: 8 * 1024,
            rumour_factor: 0.5,
            incarnation: 0,
        }
    }

    /// For nodes up to a second apart, over lines that lose packets: memberlist's WAN values (probe 5 s, timeout 3 s, gossip 500 ms to 4 members, suspicion
    /// 6 probe periods), what is compared in proportion. A killed process is known in some ten seconds, a silent host in forty.
    pub fn wan() -> Self {
        Self {
            probe_period: Duration::from_secs(5),
            probe_rtt: Duration::from_secs(3),
            suspicion: Duration::from_secs(30),
            gossip_interval: Duration::from_millis(500),
            gossip_members: 4,
            announce_interval: Duration::from_secs(60),
            announce_down_interval: Duration::from_secs(20),
            push_pull_interval: Duration::from_secs(2),
            members_interval: Duration::from_secs(20),
            ..Self::lan()
        }
    }
}

/// What this node believes of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It answers.
    Alive,
    /// Somebody got no answer; it has time to speak.
    Suspect,
    /// It did not speak in time.
    Down,
    /// It said goodbye.
    Left,
}

impl Status {
    /// Alive or suspect: part of the cluster's work.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

/// Another node, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its lasting identity.
    pub id: NodeId,
    /// The highest generation of it that was heard of.
    pub generation: Generation,
    /// Where it takes datagrams.
    pub gossip: SocketAddr,
    /// Where it takes calls. Until that has been heard: its address with this node's own port.
    pub quic: SocketAddr,
    /// What this node believes of it.
    pub status: Status,
    /// It is down, and that is proved: its own host refuses datagrams in its name, to more than one node (DESIGN §3.1).
    pub proved: bool,
    /// When this node came to believe that.
    pub since: UnixMicros,
    /// When the last datagram came from it, if ever.
    pub heard: Option<Instant>,
}

impl Member {
    /// Whether it is certain that this generation of it works no more: it said goodbye, or its host says that no process is there.
    pub fn is_gone(&self) -> bool {
        self.proved || self.status == Status::Left
    }

    /// Its addresses.
    pub fn peer(&self) -> Peer {
        Peer { id: self.id, gossip: self.gossip, quic: self.quic }
    }
}

/// What the host must do. A datagram or call may be lost, repeated or late.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Seal and send this.
    Datagram {
        /// The gossip address to send it to.
        to: SocketAddr,
        /// At most [`DATAGRAM_BYTES_MAX`] bytes.
        payload: Vec<u8>,
    },
    /// Knock at this member: send an empty datagram to `to` from a socket of its own that is *connected* to it (so that it hears its host's refusal),
    /// and tell `handle_knock` whether one came within `wait`.
    Knock {
        /// Whose address it is.
        node: NodeId,
        /// Its gossip address.
        to: SocketAddr,
        /// How long a refusal may take.
        wait: Duration,
    },
    /// Call this peer and give what comes of it to `handle_reply`.
    Call {
        /// Whom to call.
        to: Peer,
        /// At most [`FRAME_BYTES_MAX`] bytes.
        body: Vec<u8>,
    },
    /// Call `at`, whose id is this node's own, and ask for its first generation (`first_generation`); give what comes of it to `handle_proof`. Only a process
    /// that has proved this node's key over that connection counts.
    Prove {
        /// Where another process of this node may live.
        at: Peer,
    },
    /// Keep this across restarts. Only `ReserveGeneration` is waited for.
    Persist(Durable),
    /// The view has changed.
    Changed(Change),
}

/// What is to survive a restart.
#[derive(Debug, Clone, PartialEq)]
pub enum Durable {
    /// The catalog's entry under this key is now this.
    Catalog {
        /// Which.
        key: String,
        /// Its last write.
        entry: Entry,
    },
    /// The catalog no longer keeps this key, not even as a tombstone.
    CatalogForgotten {
        /// Which.
        key: String,
    },
    /// The catalog's floor: not without what was persisted before it.
    CatalogFloor(Stamp),
    /// What was written under this key up to this floor of another's was dropped as deleted: it is not taken again from who has no such floor.
    CatalogDropped {
        /// Which.
        key: String,
        /// The floor that told so; None: this node's own floor tells so now.
        floor: Option<Stamp>,
    },
    /// A node met, its new addresses or its new generation.
    Peer(Met),
    /// A node that was forgotten.
    PeerForgotten(NodeId),
    /// Generations below `up_to` will be used. Answer by `handle_reserved(up_to)` once that is on disk.
    ReserveGeneration {
        /// The first generation that is not reserved.
        up_to: Generation,
    },
}

/// What is different in the view. A hint: who missed one reads the view itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A member's status or generation.
    Member {
        /// Who.
        id: NodeId,
        /// None: it is new. Equal to `to`: its generation has changed.
        from: Option<Status>,
        /// What is believed now.
        to: Status,
    },
    /// A word in a node's map, one's own included.
    Said {
        /// Whose map.
        node: NodeId,
        /// Which word.
        key: String,
    },
    /// An entry of the catalog.
    Catalog {
        /// Which.
        key: String,
    },
    /// This node was believed down and came back under a higher generation; its node map has begun anew.
    Renewed {
        /// The new one.
        generation: Generation,
    },
    /// This node's disk is not the newest of its disks: others know a generation that it had not reserved, or heard under one that it had of more votes than
    /// are on it. What it promised since is not on it.
    DiskOutdated {
        /// That generation.
        known: Generation,
    },
    /// This node's view of the members agrees with that of half of its peers, for the first time since its start.
    Joined,
    /// A node was forgotten: nothing is known of it any more.
    Forgotten {
        /// Which.
        id: NodeId,
    },
    /// The catalog agreed with this member's for the first time since the start: one complete push-pull is done.
    Synced {
        /// With whom.
        with: NodeId,
    },
    /// An entry was dropped: it was deleted while this node was away, so long ago that others have forgotten the deletion. Keep it for people.
    Dropped {
        /// Its key.
        key: String,
        /// What was held.
        entry: Entry,
        /// Up to which stamp the others have forgotten deletions.
        floor: Stamp,
    },
    /// An entry was set aside because its stamp lies more than 24 h ahead of this node's clock.
    StampAhead {
        /// Its key.
        key: String,
        /// Its stamp.
        stamp: Stamp,
        /// Who wrote it.
        origin: NodeId,
    },
}

/// Largest datagram, in bytes before sealing. Loopback and jumbo frames take it whole, other links in fragments.
pub const DATAGRAM_BYTES_MAX: usize = 8 * 1024;
/// Largest body of a call, in bytes.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Why a datagram was refused. The view is as before, save that a part of it may have been heard.
#[derive(Debug, thiserror::Error)]
pub enum DatagramError {
    /// Longer than anybody sends.
    #[error("datagram of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Not what a node sends.
    #[error("datagram does not decode")]
    Body {
        /// Where it went wrong.
        source: rmp_serde::decode::Error,
    },
    /// Of a format that this node does not know.
    #[error("datagram has format {format}, this node knows {known}: upgrade the older of the two nodes")]
    Format {
        /// What it says.
        format: u8,
        /// What this node speaks.
        known: u8,
    },
    /// A short ping or acknowledgement that is cut, or of a later kind.
    #[error("short datagram does not decode")]
    Short,
    /// It claims another sender than its source address, or this node itself.
    #[error("datagram claims to be from {claimed} at an address that is not its own")]
    Sender {
        /// Who it claims to be from.
        claimed: NodeId,
    },
    /// It asks for far more than it brings: an announce that is not filled up.
    #[error("announce of {bytes} bytes; one that is answered has at least {bytes_min}: upgrade its sender")]
    Unpadded {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_min: usize,
    },
    /// It was taken before, or comes so late that nobody knows whether it was.
    #[error("datagram of {from} came before")]
    Repeated {
        /// Who made it.
        from: NodeId,
    },
    /// The membership part was refused.
    #[error("membership part refused: {reason}")]
    Membership {
        /// Why.
        reason: String,
    },
    /// It names more nodes than this node has room for.
    #[error("the member table is full ({members_max} members)")]
    Full {
        /// The limit.
        members_max: usize,
    },
    /// It holds an entry or a word over the limits.
    #[error("datagram holds state that is refused")]
    State(#[from] StateError),
}

/// How many datagrams opened and were refused all the same, by reason: see [`DatagramError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DatagramsRefused {
    /// Longer or shorter than anybody sends, not what a node sends, or of another format.
    pub malformed: u64,
    /// They claim another sender.
    pub sender: u64,
    /// They came before.
    pub repeated: u64,
    /// Of a generation that their sender has left behind, or meant for one that this node has left behind; short ones, of anybody not known there. Late
    /// ones, mostly.
    pub former: u64,
    /// Their membership part was refused.
    pub membership: u64,
    /// There was no room for those whom they name.
    pub full: u64,
    /// They hold an entry or a word over the limits; the rest of them was taken.
    pub state: u64,
}

impl DatagramsRefused {
    /// Each reason's name and number.
    pub fn by_reason(&self) -> [(&'static str, u64); 7] {
        let Self { malformed, sender, repeated, former, membership, full, state } = *self;
        [
            ("malformed", malformed),
            ("sender", sender),
            ("repeated", repeated),
            ("former", former),
            ("membership", membership),
            ("full", full),
            ("state", state),
        ]
    }

    pub(crate) fn count(&mut self, error: &DatagramError) {
        *match error {
            DatagramError::TooLarge { .. } | DatagramError::Body { .. } | DatagramError::Format { .. } => &mut self.malformed,
            DatagramError::Short | DatagramError::Unpadded { .. } => &mut self.malformed,
            DatagramError::Sender { .. } => &mut self.sender,
            DatagramError::Repeated { .. } => &mut self.repeated,
            DatagramError::Membership { .. } => &mut self.membership,
            DatagramError::Full { .. } => &mut self.full,
            DatagramError::State(_) => &mut self.state,
        } += 1;
    }
}

/// Why a call's body or its reply was refused.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than anybody sends.
    #[error("frame of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Not what a node sends.
    #[error("frame does not decode")]
    Body {
        /// Where it went wrong.
        source: rmp_serde::decode::Error,
    },
    /// Of a format that this node does not know.
    #[error("frame has format {format}, this node knows {known}: upgrade the older of the two nodes")]
    Format {
        /// What it says.
        format: u8,
        /// What this node speaks.
        known: u8,
    },
    /// It claims another sender than the node that the connection has proved.
    #[error("frame claims to be from {claimed} on a connection of {proved}")]
    Sender {
        /// Who it claims to be from.
        claimed: NodeId,
        /// Whose connection it is.
        proved: NodeId,
    },
    /// This node has not joined yet, or has left: another one can answer.
    #[error("this node is not part of the cluster now: ask another")]
    Absent,
    /// It holds an entry or a word over the limits; the rest was taken.
    #[error("frame holds state that is refused")]
    State(#[from] StateError),
}

/// Why a word or an entry was refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The key is empty or too long.
    #[error("a key is 1 to {bytes_max} bytes long, not {bytes}")]
    Key {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The value is too large.
    #[error("value of {bytes} bytes is over the limit of {bytes_max}")]
    Value {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// There is no room for another key.
    #[error("there is no room: {entries_max} entries are held")]
    Full {
        /// The limit.
        entries_max: usize,
    },
    /// This node's clock cannot be trusted with a stamp.
    #[error("this node's clock is {0}: set it (is NTP running?), or ask another node")]
    ClockOff(ClockOff),
    /// A packed part is cut short, or says what no node says.
    #[error("a packed part does not decode")]
    Damaged,
    /// The map would be too large.
    #[error("the node map would be over {bytes_max} bytes")]
    Large {
        /// The limit.
        bytes_max: usize,
    },
}
