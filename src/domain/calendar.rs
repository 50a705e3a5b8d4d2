//! When releases may go out: freezes, and the hours that are allowed. Pure; the caller says what time it is.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Days that are looked ahead for the next hour that is allowed.
const AHEAD: i32 = 8;
/// Freezes and windows that are stepped over to find the next opening.
const STEPS: usize = 1000;

/// When releases may go out. Rollbacks, aborts and resumed runs always may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calendar {
    /// When nothing goes out.
    pub freezes: Vec<Freeze>,
    /// The only hours in which something goes out; always if absent.
    pub allowed: Option<Allowed>,
    /// Why this release goes out all the same, from `--override-freeze`.
    pub overridden: Option<String>,
}

/// A time in which nothing goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// First moment.
    pub from: Timestamp,
    /// First moment after it.
    pub to: Timestamp,
    /// Why.
    pub reason: String,
    /// Zone that people read it in.
    pub zone: TimeZone,
}

/// Hours of the week, in a time zone: wall time, so a window keeps its hours when clocks change. A moment that the
/// clocks skip counts as the same moment after the jump, one that comes twice as the first of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The zone.
    pub zone: TimeZone,
    /// Days on which a window begins, Monday first.
    pub days: [bool; 7],
    /// When it begins.
    pub from: Time,
    /// When it ends: not after `from` means on the next day.
    pub to: Time,
}

/// Whether something may go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, up to this moment if there is an end in sight.
    Open {
        /// When it closes, and why.
        until: Option<(Timestamp, String)>,
    },
    /// No.
    Closed {
        /// Why.
        why: String,
        /// When it opens again, as far as can be seen.
        opens: Option<Timestamp>,
    },
}

impl Calendar {
    /// Whether something may go out now.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Verdict {
        if let Some(why) = self.shut(now) {
            return Verdict::Closed { why, opens: self.opens(now) };
        }
        let frozen = self.freezes.iter().filter(|freeze| freeze.from > now);
        let frozen = frozen.map(|freeze| (freeze.from, format!("freeze: {}", freeze.reason)));
        let window = self.allowed.as_ref().and_then(|allowed| allowed.window(now));
        let window = window.map(|(_, end)| (end, "the allowed hours end".to_owned()));
        Verdict::Open { until: frozen.chain(window).min_by_key(|(at, _)| *at) }
    }

    /// A moment as people read it, in the zone of the calendar.
    #[must_use]
    pub fn read(&self, at: Timestamp) -> String {
        let zone = self.allowed.as_ref().map(|allowed| &allowed.zone);
        let zone = zone.or_else(|| self.freezes.first().map(|freeze| &freeze.zone));
        let zone = zone.cloned().unwrap_or(TimeZone::UTC);
        at.to_zoned(zone).strftime("%a %Y-%m-%d %H:%M %Z").to_string()
    }

    fn shut(&self, at: Timestamp) -> Option<String> {
        let frozen = self.freezes.iter().find(|freeze| freeze.from <= at && at < freeze.to);
        if let Some(freeze) = frozen {
            return Some(format!("frozen until {}: {}", self.read(freeze.to), freeze.reason));
        }
        let allowed = self.allowed.as_ref()?;
        allowed.window(at).is_none().then(|| format!("outside of the allowed hours ({allowed})"))
    }

    fn opens(&self, now: Timestamp) -> Option<Timestamp> {
        let mut at = now;
        for _ in 0..STEPS {
            if let Some(freeze) = self.freezes.iter().find(|freeze| freeze.from <= at && at < freeze.to) {
                at = freeze.to;
            } else if let Some(allowed) = self.allowed.as_ref().filter(|allowed| allowed.window(at).is_none())
            {
                at = allowed.next(at)?;
            } else {
                return Some(at);
            }
        }
        None
    }
}

impl Allowed {
    /// The windows around a moment, joined where one begins when another ends.
    fn windows(&self, at: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let today = at.to_zoned(self.zone.clone()).date();
        let mut windows: Vec<(Timestamp, Timestamp)> = Vec::new();
        for offset in -2..=AHEAD {
            let Ok(day) = today.checked_add(offset.days()) else { continue };
            if !self.days[day.weekday().to_monday_zero_offset() as usize] {
                continue;
            }
            let Some((from, to)) = self.on(day) else { continue };
            match windows.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => windows.push((from, to)),
            }
        }
        windows
    }

    fn on(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        let end = if self.to <= self.from { day.tomorrow().ok()? } else { day };
        let moment =
            |day: Date, time: Time| self.zone.to_ambiguous_timestamp(day.to_datetime(time)).compatible().ok();
        Some((moment(day, self.from)?, moment(end, self.to)?)).filter(|(from, to)| from < to)
    }

    /// The window that holds this moment.
    fn window(&self, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
        self.windows(at).into_iter().find(|(from, to)| *from <= at && at < *to)
    }

    /// When the next window begins.
    fn next(&self, at: Timestamp) -> Option<Timestamp> {
        self.windows(at).into_iter().map(|(from, _)| from).find(|from| *from > at)
    }
}

impl std::fmt::Display for Allowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let days: Vec<&str> =
            names.iter().zip(self.days).filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        let zone = self.zone.iana_name().unwrap_or("UTC");
        write!(f, "{} {}–{} {zone}", days.join(" "), self.from.strftime("%H:%M"), self.to.strftime("%H:%M"))
    }
}

/// `mon` … `sun`.
#[must_use]
pub fn weekday(text: &str) -> Option<Weekday> {
    Some(match text {
        "mon" => Weekday::Monday,
        "tue" => Weekday::Tuesday,
        "wed" => Weekday::Wednesday,
        "thu" => Weekday::Thursday,
        "fri" => Weekday::Friday,
        "sat" => Weekday::Saturday,
        "sun" => Weekday::Sunday,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin(days: [bool; 7], from: &str, to: &str) -> Calendar {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let allowed = Allowed { zone, days, from: from.parse().unwrap(), to: to.parse().unwrap() };
        Calendar { allowed: Some(allowed), ..Calendar::default() }
    }

    const WORK: [bool; 7] = [true, true, true, true, false, false, false];
    const ALWAYS: [bool; 7] = [true; 7];

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn opens(calendar: &Calendar, now: &str) -> Option<String> {
        match calendar.at(at(now)) {
            Verdict::Open { .. } => None,
            Verdict::Closed { opens, .. } => opens.map(|at| at.to_string()),
        }
    }

    #[test]
    fn hours_are_wall_time_in_summer_and_winter() {
        let calendar = berlin(WORK, "09:00", "16:00");
        assert_eq!(opens(&calendar, "2026-01-05T08:00:00Z"), None, "Monday, 09:00 in winter");
        assert_eq!(opens(&calendar, "2026-01-05T07:59:59Z").unwrap(), "2026-01-05T08:00:00Z");
        assert_eq!(opens(&calendar, "2026-07-06T07:00:00Z"), None, "Monday, 09:00 in summer");
        // Thursday after hours: Monday is next.
        assert_eq!(opens(&calendar, "2026-01-08T15:00:00Z").unwrap(), "2026-01-12T08:00:00Z");
        let Verdict::Open { until: Some((end, _)) } = calendar.at(at("2026-01-05T10:00:00Z")) else {
            panic!()
        };
        assert_eq!(end, at("2026-01-05T15:00:00Z"));
    }

    #[test]
    fn a_gap_moves_a_window_and_a_fold_makes_it_longer() {
        // On 2026-03-29 clocks in Berlin go from 02:00 to 03:00.
        let gap = berlin(ALWAYS, "02:15", "02:45");
        assert_eq!(opens(&gap, "2026-03-29T01:16:00Z"), None, "03:16, an hour that 02:16 became");
        // On 2026-10-25 they go from 03:00 back to 02:00.
        let fold = berlin(ALWAYS, "01:00", "04:00");
        let Verdict::Open { until: Some((end, _)) } = fold.at(at("2026-10-25T00:00:00Z")) else { panic!() };
        assert_eq!(end, at("2026-10-25T03:00:00Z"), "four hours long");
    }

    #[test]
    fn windows_go_over_midnight_and_join_into_always() {
        let night = berlin(WORK, "22:00", "04:00");
        assert_eq!(opens(&night, "2026-01-09T02:00:00Z"), None, "Friday 03:00 belongs to Thursday");
        assert_eq!(opens(&night, "2026-01-10T02:00:00Z").unwrap(), "2026-01-12T21:00:00Z");
        let always = berlin(ALWAYS, "00:00", "00:00");
        assert_eq!(opens(&always, "2026-01-10T23:00:00Z"), None);
    }

    #[test]
    fn the_next_opening_is_after_the_freeze_and_in_the_hours() {
        let mut calendar = berlin(WORK, "09:00", "16:00");
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let (from, to) = (at("2026-12-19T23:00:00Z"), at("2027-01-01T23:00:00Z"));
        calendar.freezes.push(Freeze { from, to, reason: "Christmas".into(), zone });
        let Verdict::Closed { why, opens } = calendar.at(at("2026-12-24T10:00:00Z")) else { panic!() };
        assert_eq!(why, "frozen until Sat 2027-01-02 00:00 CET: Christmas");
        assert_eq!(opens, Some(at("2027-01-04T08:00:00Z")));
        let Verdict::Open { until } = calendar.at(at("2026-12-17T14:00:00Z")) else { panic!() };
        assert_eq!(until, Some((at("2026-12-17T15:00:00Z"), "the allowed hours end".into())));
        assert_eq!(Calendar::default().at(from), Verdict::Open { until: None });
    }
}
