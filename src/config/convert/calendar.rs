//! When releases may go out, and how slowly: freezes, allowed hours, bakes and profiles.

use super::{Cx, time};
use crate::config::codes;
use crate::config::defaults::{self, Profile};
use crate::config::model::{AllowedFile, BakeDetail, BakeFile, EnvironmentFile, FreezeFile, ProfileName};
use crate::domain::calendar::{Allowed, Calendar, Freeze, weekday};
use crate::domain::diagnostic::nearest;
use crate::domain::environment::{Bake, Canary, CanaryStep, Router};
use crate::domain::units::parse_duration;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use std::time::Duration;

/// The profile that the file names.
pub(super) fn profile(file: &EnvironmentFile) -> Option<&'static Profile> {
    file.profile.map(|name| match name {
        ProfileName::Fast => &defaults::FAST,
        ProfileName::Standard => &defaults::STANDARD,
        ProfileName::Careful => &defaults::CAREFUL,
    })
}

/// What lies between waves: what is written wins over the profile.
pub(super) fn bake(file: &EnvironmentFile) -> Bake {
    let profile = profile(file);
    let detail = match &file.bake {
        None => BakeDetail::default(),
        Some(BakeFile::Time(time)) => BakeDetail { time: Some(*time), min_requests: None },
        Some(BakeFile::Detailed(detail)) => detail.clone(),
    };
    let default = |of: fn(&Profile) -> &'static str| profile.map_or(defaults::BAKE, of);
    Bake {
        first: time(detail.time, default(|profile| profile.first_bake)),
        later: time(detail.time, default(|profile| profile.later_bake)),
        requests: detail.min_requests.unwrap_or(if profile.is_some() {
            defaults::PROFILE_REQUESTS
        } else {
            0
        }),
    }
}

/// How long all bakes of so many waves take; the last has none.
pub(super) fn bakes(bake: &Bake, waves: usize) -> Duration {
    match u32::try_from(waves).unwrap_or(u32::MAX) {
        0 | 1 => Duration::ZERO,
        waves => bake.first + bake.later * (waves - 2),
    }
}

/// Steps of a canary that names none.
pub(super) fn canary(profile: Option<&Profile>) -> Canary {
    let steps = profile.map_or(&defaults::CANARY_STEPS[..], |profile| profile.steps);
    let step = |(weight, hold): &(u8, &str)| CanaryStep {
        weight: *weight,
        hold: parse_duration(hold).unwrap_or_default(),
        scale: None,
        approve: None,
    };
    Canary {
        steps: steps.iter().map(step).collect(),
        router: Router::Pods,
        mirror: None,
        dynamic_stable_scale: false,
    }
}

impl Cx<'_> {
    pub(super) fn calendar(&mut self, file: &EnvironmentFile) -> Calendar {
        let allowed = file.allowed.as_ref().and_then(|allowed| self.allowed(allowed));
        let zone = allowed.as_ref().map_or(TimeZone::UTC, |allowed| allowed.zone.clone());
        let freezes = file.freeze.iter().enumerate();
        let freezes = freezes.filter_map(|(index, freeze)| self.freeze(&index.to_string(), freeze, &zone));
        Calendar { freezes: freezes.collect(), allowed, overridden: None }
    }

    fn zone(&mut self, name: &str, path: &[&str]) -> Option<TimeZone> {
        if name.eq_ignore_ascii_case("utc") {
            return Some(TimeZone::UTC);
        }
        let Ok(zone) = TimeZone::get(name) else {
            let known: Vec<String> =
                jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect();
            let help = nearest(name, known.iter().map(String::as_str))
                .map_or_else(|| "write e.g. `Europe/Berlin`".to_owned(), |near| format!("write `{near}`"));
            let diagnostic = self
                .error(codes::UNKNOWN_WORD, path, format!("there is no time zone `{name}`"))
                .why("zones have the names of the IANA database, which this program brings with it")
                .help(help);
            self.out.push(diagnostic);
            return None;
        };
        Some(zone)
    }

    fn allowed(&mut self, file: &AllowedFile) -> Option<Allowed> {
        let zone = file.time_zone.as_deref().unwrap_or("UTC");
        let zone = self.zone(zone, &["allowed", "time_zone"]);
        let mut days = [file.days.is_empty(); 7];
        for (index, text) in file.days.iter().enumerate() {
            let Some(range) = day_range(text) else {
                let message = format!("`{text}` is no day and no range of days");
                let path = ["allowed", "days", &index.to_string()];
                let diagnostic =
                    self.error(codes::UNKNOWN_WORD, &path, message).help("write e.g. `mon` or `mon-thu`");
                self.out.push(diagnostic);
                continue;
            };
            for day in range {
                days[day] = true;
            }
        }
        let hours = file.hours.as_deref().unwrap_or("00:00-00:00");
        let Some((from, to)) = hour_range(hours) else {
            let diagnostic = self
                .error(codes::OUT_OF_RANGE, &["allowed", "hours"], format!("`{hours}` are no hours"))
                .help("write e.g. `09:00-16:00`");
            self.out.push(diagnostic);
            return None;
        };
        Some(Allowed { zone: zone?, days, from, to })
    }

    fn freeze(&mut self, index: &str, file: &FreezeFile, zone: &TimeZone) -> Option<Freeze> {
        let zone = match &file.time_zone {
            Some(name) => self.zone(name, &["freeze", index, "time_zone"])?,
            None => zone.clone(),
        };
        for (key, value) in [("from", &file.from), ("to", &file.to), ("reason", &file.reason)] {
            if value.is_none() {
                let help = "write `{from: 2026-12-20T00:00, to: 2027-01-02T00:00, reason: Christmas}`";
                self.missing(&["freeze", index, key], &format!("the freeze has no `{key}`"), help);
            }
        }
        let (from, to, reason) = (file.from.as_ref()?, file.to.as_ref()?, file.reason.clone()?);
        let from = self.moment(from, &zone, &["freeze", index, "from"])?;
        let to = self.moment(to, &zone, &["freeze", index, "to"])?;
        if to <= from {
            let diagnostic = self
                .error(codes::OUT_OF_RANGE, &["freeze", index, "to"], "the freeze ends before it begins")
                .help("write a `to` that is after `from`");
            self.out.push(diagnostic);
            return None;
        }
        Some(Freeze { from, to, reason, zone })
    }

    fn moment(&mut self, text: &str, zone: &TimeZone, path: &[&str]) -> Option<Timestamp> {
        let civil = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(DateTime::from));
        // A moment that has a zone of its own needs no second one.
        let absolute = text.parse::<Timestamp>().ok();
        let moment = absolute.or_else(|| zone.to_ambiguous_timestamp(civil.ok()?).compatible().ok());
        if moment.is_none() {
            let diagnostic = self
                .error(codes::OUT_OF_RANGE, path, format!("`{text}` is no moment"))
                .help("write e.g. `2026-12-20T00:00`, or a day: `2026-12-20`");
            self.out.push(diagnostic);
        }
        moment
    }
}

/// Days from Monday (0) that `mon` or `fri-mon` means.
fn day_range(text: &str) -> Option<Vec<usize>> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| Some(weekday(&text.trim().to_lowercase())?.to_monday_zero_offset() as usize);
    let (from, to) = (number(from)?, number(to)?);
    let length = (to + 7 - from) % 7;
    Some((from..=from + length).map(|day| day % 7).collect())
}

fn hour_range(text: &str) -> Option<(Time, Time)> {
    let (from, to) = text.split_once('-')?;
    let time = |text: &str| match text.trim() {
        "24:00" => Some(Time::midnight()),
        text => text.parse::<Time>().ok(),
    };
    Some((time(from)?, time(to)?))
}
