//! Time as the server tells it: milliseconds since the Unix epoch, RFC 3339 in every document.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment, to the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded up: the unit of an item's time to live.
    pub const fn as_secs_ceil(self) -> u64 {
        self.0.div_ceil(1000)
    }

    /// This moment plus `duration`, saturating.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero where it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    fn to_jiff(self) -> Option<jiff::Timestamp> {
        jiff::Timestamp::from_millisecond(i64::try_from(self.0).ok()?).ok()
    }

    /// As it is written, for the years 1970 to 9999. By hand, because every event has its time.
    fn spell(self) -> Option<[u8; SPELLED]> {
        let days = self.0 / DAY;
        let (year, month, day) = date(days)?;
        let rest = self.0 % DAY;
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (place, width, value) in [
            (0, 4, year),
            (5, 2, month),
            (8, 2, day),
            (11, 2, rest / 3_600_000),
            (14, 2, rest / 60_000 % 60),
            (17, 2, rest / 1000 % 60),
            (20, 3, rest % 1000),
        ] {
            let mut left = value;
            for digit in text[place..place + width].iter_mut().rev() {
                *digit = b'0' + u8::try_from(left % 10).unwrap_or_default();
                left /= 10;
            }
        }
        Some(text)
    }

    /// What [`Self::spell`] has written; none where somebody else has written it.
    fn read(text: &[u8]) -> Option<Self> {
        let text: &[u8; SPELLED] = text.try_into().ok()?;
        let number = |from: usize, to: usize| {
            text[from..to].iter().try_fold(0_u64, |sum, digit| {
                digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
            })
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let days = day_of(year, month, day)?;
        let millis = ((hour * 60 + minute) * 60 + second) * 1000 + number(20, 23)?;
        let time = Self(days * DAY + millis);
        // Whatever is not exactly what would be written is somebody else's.
        (time.spell()? == *text).then_some(time)
    }
}

/// Milliseconds of a day.
const DAY: u64 = 86_400_000;

/// Bytes of a time as it is written.
const SPELLED: usize = 24;

/// Year, month and day of a day since 1970, up to the year 9999: Howard Hinnant's `civil_from_days`.
fn date(days: u64) -> Option<(u64, u64, u64)> {
    let shifted = days.checked_add(719_468)?;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = (year + era * 400, if month < 10 { month + 3 } else { month - 9 });
    let year = year + u64::from(month <= 2);
    (year <= 9999).then_some((year, month, day))
}

/// The day since 1970 of a date: `days_from_civil`, the other way around.
fn day_of(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year - u64::from(month <= 2);
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year).checked_sub(719_468)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.spell()
            && let Ok(text) = std::str::from_utf8(&text)
        {
            return f.write_str(text);
        }
        match self.to_jiff() {
            Some(time) => write!(f, "{time:.3}"),
            None => write!(f, "{}ms", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.spell() {
            Some(text) => serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default()),
            None => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        if let Some(time) = Self::read(text.as_bytes()) {
            return Ok(time);
        }
        let time: jiff::Timestamp = text.parse().map_err(de::Error::custom)?;
        u64::try_from(time.as_millisecond())
            .map(Self)
            .map_err(|_| de::Error::custom("a time before 1970"))
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Not before 1970, the only moments there are here.
        let years = r"^(19[7-9]\d|[2-9]\d{3})-";
        json_schema!({ "type": "string", "format": "date-time", "pattern": years })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_with_milliseconds() {
        let time = Timestamp::from_millis(1_700_000_000_007);
        assert_eq!(serde_json::to_string(&time).unwrap(), "\"2023-11-14T22:13:20.007Z\"");
        assert_eq!(
            serde_json::from_str::<Timestamp>("\"2023-11-14T23:13:20.007+01:00\"").unwrap(),
            time
        );
    }

    #[test]
    fn a_time_is_written_and_read_as_jiff_does() {
        let last = Timestamp::from_millis(253_402_300_799_999);
        assert_eq!(Timestamp::read(last.to_string().as_bytes()), Some(last));
        let mut times = vec![Timestamp::default()];
        // Every day of 40 years, around a century that is no leap year, each at another time.
        times.extend(
            (0..14_610).map(|day| Timestamp::from_millis((46_020 + day) * DAY + day * 5911)),
        );
        for time in times {
            let jiff = time.to_jiff().unwrap();
            assert_eq!(time.to_string(), format!("{jiff:.3}"));
            assert_eq!(Timestamp::read(time.to_string().as_bytes()), Some(time));
        }
        assert_eq!(last.to_string(), "9999-12-31T23:59:59.999Z");
        for foreign in [
            "2023-02-29T00:00:00.000Z",
            "2023-11-14T24:00:00.000Z",
            "2023-11-14t22:13:20.007Z",
            "2023-11-14T22:13:20Z",
            "1969-12-31T23:59:59.999Z",
        ] {
            assert_eq!(Timestamp::read(foreign.as_bytes()), None, "{foreign}");
        }
    }
}
