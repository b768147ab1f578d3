//! The bounds within which the model looks into everything.

/// The most that a bound may have.
pub(super) const NODES_MAX: usize = 5;
pub(super) const CANDIDACIES_MAX: usize = 4;

/// One candidacy: who takes the epoch, for whom, and whom it names as the new witnesses. Nodes by number, A = 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidacy {
    pub counter: u64,
    pub taker: u8,
    pub owner: u8,
    pub witnesses: &'static [u8],
    /// The taker has restarted: it knows what its disk knows, and reads no more.
    pub restarted: bool,
    /// It waits for these no longer, and proceeds without a majority (DESIGN §5.3).
    pub without: &'static [u8],
}

impl Candidacy {
    const fn new(counter: u64, taker: u8, witnesses: &'static [u8]) -> Self {
        Self { counter, taker, owner: taker, witnesses, restarted: false, without: &[] }
    }

    /// The same for another owner: a planned handover, begun by the owner of the base.
    const fn to(mut self, owner: u8) -> Self {
        self.owner = owner;
        self
    }

    const fn restarted(mut self) -> Self {
        self.restarted = true;
        self
    }

    const fn without(mut self, gone: &'static [u8]) -> Self {
        self.without = gone;
        self
    }
}

/// What there is, and how much of it may happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    pub name: &'static str,
    /// What it covers.
    pub sentence: &'static str,
    pub nodes: u8,
    /// The witnesses of the source's first record.
    pub first: &'static [u8],
    /// Who owns it from the beginning; none, where the source is new.
    pub owner: Option<u8>,
    pub candidacies: &'static [Candidacy],
    /// How far owners may send.
    pub positions: u64,
    /// How many disks may be lost.
    pub disks_lost: u8,
    /// A node that may go on from an old copy of its disk.
    pub old_disk: Option<u8>,
    /// Whether nodes hear claims of activated records.
    pub claims: bool,
    /// Answers travel on their own: late, repeated, out of order. Else an answer arrives with its question or never.
    pub late_answers: bool,
    /// A RELEASE that arrives again begins again: its receiver has restarted, or waits no longer.
    pub releases_again: bool,
    /// Nodes that may stop, each once, and come back.
    pub stops: &'static [u8],
    /// Nodes that are dead when it comes to recovering.
    pub dead: &'static [u8],
    /// How often six seconds may pass: the time for which a witness keeps faith with an owner. Nobody is declared down then.
    pub passes: u8,
    /// Whether it is small enough for every change to be held against it.
    pub is_small: bool,
}

/// A new source with witnesses A, B and C of five nodes.
const fn new(name: &'static str, sentence: &'static str, candidacies: &'static [Candidacy]) -> Bounds {
    Bounds {
        name,
        sentence,
        nodes: 5,
        first: &[0, 1, 2],
        owner: None,
        candidacies,
        positions: 0,
        disks_lost: 0,
        old_disk: None,
        claims: false,
        late_answers: false,
        releases_again: false,
        stops: &[],
        dead: &[],
        passes: 0,
        is_small: true,
    }
}

/// The same, owned by A, who sends so many positions at most.
const fn owned(name: &'static str, sentence: &'static str, candidacies: &'static [Candidacy], positions: u64) -> Bounds {
    let mut bounds = new(name, sentence, candidacies);
    bounds.owner = Some(0);
    bounds.positions = positions;
    bounds
}

/// The same in a cluster of two.
const fn of_two(mut bounds: Bounds) -> Bounds {
    bounds.nodes = 2;
    bounds.first = &[0, 1];
    bounds
}

/// By hand: it takes minutes, or gigabytes.
const fn large(mut bounds: Bounds) -> Bounds {
    bounds.is_small = false;
    bounds
}

const A: u8 = 0;
const B: u8 = 1;
const C: u8 = 2;
const D: u8 = 3;
const E: u8 = 4;

const fn take(counter: u64, taker: u8, witnesses: &'static [u8]) -> Candidacy {
    Candidacy::new(counter, taker, witnesses)
}

const DUEL: &[Candidacy] = &[take(1, D, &[D, E, A]), take(2, E, &[E, A, B])];
const CHAIN: &[Candidacy] = &[take(1, D, &[D, E, A]), take(2, E, &[E, B, C]), take(3, A, &[A, B, C])];
const FORK: &[Candidacy] = &[take(1, D, &[D, E]), take(2, E, &[D, E, A]), take(3, B, &[B, C, A])];
const OVERLAP: &[Candidacy] = &[take(1, D, &[C, D, E]), take(2, E, &[D, E, A])];
const PAIR: &[Candidacy] = &[take(1, A, &[A, B]), take(2, B, &[A, B]), take(3, A, &[A, B]), take(4, B, &[A, B])];

/// All of them, small ones first.
pub const BOUNDS: &[Bounds] = &[
    new("duel", "two candidates for the first epoch, lost and repeated messages, crashes of either at any step", DUEL),
    new("disjoint", "two candidates whose witnesses have little in common with the old ones", FORK.split_at(2).0),
    new("base", "a record that names witnesses of its base again: they must take it as a base (L1)", &[take(1, D, &[B, C, D]), take(2, E, &[B, C])]),
    Bounds {
        dead: &[D, E],
        ..new("dead", "a proposal that names the dead, accepted by too few to have been decided (L2)", &[take(1, D, &[C, D, E])])
    },
    Bounds { claims: true, ..new("claims", "a duel in which claims are heard at any time, by anybody", FORK.split_at(2).0) },
    Bounds { late_answers: true, ..new("late-answers", "votes that arrive late, repeatedly and out of order", DUEL.split_at(1).0) },
    new("counter", "a candidate that restarts and proposes again", &[take(1, D, &[D, E]), take(2, D, &[A, D]).restarted()]),
    of_two(new("pair", "three candidacies in a set of two", PAIR.split_at(3).0)),
    of_two(owned("pair-data", "two candidacies in a set of two whose owner sends", PAIR.split_at(2).0, 2)),
    owned("window", "an owner sends on, and one candidate", OVERLAP.split_at(1).0, 3),
    owned("duel-data", "two candidates for the epoch after one whose owner sends on", &[take(1, D, &[D]), take(2, E, &[E])], 1),
    owned("handover", "a handover that races a takeover", &[take(1, A, &[B, D]).to(D), take(2, E, &[D, E])], 1),
    Bounds { releases_again: true, ..owned("release", "a RELEASE that is repeated to a receiver that restarts", &[take(1, A, &[B, C, D]).to(D)], 2) },
    owned("restart", "an owner that restarts races a takeover", &[take(1, A, &[A]).restarted(), take(2, E, &[E])], 1),
    owned("renewal", "an owner that renews its witnesses while it reads on", &[take(1, A, &[A, B, D])], 3),
    Bounds { old_disk: Some(A), ..new("old-disk", "a witness that goes on from an old copy of its disk", &[take(1, D, &[D]), take(2, E, &[E])]) },
    Bounds { disks_lost: 1, ..new("disks", "a duel in which any disk is lost", &[take(1, D, &[D]), take(2, E, &[E])]) },
    Bounds { passes: 1, ..owned("faith", "witnesses keep faith with an owner that they hear, and not for longer", &[take(1, E, &[C, D, E])], 1) },
    Bounds {
        stops: &[B, C],
        claims: true,
        ..owned("patience", "B and C stop, E proceeds without them, and they come back", &[take(1, E, &[A, D, E]).without(&[B, C])], 2)
    },
    large(owned("overlap-data", "a new witness that is an old one, and knows more than those that voted", OVERLAP, 2)),
    large(owned(
        "restart-wide",
        "an owner that restarts races a takeover, in sets of two",
        &[take(1, A, &[A, D]).restarted(), take(2, E, &[D, E])],
        1,
    )),
    large(owned("duel-data-wide", "two candidates for sets of three, after an owner that sends two positions", DUEL, 2)),
    large(owned("handover-wide", "a handover that races a takeover, in sets of three", &[take(1, A, &[B, C, D]).to(D), take(2, E, &[C, D, E])], 2)),
    large(Bounds {
        releases_again: true,
        ..owned(
            "release-and-take",
            "the same, while it takes an epoch by itself too",
            &[take(1, A, &[B, C, D]).to(D), take(2, D, &[C, D, E]).restarted()],
            1,
        )
    }),
    large(owned("renewal-and-take", "an owner that renews while it reads on, and a takeover", &[take(1, A, &[A, B, D]), take(2, E, &[C, D, E])], 2)),
    large(Bounds { disks_lost: 1, ..new("disks-wide", "a duel for sets of three in which any disk is lost", DUEL) }),
    large(Bounds { old_disk: Some(A), ..new("old-disk-wide", "a duel for sets of three, with an old disk", DUEL) }),
    large(Bounds { late_answers: true, ..new("late-duel", "a duel in which votes arrive late, repeatedly and out of order", DUEL) }),
    large(Bounds {
        passes: 1,
        ..owned("faith-duel", "faith, and an owner that renews meanwhile", &[take(1, A, &[A, B, D]), take(2, E, &[C, D, E])], 1)
    }),
    large(Bounds {
        stops: &[B, C],
        claims: true,
        ..owned("patience-duel", "B takes an epoch too, once it is back", &[take(1, E, &[A, D, E]).without(&[B, C]), take(2, B, &[B, C, D])], 2)
    }),
    large(new("chain", "three candidacies: chained changes of witnesses", CHAIN)),
    large(new("fork", "three candidacies over witnesses far apart", FORK)),
    large(of_two(new("pairs", "four candidacies in a set of two: five epochs", PAIR))),
    large(owned("chain-data", "three candidacies with positions: four epochs with data", CHAIN, 2)),
    large(owned(
        "handovers",
        "two handovers in a row, and a takeover",
        &[take(1, A, &[B, C, D]).to(D), take(2, D, &[C, D, E]).to(E), take(3, B, &[A, B, C])],
        1,
    )),
];

/// The bound of this name.
pub fn find(name: &str) -> Option<&'static Bounds> {
    BOUNDS.iter().find(|bounds| bounds.name == name)
}

/// A clause of DESIGN §5.3 that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ablation {
    pub canary: &'static str,
    /// The bound in which it is seen.
    pub bound: &'static str,
    /// Whether what breaks is safety; else it is that nobody gets any further, which is not looked at where safety is at stake.
    pub is_unsafe: bool,
}

const fn ablation(canary: &'static str, bound: &'static str) -> Ablation {
    Ablation { canary, bound, is_unsafe: true }
}

const fn stuck(canary: &'static str, bound: &'static str) -> Ablation {
    Ablation { canary, bound, is_unsafe: false }
}

/// All of them. Each must break something, or the clause would not be needed.
pub const ABLATIONS: &[Ablation] = &[
    ablation("no-accept", "duel"),
    ablation("store-early", "fork"),
    ablation("follow-undecided", "fork"),
    ablation("no-redirect", "duel"),
    ablation("forget-pointer", "claims"),
    ablation("promise-broken", "duel"),
    ablation("asks-own-view", "duel"),
    ablation("pair-by-any", "pair"),
    ablation("reuse-counter", "counter"),
    stuck("base-left-behind", "base"),
    stuck("always-finish", "dead"),
    ablation("damaged-row-votes", "disks"),
    ablation("old-image-votes", "old-disk"),
    ablation("no-fence", "window"),
    ablation("window-unbounded", "window"),
    ablation("positions-dropped", "duel-data"),
    stuck("resumes-above-held", "pair-data"),
    ablation("patience-zero", "patience"),
    stuck("faith-against-owner", "faith"),
];
