//! What happens in the world at a time, and to whom.

use std::{net::SocketAddr, ops::Range};

use logvine_cluster::{
    delivery::{Outcome, SendId},
    instance::InstanceEvent,
    keys::KeyOrder,
    message::{Reply, Request},
    name::Name,
    node::CallId,
};

use crate::{
    host::{Caller, Life},
    knock::Knocker,
    plane::FlowId,
    scenario::Deed,
};

/// What happens at a time.
#[derive(Debug)]
pub(crate) enum Event {
    Deed(Deed),
    /// A source gets a line.
    Grow {
        source: usize,
    },
    /// An operator says again what was not answered.
    Operator,
    Wake {
        host: usize,
        life: Life,
    },
    Datagram {
        host: usize,
        from: SocketAddr,
        payload: Vec<u8>,
    },
    KnockArrives {
        host: usize,
        knocker: Knocker,
    },
    Knocked {
        knocker: Knocker,
        refused: bool,
    },
    Request {
        host: usize,
        caller: Caller,
        request: Request,
    },
    Reply {
        caller: Caller,
        from: usize,
        reply: Reply,
    },
    /// The operator who changes the cluster's key looks how far it is.
    KeyRound,
    KeyOrder {
        via: usize,
        host: usize,
        order: KeyOrder,
    },
    /// A deed that comes after the end of the faults.
    Then(Deed),
    /// Everybody's state is looked at.
    Glance,
    /// A slow process comes to what waits for it.
    GoOn {
        host: usize,
        life: Life,
    },
    /// What watches over a process that ended by itself starts it again.
    Restart {
        host: usize,
    },
    CallFails {
        host: usize,
        life: Life,
        call: CallId,
        reason: &'static str,
    },
    /// A machine's business is looked at.
    Measure {
        host: usize,
        life: Life,
    },
    Persisted {
        host: usize,
        life: Life,
    },
    Plane {
        host: usize,
        life: Life,
        event: PlaneEvent,
    },
    /// Lines arrive at a sink.
    Arrive {
        host: usize,
        life: Life,
        flow: FlowId,
        send: SendId,
        sender: Name,
        source: Name,
        lines: Vec<Range<u64>>,
    },
}

impl Event {
    /// The host whose process must run for this to be handled.
    pub(crate) fn addressee(&self) -> Option<usize> {
        match self {
            Self::Wake { host, .. } | Self::Datagram { host, .. } | Self::Request { host, .. } | Self::Persisted { host, .. } => Some(*host),
            Self::Measure { host, .. } => Some(*host),
            Self::CallFails { host, .. } | Self::Plane { host, .. } | Self::KeyOrder { host, .. } => Some(*host),
            Self::Reply { caller, .. } => Some(caller.host),
            Self::Knocked { knocker, .. } => Some(knocker.host),
            // SIGTERM waits for SIGCONT.
            Self::Deed(Deed::Stop { node }) => Some(*node),
            Self::Deed(_)
            | Self::Then(_)
            | Self::Grow { .. }
            | Self::Operator
            | Self::Glance
            | Self::GoOn { .. }
            | Self::Restart { .. }
            | Self::Arrive { .. } => None,
            // A knock meets the host, whatever its process does.
            Self::KnockArrives { .. } | Self::KeyRound => None,
        }
    }
}

/// What happens in a data plane.
#[derive(Debug)]
pub(crate) enum PlaneEvent {
    Read {
        flow: FlowId,
    },
    /// An answer of a sink; with what it took and acknowledged.
    Outcome {
        flow: FlowId,
        send: SendId,
        sender: Name,
        source: Name,
        lines: Vec<Range<u64>>,
        outcome: Outcome,
    },
    DeadLettered {
        flow: FlowId,
        send: SendId,
        sender: Name,
        source: Name,
        lines: Vec<Range<u64>>,
    },
    Tell(InstanceEvent),
}
