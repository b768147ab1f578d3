//! Times as logs write them, in microseconds since 1970.

use chrono::{
    DateTime, NaiveDate,
    format::{Item, Parsed, StrftimeItems, parse},
};
use serde_json::Value;

/// A layout of strftime, as the chrono crate reads it. Without a zone in it, times are UTC.
#[derive(Debug)]
pub(super) struct Layout {
    items: Vec<Item<'static>>,
}

impl Layout {
    /// Errors: it has a specifier that there is not.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        match StrftimeItems::new(text).parse_to_owned() {
            Ok(items) => Ok(Self { items }),
            Err(_) => Err(format!("`{text}` is not a time layout: it has a specifier that strftime does not know (write %% for a percent sign)")),
        }
    }

    pub(super) fn read(&self, text: &str) -> Result<u64, String> {
        let mut parsed = Parsed::new();
        let read = parse(&mut parsed, text, self.items.iter()).and_then(|()| match parsed.offset() {
            Some(_) => parsed.to_datetime().map(|time| time.timestamp_micros()),
            None => parsed.to_naive_datetime_with_offset(0).map(|time| time.and_utc().timestamp_micros()),
        });
        read.ok().and_then(since_1970).ok_or_else(|| not_a_time(text))
    }
}

/// RFC 3339, or a number in text.
pub(super) fn of_text(text: &str) -> Result<u64, String> {
    let rfc3339 = DateTime::parse_from_rfc3339(text).ok().and_then(|time| since_1970(time.timestamp_micros()));
    rfc3339.or_else(|| of_decimal(text)).ok_or_else(|| not_a_time(text))
}

/// RFC 3339, or a number since 1970: of seconds, milliseconds, microseconds or nanoseconds, whichever puts it between 1973 and 5138.
pub(super) fn of_value(value: &Value) -> Result<u64, String> {
    match value {
        Value::String(text) => of_text(text),
        Value::Number(number) => of_decimal(&number.to_string()).ok_or_else(|| not_a_time(&number.to_string())),
        other => Err(not_a_time(&other.to_string())),
    }
}

/// nginx's `$time_local`: `21/Nov/2026:23:26:09 +0000`.
pub(super) fn of_nginx(text: &str) -> Result<u64, String> {
    const MONTHS: [[u8; 3]; 12] = [*b"Jan", *b"Feb", *b"Mar", *b"Apr", *b"May", *b"Jun", *b"Jul", *b"Aug", *b"Sep", *b"Oct", *b"Nov", *b"Dec"];
    let read = || {
        let at = |from: usize, to: usize| text.get(from..to)?.parse::<u32>().ok();
        // As arrays: slices would be compared by calls.
        let written: &[u8; 3] = text.as_bytes().get(3..6)?.try_into().ok()?;
        let month = MONTHS.iter().zip(1..).find(|(name, _)| *name == written)?.1;
        let plain = text.len() == 26 && [2, 6, 11, 14, 17, 20].map(|at| text.as_bytes()[at]) == *b"//::: ";
        let date = NaiveDate::from_ymd_opt(i32::try_from(at(7, 11)?).ok()?, month, at(0, 2)?)?;
        let time = date.and_hms_opt(at(12, 14)?, at(15, 17)?, at(18, 20)?)?;
        let east = match text.as_bytes().get(21)? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let offset_s = east * i64::from(at(22, 24)? * 3600 + at(24, 26)? * 60);
        plain.then(|| (time.and_utc().timestamp() - offset_s) * 1_000_000)
    };
    read().and_then(since_1970).ok_or_else(|| not_a_time(text))
}

/// A decimal number without loss: a float has too few digits for microseconds.
fn of_decimal(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 18 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) || whole.starts_with('+') {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    // Micros = number × 10^scale.
    let scale: i32 = match whole {
        0..100_000_000_000 => 6,
        100_000_000_000..100_000_000_000_000 => 3,
        100_000_000_000_000..100_000_000_000_000_000 => 0,
        _ => -3,
    };
    let ten = |exponent: i32| 10_u128.pow(exponent.unsigned_abs());
    let digits = i32::try_from(fraction.len()).ok()?;
    let number = u128::from(whole) * ten(digits) + fraction.parse::<u128>().unwrap_or(0);
    let exponent = scale - digits;
    let micros = if exponent >= 0 { number * ten(exponent) } else { number / ten(exponent) };
    u64::try_from(micros).ok()
}

fn since_1970(micros: i64) -> Option<u64> {
    u64::try_from(micros).ok()
}

fn not_a_time(text: &str) -> String {
    const SHOWN: usize = 64;
    let shown: String = text.chars().take(SHOWN).collect();
    format!("`{shown}` is not a time")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: u64 = 1_795_303_569_000_000;

    #[test]
    fn a_number_is_seconds_to_nanoseconds_by_its_size() {
        for text in ["1795303569", "1795303569000", "1795303569000000", "1795303569000000000", "1795303569.0000001"] {
            assert_eq!(of_text(text), Ok(TIME), "{text}");
        }
        assert_eq!(of_text("1795303569.123456"), Ok(TIME + 123_456));
        assert_eq!(of_text("1795303569000.5"), Ok(TIME + 500));
        for wrong in ["", "-1", "+1", "1e9", "1.x", "1.2.3", ".5", "99999999999999999999999"] {
            assert!(of_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nginx_times_are_read_with_their_zone() {
        assert_eq!(of_nginx("21/Nov/2026:23:26:09 +0000"), Ok(TIME));
        assert_eq!(of_nginx("22/Nov/2026:04:56:09 +0530"), Ok(TIME));
        assert_eq!(of_nginx("21/Nov/2026:15:26:09 -0800"), Ok(TIME));
        for wrong in [
            "",
            "21/Nov/2026:23:26:09",
            "21/nov/2026:23:26:09 +0000",
            "31/Feb/2026:23:26:09 +0000",
            "21/Nov/1969:23:26:09 +0000",
            "21-Nov-2026:23:26:09 +0000",
        ] {
            assert!(of_nginx(wrong).is_err(), "{wrong}");
        }
        assert!(of_nginx("21/Nov/2026:23:26:0é+0000").is_err(), "not cut within a character");
    }

    #[test]
    fn layouts_read_what_they_describe() {
        let read = |layout: &str, text: &str| Layout::new(layout).unwrap().read(text);
        assert_eq!(read("%Y-%m-%d %H:%M:%S", "2026-11-21 23:26:09"), Ok(TIME));
        assert_eq!(read("%Y-%m-%d %H:%M:%S%.f %z", "2026-11-22 00:26:09.25 +0100"), Ok(TIME + 250_000));
        assert_eq!(read("%s", "1795303569"), Ok(TIME));
        assert!(read("%H:%M", "23:26").unwrap_err().contains("is not a time"));
        assert!(Layout::new("%Y-%Q").unwrap_err().contains("layout"));
    }
}
