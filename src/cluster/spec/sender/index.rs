//! The name of an index as a pattern.

use std::str::FromStr;

/// A piece of an [`IndexPattern`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexPiece {
    Text(String),
    Runner,
    Node,
    /// A date in UTC, by the letters of strftime(3): `%Y`, `%m`, `%d`, `%H`, `%G`, `%V`.
    Date(String),
}

/// A text with `{runner}`, `{node}` and `{+DATE}` in it, such as `logs-{+%Y.%m.%d}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexPattern(pub Vec<IndexPiece>);

/// What can be in a date: year, month, day, hour; ISO 8601's year and week.
const DATE_LETTERS: [char; 6] = ['Y', 'm', 'd', 'H', 'G', 'V'];

/// Elasticsearch's own limit.
const INDEX_BYTES_MAX: usize = 255;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{index}`: {why}; such as logs-{{+%Y.%m.%d}}, logs-{{runner}} or a data stream's name, logs-nginx-default")]
pub struct IndexPatternError {
    index: String,
    why: &'static str,
}

impl FromStr for IndexPattern {
    type Err = IndexPatternError;

    fn from_str(text: &str) -> Result<Self, IndexPatternError> {
        let wrong = |why| IndexPatternError { index: text.to_owned(), why };
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (inner, behind) = after.split_once('}').ok_or_else(|| wrong("a `{` without its `}`"))?;
            pieces.extend((!before.is_empty()).then(|| IndexPiece::Text(before.to_owned())));
            pieces.push(match inner {
                "runner" => IndexPiece::Runner,
                "node" => IndexPiece::Node,
                _ => {
                    let date = inner.strip_prefix('+').ok_or_else(|| wrong("only {runner}, {node} and a date such as {+%Y.%m.%d} can be in it"))?;
                    check_date(date).map_err(wrong)?;
                    IndexPiece::Date(date.to_owned())
                }
            });
            rest = behind;
        }
        pieces.extend((!rest.is_empty()).then(|| IndexPiece::Text(rest.to_owned())));
        check_texts(text, &pieces).map_err(wrong)?;
        Ok(Self(pieces))
    }
}

fn check_date(date: &str) -> Result<(), &'static str> {
    let mut letters = date.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '%' if letters.next().is_some_and(|letter| DATE_LETTERS.contains(&letter)) => {}
            '.' | '-' | '_' | '0'..='9' => {}
            _ => return Err("a date has %Y, %m, %d, %H, %G, %V, and `.`, `-`, `_` between them"),
        }
    }
    Ok(())
}

fn check_texts(whole: &str, pieces: &[IndexPiece]) -> Result<(), &'static str> {
    let forbidden = |c: char| c.is_uppercase() || c.is_whitespace() || c.is_control() || "\\/*?\"<>|,#:}".contains(c);
    let texts = pieces.iter().filter_map(|piece| if let IndexPiece::Text(text) = piece { Some(text) } else { None });
    if pieces.is_empty() || whole.len() > INDEX_BYTES_MAX {
        return Err("an index has 1 to 255 bytes");
    }
    if texts.clone().any(|text| text.contains(forbidden)) {
        return Err("an index has lower case letters only, and none of \\ / * ? \" < > | , # : }");
    }
    if whole.starts_with(['-', '_', '+', '.']) {
        return Err("an index begins with none of - _ + .");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_taken_apart() {
        let text = |text: &str| IndexPiece::Text(text.into());
        let of = |pattern: &str| pattern.parse::<IndexPattern>().map(|pattern| pattern.0);
        assert_eq!(of("logs-nginx-default"), Ok(vec![text("logs-nginx-default")]));
        assert_eq!(
            of("{runner}-{node}-{+%G.%V}x"),
            Ok(vec![IndexPiece::Runner, text("-"), IndexPiece::Node, text("-"), IndexPiece::Date("%G.%V".into()), text("x")])
        );
    }

    #[test]
    fn what_no_index_can_be_is_refused() {
        for wrong in ["", "Logs", "a b", "_x", "a{", "a}", "{source}", "{+%S}", "{+%}", "{+%Y/%m}", "a,b", &"x".repeat(256)] {
            assert!(wrong.parse::<IndexPattern>().is_err(), "{wrong}");
        }
    }
}
