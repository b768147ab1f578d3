//! Adds up what the runners say.

use std::{fmt, ops::AddAssign};

/// Tests by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Summary {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Summary {
    /// One check that passed or failed.
    pub(crate) fn one(passed: bool) -> Self {
        Self { passed: passed.into(), failed: (!passed).into(), skipped: 0 }
    }

    /// One check that could not be made here.
    pub(crate) fn one_skipped() -> Self {
        Self { skipped: 1, ..Self::default() }
    }

    /// Reads libtest's last line: `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.10s`. None for other lines.
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let (_, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
        let mut summary = Self::default();
        for part in counts.split("; ") {
            let Some((count, what)) = part.split_once(' ') else { continue };
            let Ok(count) = count.parse::<u64>() else { continue };
            match what {
                "passed" => summary.passed += count,
                "failed" => summary.failed += count,
                "ignored" | "filtered out" => summary.skipped += count,
                _ => {}
            }
        }
        Some(summary)
    }
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtests_last_line_is_understood() {
        let line = "test result: FAILED. 37 passed; 1 failed; 2 ignored; 0 measured; 3 filtered out; finished in 0.12s";
        assert_eq!(Summary::of_line(line), Some(Summary { passed: 37, failed: 1, skipped: 5 }));
        assert_eq!(Summary::of_line("test foo::bar ... ok"), None);
    }

    #[test]
    fn the_summary_is_one_line() {
        let mut sum = Summary::one(true);
        sum += Summary::one(false);
        sum += Summary::one_skipped();
        assert_eq!(sum.to_string(), "1 passed, 1 failed, 1 skipped");
    }
}
