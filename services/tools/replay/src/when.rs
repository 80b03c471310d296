//! Times for people: RFC 3339 in UTC, to the millisecond.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// A moment as people read it.
pub fn shown(at_ms: u64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let nanos = i128::from(at_ms) * 1_000_000;
    let moment = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
    moment.and_then(|moment| moment.format(format).ok()).unwrap_or_else(|| format!("{at_ms} ms"))
}

/// Reads RFC 3339, with a zone; a space may stand for the T. `None`: it is no time after 1970.
pub fn parse(text: &str) -> Option<u64> {
    let moment = OffsetDateTime::parse(&text.trim().replacen(' ', "T", 1), &Rfc3339).ok()?;
    u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_reads_back() {
        assert_eq!(shown(1_795_341_600_123), "2026-11-22T10:00:00.123Z");
        for at_ms in [0, 1, 1_795_341_600_123, 253_402_300_799_999] {
            assert_eq!(parse(&shown(at_ms)), Some(at_ms));
        }
        assert_eq!(parse("2026-11-22 12:00:00+02:00"), Some(1_795_341_600_000));
        assert_eq!((parse("now"), parse("1969-12-31T23:59:59Z")), (None, None));
        assert_eq!(shown(u64::MAX), format!("{} ms", u64::MAX));
    }
}
