//! What was probably meant by a word that nobody knows.

/// Jaro–Winkler similarity above which a word counts as a slip of another: 0 is nothing alike, 1 the same.
const NEAR: f64 = 0.8;
/// More are a list, and no hint.
const SHOWN_MAX: usize = 3;

/// The known words that are near `given`, the nearest first, at most three; equal ones by their order.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut scored: Vec<_> = known.into_iter().map(|word| (strsim::jaro_winkler(given, word), word)).filter(|(score, _)| *score > NEAR).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut words: Vec<_> = scored.into_iter().map(|(_, word)| word).collect();
    words.dedup();
    words.truncate(SHOWN_MAX);
    words
}

/// `; did you mean …?` or nothing, to stand behind a sentence.
pub fn did_you_mean(words: &[impl AsRef<str>]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("`{}`", word.as_ref())).collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => format!("; did you mean {last}?"),
        Some((last, others)) => format!("; did you mean {} or {last}?", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["nginx-fleet", "nginx-edge", "syslog", "db"];
        assert_eq!(nearest("ngnix-fleet", known), ["nginx-fleet", "nginx-edge"]);
        assert!(nearest("zzz", known).is_empty() && nearest("", known).is_empty());
    }

    #[test]
    fn few_are_shown() {
        let known: Vec<String> = (0..100).map(|at| format!("web-{at:02}")).collect();
        assert_eq!(nearest("web-7", known.iter().map(String::as_str)).len(), SHOWN_MAX);
    }

    #[test]
    fn the_question_reads_as_one() {
        assert_eq!(did_you_mean(&["a"]), "; did you mean `a`?");
        assert_eq!(did_you_mean(&["a", "b", "c"]), "; did you mean `a`, `b` or `c`?");
        assert_eq!(did_you_mean(&[""; 0]), "");
    }
}
