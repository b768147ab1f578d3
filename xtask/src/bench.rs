//! `cargo xtask bench`: what people ask first, measured and printed as a table. Nothing is asserted: other machines give other numbers.

mod agents;
mod api;
mod dataplane;
mod gossip;
mod orders;

/// What to measure.
#[derive(Debug)]
pub(crate) enum Options {
    /// Real agents on this machine.
    Agents(agents::Options),
    /// A node's API.
    Api(api::Options),
    /// One runner over one file.
    Dataplane(dataplane::Options),
    /// Commands on real agents of this machine.
    Orders(orders::Options),
    /// Gossip, or assignment, in the simulator, in virtual time.
    Measures(gossip::Options),
}

/// Those of the simulator's measures that are about sources and their owners.
const OF_ASSIGNMENT: &[&str] = &["assignment", "handovers", "takeovers", "partitions", "survivors", "rolling"];

impl Options {
    pub(crate) fn parse(args: &[&str]) -> anyhow::Result<Self> {
        match args {
            ["api", rest @ ..] => api::Options::parse(rest).map(Self::Api),
            ["dataplane", rest @ ..] => dataplane::Options::parse(rest).map(Self::Dataplane),
            ["orders", rest @ ..] => orders::Options::parse(rest).map(Self::Orders),
            ["gossip", rest @ ..] => Ok(Self::Measures(gossip::Options::parse(rest))),
            ["assignment", rest @ ..] => {
                let chosen = rest.iter().any(|arg| !arg.starts_with('-'));
                let names = if chosen { &[][..] } else { OF_ASSIGNMENT };
                Ok(Self::Measures(gossip::Options::parse(&[names, rest].concat())))
            }
            ["agents", rest @ ..] | rest => agents::Options::parse(rest).map(Self::Agents),
        }
    }
}

/// Builds the program, measures, prints.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    match options {
        Options::Agents(options) => agents::run(options),
        Options::Api(options) => api::run(options),
        Options::Dataplane(options) => dataplane::run(options),
        Options::Orders(options) => orders::run(options),
        Options::Measures(options) => gossip::run(options),
    }
}
