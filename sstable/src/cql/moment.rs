//! Dates and times as Cassandra prints them, in UTC.
//!
//! Two calendars are in use. Moments in microseconds or seconds (write times, deletion times) and `date` values follow
//! ISO 8601, with a year 0 and signs; `timestamp` values follow Java's older one, which counts years before the first
//! without telling (`0001` twice) and has no other sign than `+` beyond 9999.

use super::number::{integer, padded};

const DAY_SECONDS: i64 = 86_400;

/// Year, month and day of a day counted from 1970-01-01.
fn civil(days: i64) -> (i64, u64, u64) {
    // Counted from 0000-03-01, so that the day which comes and goes is the last of its year; 146097 days are 400 years.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month.unsigned_abs(), day.unsigned_abs())
}

/// The day of a date, counted from 1970-01-01.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn year_iso(out: &mut Vec<u8>, year: i64) {
    if year < 0 {
        out.push(b'-');
    } else if year > 9999 {
        out.push(b'+');
    }
    year_digits(out, year.unsigned_abs());
}

fn year_digits(out: &mut Vec<u8>, year: u64) {
    if year > 9999 { integer(out, year) } else { padded(out, year, 4) }
}

fn month_and_day(out: &mut Vec<u8>, month: u64, day: u64) {
    out.push(b'-');
    padded(out, month, 2);
    out.push(b'-');
    padded(out, day, 2);
}

fn clock(out: &mut Vec<u8>, second_of_day: u64) {
    padded(out, second_of_day / 3600, 2);
    out.push(b':');
    padded(out, second_of_day / 60 % 60, 2);
    out.push(b':');
    padded(out, second_of_day % 60, 2);
}

/// A moment as `Instant.toString`: the fraction has none, three or six digits.
fn instant(out: &mut Vec<u8>, seconds: i64, microseconds: u64) {
    let (year, month, day) = civil(seconds.div_euclid(DAY_SECONDS));
    year_iso(out, year);
    month_and_day(out, month, day);
    out.push(b'T');
    clock(out, seconds.rem_euclid(DAY_SECONDS).unsigned_abs());
    if microseconds != 0 {
        out.push(b'.');
        if microseconds.is_multiple_of(1000) {
            padded(out, microseconds / 1000, 3);
        } else {
            padded(out, microseconds, 6);
        }
    }
    out.push(b'Z');
}

/// A write time in microseconds since 1970.
pub fn microseconds(out: &mut Vec<u8>, time: i64) {
    instant(out, time.div_euclid(1_000_000), time.rem_euclid(1_000_000).unsigned_abs());
}

/// A deletion or expiration time in seconds since 1970.
pub fn seconds(out: &mut Vec<u8>, time: i64) {
    instant(out, time, 0);
}

/// A value of type `timestamp`, in milliseconds since 1970; `separator` stands between date and time.
pub fn timestamp(out: &mut Vec<u8>, time: i64, separator: u8) {
    let seconds = time.div_euclid(1000);
    let (year, month, day) = civil(seconds.div_euclid(DAY_SECONDS));
    // There is no year 0, and the era is not printed.
    let of_era = if year > 0 { year } else { 1 - year };
    if of_era > 9999 {
        out.push(b'+');
    }
    year_digits(out, of_era.unsigned_abs());
    month_and_day(out, month, day);
    out.push(separator);
    clock(out, seconds.rem_euclid(DAY_SECONDS).unsigned_abs());
    out.push(b'.');
    padded(out, time.rem_euclid(1000).unsigned_abs(), 3);
    out.push(b'Z');
}

/// A value of type `date`: days since 1970-01-01, which is 2^31.
pub fn date(out: &mut Vec<u8>, value: u32) {
    let (year, month, day) = civil(i64::from(value) - (1 << 31));
    year_iso(out, year);
    month_and_day(out, month, day);
}

/// A value of type `time`: nanoseconds of the day.
pub fn time(out: &mut Vec<u8>, nanoseconds: u64) {
    let seconds = nanoseconds / 1_000_000_000;
    clock(out, seconds % 86_400);
    out.push(b'.');
    padded(out, nanoseconds % 1_000_000_000, 9);
}

/// A value of type `duration`: three numbers of one sign.
pub fn duration(out: &mut Vec<u8>, months: i32, days: i32, nanoseconds: i64) {
    if months < 0 || days < 0 || nanoseconds < 0 {
        out.push(b'-');
    }
    let mut rest = u64::from(months.unsigned_abs());
    let mut unit = |rest: &mut u64, size: u64, name: &[u8]| {
        let count = *rest / size;
        if count > 0 {
            integer(out, count);
            out.extend_from_slice(name);
            *rest %= size;
        }
    };
    unit(&mut rest, 12, b"y");
    unit(&mut rest, 1, b"mo");
    rest = u64::from(days.unsigned_abs());
    unit(&mut rest, 1, b"d");
    rest = nanoseconds.unsigned_abs();
    for (size, name) in [
        (3_600_000_000_000, &b"h"[..]),
        (60_000_000_000, b"m"),
        (1_000_000_000, b"s"),
        (1_000_000, b"ms"),
        (1000, b"us"),
        (1, b"ns"),
    ] {
        unit(&mut rest, size, name);
    }
}

/// The days since 1970 of `2024-01-02`, with a sign and more digits if need be.
pub fn parse_days(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = digits.splitn(3, '-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if year >= 1_000_000_000 || !(1..=12).contains(&month) || day > 31 {
        return None;
    }
    let year = if negative { -year } else { year };
    let day_number = days(year, month, day);
    // A day that the month does not have comes back as one of the next.
    (civil(day_number) == (year, month.unsigned_abs(), day.unsigned_abs())).then_some(day_number)
}

/// Nanoseconds of the day of `01:02:03` with at most nine digits of a fraction.
pub fn parse_time(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':').map(number);
    let (hours, minutes) = (parts.next()??, parts.next()??);
    let seconds = parts.next().unwrap_or(Some(0))?;
    if parts.next().is_some() || fraction.len() > 9 || hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let nanoseconds = if fraction.is_empty() { 0 } else { number(&format!("{fraction:0<9}"))? };
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000_000 + nanoseconds)
}

/// Milliseconds since 1970 of a moment in UTC, or of its number.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    if let Ok(milliseconds) = text.parse() {
        return Some(milliseconds);
    }
    let Some(at) = text.find(['T', ' ']) else { return parse_days(text)?.checked_mul(DAY_SECONDS * 1000) };
    let (date, time) = (text.get(..at)?, text.get(at + 1..)?);
    let time = time.strip_suffix('Z').or_else(|| time.strip_suffix("+0000")).unwrap_or(time);
    let of_day = parse_time(time.trim_end())? / 1_000_000;
    parse_days(date)?.checked_mul(DAY_SECONDS * 1000)?.checked_add(of_day)
}

fn number(digits: &str) -> Option<i64> {
    let is_number = !digits.is_empty() && digits.len() <= 18 && digits.bytes().all(|c| c.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        fn check(write: impl Fn(&mut Vec<u8>, i64), time: i64, expected: &str) {
            let mut out = Vec::new();
            write(&mut out, time);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
        check(microseconds, 1_704_164_645_678_901, "2024-01-02T03:04:05.678901Z");
        check(microseconds, 1_704_164_645_678_000, "2024-01-02T03:04:05.678Z");
        check(microseconds, 1_704_164_645_000_000, "2024-01-02T03:04:05Z");
        check(microseconds, -5, "1969-12-31T23:59:59.999995Z");
        check(microseconds, i64::MIN, "-290308-12-21T19:59:05.224192Z");
        check(microseconds, i64::MAX, "+294247-01-10T04:00:54.775807Z");
        check(seconds, i64::from(u32::MAX), "2106-02-07T06:28:15Z");
        check(seconds, -1, "1969-12-31T23:59:59Z");
    }

    #[test]
    fn days_come_back() {
        for day in (-800_000..800_000).step_by(61) {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, month.cast_signed(), date.cast_signed()), day);
        }
        assert_eq!(parse_days("2023-02-29"), None);
        assert_eq!(parse_days("1970-01-02"), Some(1));
        assert_eq!(parse_timestamp("1970-01-01 00:00:01.5Z"), Some(1500));
        assert_eq!(parse_timestamp("1970-01-02"), Some(86_400_000));
        assert_eq!(parse_time("24:00:00"), None);
    }
}
