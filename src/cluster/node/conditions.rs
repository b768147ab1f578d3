//! What a change may depend on: the revision of what it changes, which grows with each word on it (DESIGN §8.2, `If-Match`).

use logvine_gossip::{NodeId, Stamp};

use super::Node;
use crate::{
    canary::planted,
    catalog::{Origin, desired_key, runner_key},
    command::{Command, CommandError},
    name::Name,
};

impl Node {
    /// The revision of what a command changes; [`Stamp::ZERO`] where nothing is there. What is proposed here is there already.
    ///
    /// Errors: it changes several things, or none that is read before it is changed.
    pub fn revision_of(&self, command: &Command) -> Result<Stamp, CommandError> {
        Ok(match command {
            Command::If { command, .. } | Command::Expect { command, .. } => self.revision_of(command)?,
            Command::PutRunner { spec } => self.spec_revision(&spec.name),
            Command::DeleteRunners { runners } => match runners.as_slice() {
                [runner] => self.spec_revision(runner),
                _ => return Err(CommandError::Unconditional),
            },
            Command::Desire { runners, .. } | Command::Follow { runners, .. } => match runners.as_slice() {
                [runner] => self.desired_revision(runner),
                _ => return Err(CommandError::Unconditional),
            },
            Command::PatchSources { runner, .. } => self.sources_revision(runner),
            Command::SetTags { node, .. } => self.tags_revision(node),
            Command::Set { setting, .. } => self.present_stamp(&setting.key()),
            Command::Restart { .. }
            | Command::Rewind { .. }
            | Command::ClearCounters { .. }
            | Command::DropQueue { .. }
            | Command::RenameTag { .. }
            | Command::Drain { .. }
            | Command::Forget { .. } => {
                return Err(CommandError::Unconditional);
            }
        })
    }

    fn present_stamp(&self, key: &str) -> Stamp {
        self.present(key).map_or(Stamp::ZERO, |entry| entry.stamp)
    }

    /// Of a runner as it is written, the sources that it names itself included: these have keys of their own. A source that is gone may have been one.
    pub fn spec_revision(&self, runner: &Name) -> Stamp {
        let spec = self.present_stamp(&runner_key(runner));
        if spec == Stamp::ZERO {
            return spec;
        }
        let prefix = format!("source/{runner}/");
        let named = self.catalog.sources(runner).filter(|source| source.from == Origin::Spec).map(|source| source.revision);
        let gone = self.gossip.catalog().held_under(&prefix).filter(|(_, entry)| entry.value.is_none()).map(|(_, entry)| entry.stamp);
        let proposed = self.proposed().filter(|(key, _)| key.starts_with(&prefix)).map(|(_, entry)| entry.stamp);
        named.chain(gone).chain(proposed).fold(spec, Stamp::max)
    }

    /// Of what was said of whether a runner shall run, as a whole or on single nodes.
    pub fn desired_revision(&self, runner: &Name) -> Stamp {
        let whole = desired_key(runner, None);
        let on_nodes = format!("{whole}@");
        self.last_word(&whole, |key| key == whole).max(self.last_word(&on_nodes, |_| true))
    }

    /// Of a runner's sources, those that its spec names and those that were added.
    pub fn sources_revision(&self, runner: &Name) -> Stamp {
        self.last_word(&format!("source/{runner}/"), |_| true)
    }

    /// Of what operators said of a node's tags; those that its configuration gives have none.
    pub fn tags_revision(&self, node: &NodeId) -> Stamp {
        self.last_word(&format!("tag/{node}/"), |_| true)
    }

    /// The latest stamp under a prefix. Deletions count: they are words, too.
    fn last_word(&self, prefix: &str, is_meant: impl Fn(&str) -> bool) -> Stamp {
        let held = self.gossip.catalog().held_under(prefix).filter(|(key, _)| is_meant(key)).map(|(_, entry)| entry.stamp);
        let proposed = self.proposed().filter(|(key, _)| key.starts_with(prefix) && is_meant(key)).map(|(_, entry)| entry.stamp);
        held.chain(proposed).max().unwrap_or(Stamp::ZERO)
    }

    pub(super) fn check_revision(&self, wanted: Stamp, command: &Command) -> Result<(), CommandError> {
        let revision = self.revision_of(command)?;
        if wanted == revision || planted("conditions-ignored") { Ok(()) } else { Err(CommandError::Conflict { wanted, revision }) }
    }
}
