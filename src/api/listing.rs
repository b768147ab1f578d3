//! Lists, page by page, and the parameters that all of them have.

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use logvine_cluster::selection::Selection;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

use super::{ApiError, ApiResult};
use crate::document::Unknown;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// One page of a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Listing<T> {
    pub items: Vec<T>,
    /// For the next page; null: this is the last one.
    pub next_cursor: Option<String>,
}

/// Which page of a list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    /// Rows on a page: 1 to 1,000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<usize>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Which page of a list, and of which nodes.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Rows on a page: 1 to 1,000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<usize>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Only what concerns these nodes: `web`, `name=web-1`, `status=down`, `tag in (a, b)`.
    pub selector: Option<String>,
}

impl ListQuery {
    /// The page that is asked for.
    pub(super) fn page(&self) -> PageQuery {
        PageQuery { limit: self.limit, cursor: self.cursor.clone() }
    }

    /// The selection, if there is one.
    pub(super) fn selection(&self) -> ApiResult<Option<Selection>> {
        selection(self.selector.as_deref())
    }
}

/// What a `selector=` means.
pub(super) fn selection(text: Option<&str>) -> ApiResult<Option<Selection>> {
    text.map(str::parse::<Selection>).transpose().map_err(|error| ApiError::bad_request(format!("selector: {error}")))
}

impl PageQuery {
    /// The page of `rows` (all, in any order) that is asked for; `key` orders them and is unique.
    pub(super) fn page<T>(&self, mut rows: Vec<T>, key: impl Fn(&T) -> String) -> ApiResult<Listing<T>> {
        let (after, most) = (self.after()?, self.most()?);
        rows.sort_by_cached_key(&key);
        let begin = after.map_or(0, |after| rows.partition_point(|row| key(row) <= after));
        Ok(self.cut(rows.into_iter().skip(begin).take(most).collect(), key))
    }

    /// The key after which the page begins.
    pub(super) fn after(&self) -> ApiResult<Option<String>> {
        self.cursor.as_deref().map(decode_cursor).transpose()
    }

    /// How many rows to look for: one more than the page shows, to know whether there are more.
    pub(super) fn most(&self) -> ApiResult<usize> {
        let limit = self.limit();
        let right = (1..=LIMIT_MAX).contains(&limit);
        if right { Ok(limit + 1) } else { Err(ApiError::bad_request(format!("limit: {limit} is not from 1 to {LIMIT_MAX}"))) }
    }

    /// The page of [`Self::most`] rows, in order, that come after [`Self::after`].
    pub(super) fn cut<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> String) -> Listing<T> {
        let more = items.len() > self.limit();
        items.truncate(self.limit());
        let next_cursor = items.last().filter(|_| more).map(|last| hex::encode(key(last)));
        Listing { items, next_cursor }
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT_DEFAULT)
    }
}

fn decode_cursor(text: &str) -> ApiResult<String> {
    let wrong = || ApiError::bad_request("cursor: not one that a list has given: begin again without it");
    String::from_utf8(hex::decode(text).map_err(|_| wrong())?).map_err(|_| wrong())
}

/// Query parameters, with our own words where they are wrong.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query.map(|Query(query)| Self(query)).map_err(|error| misread(&error.body_text()))
    }
}

/// Why a query is not read; of an unknown word with its parameter, the known ones and the one that was probably meant.
fn misread(text: &str) -> ApiError {
    let told = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(text);
    let (parameter, message) = told.split_once(": ").filter(|(_, rest)| rest.starts_with("unknown ")).map_or(("", told), |(name, rest)| (name, rest));
    match Unknown::read(message) {
        Some(unknown) => refused(parameter, &unknown),
        None => ApiError::bad_request(format!("in the query: {told}")),
    }
}

/// A parameter's word is none of the known ones. No parameter: there is none of this name.
pub(super) fn refused(parameter: &str, Unknown { given, known, words }: &Unknown<'_>) -> ApiError {
    let place = if parameter.is_empty() { String::new() } else { format!("{parameter}: ") };
    ApiError::bad_request(format!("in the query: {place}{words}")).near(given, known.iter().copied())
}

/// The words that a column of a list can show, for the filter by it.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
        pub(super) enum $name {
            $(#[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// As the column shows it.
            pub(super) fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }
    };
}
pub(super) use words;

/// What the path names, with our own words where it is not text. Named as axum's, by which the description knows it.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(path)| Self(path)).map_err(|error| ApiError::bad_request(format!("in the path: {}", error.body_text())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: usize, cursor: Option<String>) -> ApiResult<Listing<u32>> {
        PageQuery { limit: Some(limit), cursor }.page((0..5).rev().collect(), |row| format!("{row:02}"))
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repeat() {
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let listing = page(2, cursor).unwrap();
            seen.extend(listing.items);
            cursor = listing.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_limit_or_a_cursor_that_makes_no_sense_is_refused() {
        assert!(page(0, None).is_err() && page(1001, None).is_err() && page(1, Some("zz".to_owned())).is_err());
    }
}
