//! The only place that reads a clock.

use jiff::Timestamp;

/// The present moment, to the millisecond: finer digits would differ between two prints of the same backup id.
pub fn now() -> Timestamp {
    Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// `2026-11-21T01:02:03.456Z`, always with three digits of milliseconds, so that texts sort as the moments do.
pub fn rfc3339(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// A moment as people write it: RFC 3339, or `20261121010203` in UTC.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    let digits = || {
        let moment = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
        (text.len() == 14).then(|| moment.to_zoned(jiff::tz::TimeZone::UTC).ok()).flatten()
    };
    text.parse()
        .ok()
        .or_else(|| Some(digits()?.timestamp()))
        .ok_or_else(|| format!("`{text}` is not a moment (for example 2026-11-21T01:02:03Z, or 20261121010203 in UTC)"))
}

/// A monotonic stopwatch, for durations in reports.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts counting.
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (text, expected) in [
            ("2026-11-21T01:02:03Z", Some("2026-11-21T01:02:03.000Z")),
            ("2026-11-21T01:02:03.456+01:00", Some("2026-11-21T00:02:03.456Z")),
            ("20261121010203", Some("2026-11-21T01:02:03.000Z")),
            ("2026112101020", None),
            ("2026-11-21", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(parse(text).ok().map(rfc3339).as_deref(), expected, "{text}");
        }
    }
}
