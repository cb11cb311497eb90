//! Dates in UTC, and the durations of keys and budgets: LiteLLM's grammar and its calendar, which may
//! be that of another time zone. Pure arithmetic on microseconds since 1970; asks no clock.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Microseconds of a second.
pub const SECOND_US: i64 = 1_000_000;
const DAY_S: i64 = 86_400;

/// `s`, `m`, `h`, `d`, `w` or `mo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Second,
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
    /// Days.
    Day,
    /// Calendar months.
    Month,
}

/// A duration such as `30d`; weeks are kept as seven days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    count: i64,
    unit: Unit,
}

impl std::str::FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Span, String> {
        let wrong =
            || format!("a duration such as 30s, 10m, 1h, 7d, 1w or 1mo was expected; got {text}");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let count: i64 = text[..digits].parse().map_err(|_| wrong())?;
        let (count, unit) = match &text[digits..] {
            "s" => (count, Unit::Second),
            "m" => (count, Unit::Minute),
            "h" => (count, Unit::Hour),
            "d" => (count, Unit::Day),
            "w" => (count.saturating_mul(7), Unit::Day),
            "mo" => (count, Unit::Month),
            _ => return Err(wrong()),
        };
        const COUNT_MAX: i64 = 1_000_000_000;
        if count == 0 || count > COUNT_MAX {
            Err(wrong())
        } else {
            Ok(Span { count, unit })
        }
    }
}

/// Where days begin (`litellm_settings.timezone`).
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Zone {
        Zone(TimeZone::UTC)
    }
}

impl Zone {
    /// The zone of a name such as `Europe/Berlin`; UTC where nobody knows it, which the configuration's
    /// own check has refused before.
    pub fn named(name: &str) -> Zone {
        TimeZone::get(name).map(Zone).unwrap_or_default()
    }

    /// How far its clocks are ahead of UTC at that time, in microseconds.
    fn ahead_us(&self, at_us: i64) -> i64 {
        let offset = Timestamp::from_microsecond(at_us).map(|at| self.0.to_offset(at));
        offset.map_or(0, |offset| i64::from(offset.seconds()) * SECOND_US)
    }
}

impl Span {
    /// This long after `now_us`; months keep the day and the time, the day cut to the month's length.
    pub fn after(self, now_us: i64) -> i64 {
        let seconds = match self.unit {
            Unit::Second => self.count,
            Unit::Minute => self.count * 60,
            Unit::Hour => self.count * 3_600,
            Unit::Day => self.count * DAY_S,
            Unit::Month => return add_months(now_us, self.count),
        };
        now_us.saturating_add(seconds.saturating_mul(SECOND_US))
    }

    /// When a budget of this duration starts anew: the next full step of the zone's calendar for the
    /// usual values (minutes that divide an hour, hours that divide a day, 1d, 7d from Monday, 30d
    /// and months from the first), else this long from now. LiteLLM's rule.
    pub fn next_reset(self, now_us: i64, zone: &Zone) -> i64 {
        let ahead = zone.ahead_us(now_us);
        let Some(local) = self.next_step(now_us.saturating_add(ahead)) else {
            return self.after(now_us);
        };
        // The clocks may be put forward or back until then; a step that they leave out is the next one.
        let by_now = local - ahead;
        let by_then = local - zone.ahead_us(by_now);
        if by_then > now_us { by_then } else { by_now }
    }

    /// The next step of the calendar after `now_us`, where there is one.
    fn next_step(self, now_us: i64) -> Option<i64> {
        let step = |seconds: i64| {
            let now = now_us.div_euclid(SECOND_US);
            (now.div_euclid(seconds) + 1) * seconds * SECOND_US
        };
        Some(match (self.unit, self.count) {
            (Unit::Minute, count) if 60 % count == 0 => step(count * 60),
            (Unit::Hour, count) if 24 % count == 0 => step(count * 3_600),
            (Unit::Day, 1) => step(DAY_S),
            (Unit::Day, 7) => {
                // 1970 began on a Thursday: four days after a Monday's midnight, less a week.
                let since_monday = (now_us.div_euclid(SECOND_US * DAY_S) + 3).rem_euclid(7);
                let today = now_us.div_euclid(SECOND_US * DAY_S);
                (today + 7 - since_monday) * DAY_S * SECOND_US
            }
            (Unit::Day, 30) => first_of_month(now_us, 1),
            (Unit::Month, count) => first_of_month(now_us, count),
            _ => return None,
        })
    }
}

fn first_of_month(now_us: i64, months: i64) -> i64 {
    let (year, month, _) = date(now_us.div_euclid(SECOND_US * DAY_S));
    let at = year * 12 + month - 1 + months;
    days(at.div_euclid(12), at.rem_euclid(12) + 1, 1) * DAY_S * SECOND_US
}

fn add_months(now_us: i64, months: i64) -> i64 {
    let day = now_us.div_euclid(SECOND_US * DAY_S);
    let rest = now_us - day * SECOND_US * DAY_S;
    let (year, month, date) = date(day);
    let at = year * 12 + month - 1 + months;
    let (year, month) = (at.div_euclid(12), at.rem_euclid(12) + 1);
    let next = days(if month == 12 { year + 1 } else { year }, month % 12 + 1, 1);
    let first = days(year, month, 1);
    (first + (date - 1).min(next - first - 1)) * DAY_S * SECOND_US + rest
}

/// Days since 1970 of a date (the proleptic Gregorian calendar, counted in eras of 400 years).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a day since 1970.
fn date(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day - era * 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}

/// `2026-11-25T16:31:54.123456`: how rows hold a time, of the years 0 to 9999.
pub fn text(at_us: i64) -> String {
    let day = day(at_us);
    let (year, month, date) = date(day);
    let seconds = at_us.div_euclid(SECOND_US) - day * DAY_S;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    // Written digit by digit: every call has three of them.
    let mut text = String::with_capacity("2026-11-25T16:31:54.123456".len());
    for (number, digits, mark) in [
        (year, 4, '-'),
        (month, 2, '-'),
        (date, 2, 'T'),
        (hour, 2, ':'),
        (minute, 2, ':'),
        (second, 2, '.'),
    ] {
        push_digits(&mut text, number, digits);
        text.push(mark);
    }
    push_digits(&mut text, at_us.rem_euclid(SECOND_US), 6);
    text
}

fn push_digits(text: &mut String, number: i64, digits: u32) {
    let mut place = 10_i64.pow(digits - 1);
    while place > 0 {
        let digit = number / place % 10;
        text.push(char::from(b'0' + digit.unsigned_abs() as u8));
        place /= 10;
    }
}

/// `2026-11-25`: the day as the daily tables hold it.
pub fn day_text(at_us: i64) -> String {
    text_of_day(day(at_us))
}

/// The day of a time, counted from 1970.
pub fn day(at_us: i64) -> i64 {
    at_us.div_euclid(SECOND_US * DAY_S)
}

/// That day as the daily tables hold it.
pub fn text_of_day(day: i64) -> String {
    let (year, month, date) = date(day);
    format!("{year:04}-{month:02}-{date:02}")
}

/// Reads a date with or without time, fraction and zone (`Z`, `+00:00`); `None` when it is no date.
pub fn parse(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if text.as_bytes().get(4) != Some(&b'-')
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
    {
        return None;
    }
    let date_us = days(year, month, day) * DAY_S * SECOND_US;
    if text.len() == 10 {
        return Some(date_us);
    }
    let (hour, minute, second) = (
        number(11, 13)?,
        number(14, 16)?,
        number(17, 19).unwrap_or(0),
    );
    let mut rest = text.get(19..).unwrap_or("");
    let mut us = (hour * 3_600 + minute * 60 + second) * SECOND_US;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let shown = &fraction[..digits.min(6)];
        us += format!("{shown:0<6}").parse::<i64>().ok()?;
        rest = &fraction[digits..];
    }
    Some(date_us + us - zone_us(rest.trim())?)
}

fn zone_us(text: &str) -> Option<i64> {
    if matches!(text, "" | "Z" | "z" | "UTC") {
        return Some(0);
    }
    let sign = match text.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits: String = text[1..].chars().filter(char::is_ascii_digit).collect();
    let hours: i64 = digits.get(..2)?.parse().ok()?;
    let minutes: i64 = digits.get(2..4).map_or(Some(0), |text| text.parse().ok())?;
    Some(sign * (hours * 3_600 + minutes * 60) * SECOND_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        parse(text).expect(text)
    }

    #[test]
    fn dates_are_read_and_written() {
        for day in [-1, 0, 59, 60, 11_016, 20_782, 47_541] {
            let us = day * DAY_S * SECOND_US + 5_025_123_456;
            assert_eq!(parse(&text(us)), Some(us), "{}", text(us));
        }
        assert_eq!(
            text(at("2026-11-25T16:31:54.5Z")),
            "2026-11-25T16:31:54.500000"
        );
        assert_eq!(at("2024-02-29 12:00:00+01:00"), at("2024-02-29T11:00:00"));
        assert_eq!(day_text(at("2024-02-29")), "2024-02-29");
        assert_eq!(parse("soon"), None);
        assert_eq!(parse("2024-13-01"), None);
    }

    #[test]
    fn resets_follow_the_utc_calendar() {
        let check = |span: &str, now: &str, expected: &str| {
            let reset = span
                .parse::<Span>()
                .unwrap()
                .next_reset(at(now), &Zone::default());
            assert_eq!(text(reset), text(at(expected)), "{span} from {now}");
        };
        check("10m", "2026-11-25T16:31:54", "2026-11-25T16:40:00");
        check("1h", "2026-11-25T16:31:54", "2026-11-25T17:00:00");
        check("1d", "2026-11-25T16:31:54", "2026-11-26");
        // 25 November 2026 is a Wednesday.
        check("7d", "2026-11-25T16:31:54", "2026-11-30");
        check("1w", "2026-11-30T00:00:00", "2026-12-07");
        check("30d", "2026-11-25T16:31:54", "2026-12-01");
        check("1mo", "2026-12-25T16:31:54", "2027-01-01");
        check("45s", "2026-11-25T16:31:54", "2026-11-25T16:32:39");
        check("90m", "2026-11-25T16:00:00", "2026-11-25T17:30:00");
        check("2d", "2026-11-25T16:00:00", "2026-11-27T16:00:00");
    }

    #[test]
    fn resets_follow_the_calendar_of_a_zone() {
        let check = |zone: &str, span: &str, now: &str, expected: &str| {
            let reset = span.parse::<Span>().unwrap();
            let reset = reset.next_reset(at(now), &Zone::named(zone));
            assert_eq!(
                text(reset),
                text(at(expected)),
                "{span} from {now} in {zone}"
            );
        };
        check(
            "Asia/Tokyo",
            "1d",
            "2026-11-25T14:59:59",
            "2026-11-25T15:00:00",
        );
        check(
            "America/New_York",
            "1d",
            "2026-11-25T04:00:00",
            "2026-11-25T05:00:00",
        );
        check(
            "Europe/Berlin",
            "30d",
            "2026-06-25T04:00:00",
            "2026-06-30T22:00:00",
        );
        // Clocks are put forward on 29 March 2026 at 02:00, back on 25 October 2026 at 03:00.
        check(
            "Europe/Berlin",
            "1d",
            "2026-03-29T00:30:00",
            "2026-03-29T22:00:00",
        );
        check(
            "Europe/Berlin",
            "10m",
            "2026-03-29T00:55:00",
            "2026-03-29T01:00:00",
        );
        check(
            "Europe/Berlin",
            "1d",
            "2026-10-24T23:30:00",
            "2026-10-25T23:00:00",
        );
        check(
            "Asia/Kolkata",
            "1h",
            "2026-11-25T10:20:00",
            "2026-11-25T10:30:00",
        );
        check("Nowhere/Land", "1d", "2026-11-25T10:20:00", "2026-11-26");
        check(
            "Asia/Tokyo",
            "45s",
            "2026-11-25T14:59:59",
            "2026-11-25T15:00:44",
        );
    }

    #[test]
    fn months_are_cut_to_their_length() {
        let after = |span: &str, now: &str| text(span.parse::<Span>().unwrap().after(at(now)));
        assert_eq!(
            after("1mo", "2026-01-31T10:00:00"),
            "2026-02-28T10:00:00.000000"
        );
        assert_eq!(
            after("2mo", "2026-12-31T10:00:00"),
            "2027-02-28T10:00:00.000000"
        );
        assert_eq!(
            after("1w", "2026-12-31T10:00:00"),
            "2027-01-07T10:00:00.000000"
        );
    }

    #[test]
    fn other_words_are_refused() {
        for text in [
            "",
            "d",
            "10",
            "1y",
            "-1d",
            "0d",
            "1 d",
            "99999999999999999999d",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
