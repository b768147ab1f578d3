//! What befalls data directories: old images, lost stores, copies that run twice, moves to another machine.

use logvine_cluster::node::Table;
use logvine_gossip::marks;

use crate::{disk::Image, host::node_id, ledger::Fact, scenario::Deed, world::World};

impl World {
    pub(crate) fn deed_to_disk(&mut self, deed: &Deed) {
        match *deed {
            Deed::Image { node } => {
                self.tell(Some(node), format_args!("has its disk copied"));
                self.hosts[node].image = Some(self.hosts[node].disk.image());
            }
            Deed::RestartFromImage { node } => {
                self.crash(node);
                let image = self.hosts[node].image.clone();
                let votes = image.as_ref().map(Image::votes);
                if let Some(image) = image {
                    self.replace_disk(node, image);
                    self.tell(Some(node), format_args!("has an old disk"));
                    marks::reached("a node returned with an old disk");
                }
                self.start(node);
                let disk = self.hosts[node].process.as_ref().map(|process| process.node.witnesses().me().disk);
                if let Some(votes) = votes {
                    self.hosts[node].old_disk = disk;
                    self.expect_image_found_out(node, votes);
                }
            }
            Deed::Wipe { node } => {
                self.crash(node);
                self.replace_disk(node, Image::default());
                let (life, name) = (self.hosts[node].life.0, self.hosts[node].name.clone());
                let id = node_id(&format!("{} {name} {life}", self.scenario.seed));
                self.hosts[node].id = id;
                self.names.insert(id, format!("{name}*"));
                self.tell(Some(node), format_args!("has lost its data directory"));
            }
            Deed::LoseStore { node } => {
                self.crash(node);
                self.replace_disk(node, Image::default());
                self.tell(Some(node), format_args!("has lost its store"));
                marks::reached("a node returned without its store");
            }
            Deed::Twin { node, of } if node != of => {
                self.crash(node);
                let (id, image, name) = (self.hosts[of].id, self.hosts[of].disk.image(), self.hosts[of].name.clone());
                self.hosts[node].id = id;
                self.replace_disk(node, image);
                self.tell(Some(node), format_args!("has a copy of the data directory of {name}"));
                self.start(node);
            }
            Deed::Move { from, to } if from != to => {
                self.crash(from);
                self.crash(to);
                let (id, image) = (self.hosts[from].id, self.hosts[from].disk.image());
                let (left, name) = (self.hosts[to].id, self.hosts[to].name.clone());
                self.replace_disk(to, image);
                self.replace_disk(from, Image::default());
                (self.hosts[to].id, self.hosts[from].id) = (id, left);
                self.tell(Some(from), format_args!("has moved to {name}"));
                self.start(to);
            }
            _ => {}
        }
    }

    fn replace_disk(&mut self, at: usize, image: Image) {
        self.hosts[at].disk.restore(image);
        self.look_for_operations(at);
        let content = self.hosts[at].disk.content();
        self.hosts[at].knew = content.into_iter().filter(|write| write.table == Table::Catalog).map(|write| write.key).collect();
        for source in 0..self.sources.len() {
            self.facts.push_back((source, Fact::Lost { node: at }));
        }
    }
}
