//! Cluster-wide settings: `setting/<name>` in the catalog, the same on all nodes (DESIGN §4). What one node does by itself is in its configuration.

use crate::spec::SpecFault;

/// A setting that this version knows. Its value is a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Under `setting/` in the catalog.
    pub name: &'static str,
    /// What its value counts.
    pub unit: &'static str,
    /// What holds while nothing is set.
    pub default: u64,
    /// The least value that is taken.
    pub least: u64,
    /// The greatest.
    pub most: u64,
    /// What it does, for people.
    pub sentence: &'static str,
}

/// Nodes that must be active before a node that starts takes any source.
pub const EXPECT_NODES: Setting = Setting {
    name: "expect_nodes",
    unit: "nodes",
    default: 0,
    least: 0,
    most: 10_000,
    sentence: "How many nodes must be active before a node that starts takes any source: none is given away again when the others come a minute later.",
};

/// How long they are waited for.
pub const EXPECT_PATIENCE: Setting = Setting {
    name: "expect_patience",
    unit: "seconds",
    default: 60,
    least: 1,
    most: 3_600,
    sentence: "How long a node that starts waits for `expect_nodes` at most.",
};

/// How long a node may be down before the cluster forgets it. Not so short that a reboot is enough: what is forgotten is no witness any more.
pub const FORGET_AFTER: Setting = Setting {
    name: "forget_after",
    unit: "seconds",
    default: 72 * 3_600,
    least: 60,
    most: 365 * 24 * 3_600,
    sentence: "How long a node may be down before the cluster forgets it.",
};

/// Whether nobody collects a source without a majority of its witnesses (DESIGN §5.3, "Without a majority").
pub const STRICT: Setting = Setting {
    name: "strict",
    unit: "(0: no, 1: yes)",
    default: 0,
    least: 0,
    most: 1,
    sentence: "1: a source that lost the majority of its witnesses waits until they are back, however long. 0: after ten seconds if they are proved gone, else \
               ten minutes, it is collected without them, from the best copy there is; that is counted and told.",
};

/// All of them, by name.
pub const SETTINGS: &[Setting] = &[EXPECT_NODES, EXPECT_PATIENCE, FORGET_AFTER, STRICT];

/// What the keys of settings begin with.
pub(crate) const SETTING: &str = "setting/";

impl Setting {
    /// The setting of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// Its key in the catalog.
    pub fn key(&self) -> String {
        format!("{SETTING}{}", self.name)
    }

    /// Why a value is not taken.
    pub fn fault(&self, value: u64) -> Option<SpecFault> {
        let Self { name, unit, least, most, .. } = self;
        let detail = format!("`{name}` is {least} to {most} {unit}, not {value}");
        (value < *least || value > *most).then(|| SpecFault { pointer: "/value".to_owned(), detail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_values_and_names_are_in_order() {
        assert!(SETTINGS.iter().all(|setting| setting.fault(setting.default).is_none() && Setting::find(setting.name) == Some(setting)));
        assert!(SETTINGS.is_sorted_by_key(|setting| setting.name));
    }

    #[test]
    fn a_value_outside_its_range_is_told_with_the_range() {
        let fault = FORGET_AFTER.fault(59).expect("too short");
        assert_eq!(fault.detail, "`forget_after` is 60 to 31536000 seconds, not 59");
        assert!(FORGET_AFTER.fault(60).is_none() && FORGET_AFTER.fault(u64::MAX).is_some());
    }
}
