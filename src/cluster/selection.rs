//! The one grammar by which nodes are selected (DESIGN §4).
//!
//! `web` is short for `tag=web`; `name=`, `id=`, `status=`, `phase=` and `tag=` compare, `!=` and `in (a, b)` likewise; `,` is *and*; `all` must be said.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Which nodes are meant. Never empty: no selection is the same as a mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selection {
    text: String,
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    key: Key,
    /// Whether a match is wanted, or none.
    wanted: bool,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Tag,
    Name,
    Id,
    Status,
    Phase,
}

/// By what a word of a selection means nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelectedBy {
    Tag,
    Name,
}

/// Why a text selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    #[error("an empty selection selects nothing: say a tag, `name=…`, or `all`")]
    Empty,
    #[error("`{0}` is not a key of nodes: use tag, name, id, status or phase")]
    Key(String),
    #[error("`{0}` is not a term: write `web`, `tag=web`, `name!=web-1` or `tag in (web, api)`")]
    Term(String),
}

/// What a selection looks at in a node.
pub trait Selectable {
    fn has_tag(&self, tag: &str) -> bool;
    fn name(&self) -> &str;
    /// 32 hex digits.
    fn id(&self) -> String;
    fn status(&self) -> &str;
    fn phase(&self) -> &str;
}

impl Selection {
    /// Whether `node` is meant.
    pub fn matches(&self, node: &impl Selectable) -> bool {
        self.terms.iter().all(|term| term.values.iter().any(|value| term.key.equals(node, value)) == term.wanted)
    }

    /// The tags and names that nodes must have, in the order in which they are said: where nobody is meant, one of them may be a slip.
    pub fn words(&self) -> impl Iterator<Item = (SelectedBy, &str)> {
        let of_term = |term: &'_ Term| match term.key {
            Key::Tag => Some(SelectedBy::Tag),
            Key::Name => Some(SelectedBy::Name),
            Key::Id | Key::Status | Key::Phase => None,
        };
        let wanted = self.terms.iter().filter(|term| term.wanted).filter_map(move |term| Some((of_term(term)?, &term.values)));
        wanted.flat_map(|(by, values)| values.iter().map(move |value| (by, value.as_str())))
    }
}

impl Selection {
    /// The same by another tag's name; none where it does not speak of the tag.
    pub(crate) fn with_tag_renamed(&self, from: &str, to: &str) -> Option<Self> {
        let speaks = |term: &Term| term.key == Key::Tag && term.values.iter().any(|value| value == from);
        if !self.terms.iter().any(speaks) {
            return None;
        }
        let mut terms = self.terms.clone();
        for term in terms.iter_mut().filter(|term| speaks(term)) {
            let mut values: Vec<String> = Vec::new();
            for value in term.values.drain(..).map(|value| if value == from { to.to_owned() } else { value }) {
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            term.values = values;
        }
        let text = terms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Some(Self { text, terms })
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, wanted, values } = self;
        match (key, wanted, values.as_slice()) {
            (Key::Tag, true, [value]) => f.write_str(value),
            (key, true, [value]) => write!(f, "{}={value}", key.word()),
            (key, false, [value]) => write!(f, "{}!={value}", key.word()),
            (key, _, values) => write!(f, "{} in ({})", key.word(), values.join(", ")),
        }
    }
}

impl Key {
    fn word(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Name => "name",
            Self::Id => "id",
            Self::Status => "status",
            Self::Phase => "phase",
        }
    }

    fn equals(self, node: &impl Selectable, value: &str) -> bool {
        match self {
            Self::Tag => node.has_tag(value),
            Self::Name => node.name() == value,
            Self::Id => value.len() >= 6 && node.id().starts_with(value),
            Self::Status => node.status() == value,
            Self::Phase => node.phase() == value,
        }
    }
}

impl FromStr for Key {
    type Err = SelectionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "tag" => Self::Tag,
            "name" => Self::Name,
            "id" => Self::Id,
            "status" => Self::Status,
            "phase" => Self::Phase,
            _ => return Err(SelectionError::Key(text.to_owned())),
        })
    }
}

impl FromStr for Selection {
    type Err = SelectionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SelectionError::Empty);
        }
        let terms = if text == "all" { Vec::new() } else { split_terms(text).into_iter().map(term).collect::<Result<_, _>>()? };
        Ok(Self { text: text.to_owned(), terms })
    }
}

/// Splits at the commas that stand outside parentheses.
fn split_terms(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth <= 0
    })
    .map(str::trim)
    .collect()
}

fn term(text: &str) -> Result<Term, SelectionError> {
    let wrong = || SelectionError::Term(text.to_owned());
    let word = |value: &str| {
        let value = value.trim();
        let plain = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        plain.then(|| value.to_owned()).ok_or_else(wrong)
    };
    if let Some((key, list)) = text.split_once(" in ") {
        let list = list.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).ok_or_else(wrong)?;
        let values = list.split(',').map(word).collect::<Result<_, _>>()?;
        return Ok(Term { key: key.trim().parse()?, wanted: true, values });
    }
    match text.split_once('=') {
        Some((key, value)) => {
            let (key, wanted) = key.strip_suffix('!').map_or((key, true), |key| (key, false));
            Ok(Term { key: key.trim().parse()?, wanted, values: vec![word(value)?] })
        }
        None => Ok(Term { key: Key::Tag, wanted: true, values: vec![word(text)?] }),
    }
}

impl TryFrom<String> for Selection {
    type Error = SelectionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Selection> for String {
    fn from(selection: Selection) -> Self {
        selection.text
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Node;

    impl Selectable for Node {
        fn has_tag(&self, tag: &str) -> bool {
            tag == "web" || tag == "eu"
        }

        fn name(&self) -> &str {
            "web-1"
        }

        fn id(&self) -> String {
            "0123456789abcdef0123456789abcdef".to_owned()
        }

        fn status(&self) -> &str {
            "alive"
        }

        fn phase(&self) -> &str {
            "active"
        }
    }

    fn selects(text: &str) -> bool {
        text.parse::<Selection>().unwrap().matches(&Node)
    }

    #[test]
    fn a_word_is_a_tag_and_a_comma_is_and() {
        assert!(selects("web") && selects("tag=web") && selects("web, eu") && selects("all"));
        assert!(!selects("db") && !selects("web,db"));
    }

    #[test]
    fn keys_compare_by_value_by_list_and_by_not() {
        assert!(selects("name=web-1") && selects("name!=web-2") && selects("name in (web-2, web-1),eu") && selects("status=alive,phase=active"));
        assert!(!selects("name!=web-1") && !selects("tag!=eu") && !selects("name in (web-2)"));
    }

    #[test]
    fn its_words_are_the_tags_and_names_that_are_wanted() {
        let selection: Selection = "web, name in (a, b), tag!=eu, status=alive".parse().unwrap();
        assert_eq!(selection.words().collect::<Vec<_>>(), [(SelectedBy::Tag, "web"), (SelectedBy::Name, "a"), (SelectedBy::Name, "b")]);
    }

    #[test]
    fn an_id_may_be_a_prefix_of_six() {
        assert!(selects("id=012345") && !selects("id=01234"));
    }

    /// logkit's empty selector meant every machine, delete included (PITFALLS §5).
    #[test]
    fn nothing_is_not_everything() {
        for text in ["", "  "] {
            assert_eq!(text.parse::<Selection>(), Err(SelectionError::Empty));
        }
        assert!("web,".parse::<Selection>().is_err());
    }

    #[test]
    fn a_tag_is_renamed_wherever_it_is_spoken_of_and_nothing_else_is() {
        let renamed = |text: &str| text.parse::<Selection>().unwrap().with_tag_renamed("web", "api").map(String::from);
        for (text, then) in
            [("web", "api"), ("tag=web,eu", "api, eu"), ("tag!=web", "tag!=api"), ("tag in (web, api, eu), name!=web", "tag in (api, eu), name!=web")]
        {
            assert_eq!(renamed(text).as_deref(), Some(then));
            assert_eq!(renamed(then), None, "its text reads as it was meant");
        }
        assert_eq!((renamed("all"), renamed("name=web,status=alive"), renamed("webs")), (None, None, None));
    }

    #[test]
    fn a_mistake_says_what_to_write() {
        assert!("host=web-1".parse::<Selection>().unwrap_err().to_string().contains("tag, name, id, status or phase"));
        assert!("name in web".parse::<Selection>().unwrap_err().to_string().contains("tag in (web, api)"));
    }
}
