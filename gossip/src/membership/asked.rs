//! What foca asks for, collected: it calls back while it works, and is answered when it has ended.

use std::{collections::BTreeSet, time::Duration};

use foca::{Notification, Runtime, Timer};

use crate::{NodeId, swim::Identity};

/// What foca asked for during one call.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) sends: Vec<(Identity, Vec<u8>)>,
    pub(super) timers: Vec<(Timer<Identity>, Duration)>,
    pub(super) touched: BTreeSet<NodeId>,
    pub(super) probe_failed: bool,
    pub(super) active: bool,
    pub(super) defunct: bool,
}

impl Runtime<Identity> for Asked {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        match notification {
            Notification::MemberUp(member) | Notification::MemberDown(member) | Notification::Rename(_, member) => {
                self.touched.insert(member.id);
            }
            Notification::ProbeFailed(_, member) => {
                self.touched.insert(member.id);
                self.probe_failed = true;
            }
            Notification::Active => self.active = true,
            Notification::Defunct => self.defunct = true,
            Notification::Idle | Notification::Rejoin(_) | Notification::DataReceived(_) | Notification::DataSent(_) => {}
        }
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.sends.push((to, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        self.timers.push((event, after));
    }
}
