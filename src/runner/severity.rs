//! How grave a record is, on the scale of OTLP's log data model (opentelemetry.io/docs/specs/otel/logs/data-model, "Severity fields").

/// 1 (least) to 24: TRACE 1 to 4, DEBUG 5 to 8, INFO 9 to 12, WARN 13 to 16, ERROR 17 to 20, FATAL 21 to 24.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Severity(u8);

const NAMES: [&str; 24] = [
    "TRACE", "TRACE2", "TRACE3", "TRACE4", "DEBUG", "DEBUG2", "DEBUG3", "DEBUG4", "INFO", "INFO2", "INFO3", "INFO4", "WARN", "WARN2", "WARN3",
    "WARN4", "ERROR", "ERROR2", "ERROR3", "ERROR4", "FATAL", "FATAL2", "FATAL3", "FATAL4",
];

/// What loggers write for a level, in lower case, and the severity that appendix B of the data model gives it.
const WORDS: [(&str, u8); 29] = [
    ("trace", 1),
    ("verbose", 1),
    ("finest", 1),
    ("debug", 5),
    ("dbg", 5),
    ("fine", 5),
    ("d", 5),
    ("info", 9),
    ("information", 9),
    ("informational", 9),
    ("inf", 9),
    ("i", 9),
    ("notice", 10),
    ("n", 10),
    ("warn", 13),
    ("warning", 13),
    ("w", 13),
    ("error", 17),
    ("err", 17),
    ("severe", 17),
    ("e", 17),
    ("critical", 18),
    ("crit", 18),
    ("alert", 19),
    ("fatal", 21),
    ("panic", 21),
    ("emerg", 21),
    ("emergency", 21),
    ("f", 21),
];

impl Severity {
    /// OTLP's `severity_number`.
    pub fn number(self) -> u8 {
        self.0
    }

    /// OTLP's short name: `INFO`, `ERROR3`.
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.0) - 1]
    }

    /// Of a level as loggers write it, in any case, or of a short name of OTLP. None for a word that says nothing of severity.
    pub fn of_word(word: &str) -> Option<Self> {
        let word = word.trim();
        let known = WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, number)| *number);
        let named = || NAMES.iter().zip(1..).find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, number)| number);
        known.or_else(named).map(Self)
    }

    /// Of syslog's 0 (emergency) to 7 (debug), RFC 5424 section 6.2.1.
    pub fn of_syslog(severity: u8) -> Option<Self> {
        [21, 19, 18, 17, 13, 10, 9, 5].get(usize::from(severity)).copied().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_the_numbers_of_the_data_model() {
        let number = |word| Severity::of_word(word).map(Severity::number);
        assert_eq!(["trace", "Debug", "INFO", "warning", " err ", "fatal"].map(number), [1, 5, 9, 13, 17, 21].map(Some));
        assert_eq!(number("ERROR3"), Some(19));
        assert_eq!(["", "3", "fine dining", "errors"].map(number), [None; 4]);
    }

    #[test]
    fn syslogs_severities_are_named() {
        let names: Vec<_> = (0..9).map(|severity| Severity::of_syslog(severity).map(Severity::name)).collect();
        let known = ["FATAL", "ERROR3", "ERROR2", "ERROR", "WARN", "INFO2", "INFO", "DEBUG"].map(Some);
        assert_eq!((&names[..8], names[8]), (&known[..], None));
    }
}
