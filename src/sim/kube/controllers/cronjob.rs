//! `CronJobs`: a Job at every time of a five-field schedule (UTC unless `timeZone` says otherwise).

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use serde_json::{Value, json};

use super::object;
use super::{Context, Controller};
use crate::sim::clock::seconds_text;
use crate::sim::kube::kinds::KindId;

const ME: Controller = Controller::CronJob;

/// A schedule without a date within so many days never fires.
const HORIZON_DAYS: usize = 366 * 4;

/// Looks at one `CronJob`.
pub fn sync(cx: &mut Context<'_>, namespace: &str, name: &str) {
    let Some(cron) = cx.get(KindId::CRON_JOBS, namespace, name) else {
        return;
    };
    if cron["spec"]["suspend"] == true || object::deleting(&cron) {
        return;
    }
    let zone = match object::text(&cron, &["spec", "timeZone"]) {
        "" => TimeZone::UTC,
        name => TimeZone::get(name).unwrap_or(TimeZone::UTC),
    };
    let Some(schedule) = Schedule::parse(object::text(&cron, &["spec", "schedule"])) else {
        let message = format!("unparseable schedule: \"{}\"", object::text(&cron, &["spec", "schedule"]));
        cx.event(&cron, ME, true, "UnparseableSchedule", &message);
        return;
    };
    let last = match object::text(&cron, &["status", "lastScheduleTime"]) {
        "" => object::text(&cron, &["metadata", "creationTimestamp"]),
        last => last,
    };
    let Ok(last) = last.parse::<Timestamp>() else {
        return;
    };
    let Some(mut next) = schedule.after(last, &zone) else {
        return;
    };
    if next <= cx.now {
        start(cx, &cron, next);
        match schedule.after(cx.now, &zone) {
            Some(later) => next = later,
            None => return,
        }
    }
    let wait = next.duration_since(cx.now).as_millis().max(1) as u64;
    cx.again(ME, &cron, wait);
}

fn start(cx: &mut Context<'_>, cron: &Value, at: Timestamp) {
    let policy = object::text(cron, &["spec", "concurrencyPolicy"]);
    let running: Vec<_> = cx
        .controlled(KindId::JOBS, object::uid(cron))
        .into_iter()
        .filter(|job| {
            object::condition(job, "Complete").is_none() && object::condition(job, "Failed").is_none()
        })
        .collect();
    if policy == "Forbid" && !running.is_empty() {
        cx.event(
            cron,
            ME,
            false,
            "JobAlreadyActive",
            "Not starting job because prior execution is running and concurrency policy is Forbid",
        );
        return;
    }
    if policy == "Replace" {
        for job in &running {
            cx.delete_background(KindId::JOBS, job, ME);
        }
    }
    let name = format!("{}-{}", object::name(cron), at.as_second() / 60);
    let template = object::at(cron, &["spec", "jobTemplate"]);
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": name, "namespace": object::namespace(cron),
            "ownerReferences": [object::owner_reference(cron, "batch/v1", "CronJob")],
        },
        "spec": template["spec"],
    });
    for part in ["labels", "annotations"] {
        if let Some(found) = template["metadata"].get(part) {
            job["metadata"][part] = found.clone();
        }
    }
    if cx.create(KindId::JOBS, job, ME).is_ok() {
        cx.event(cron, ME, false, "SuccessfulCreate", &format!("Created job {name}"));
    }
    cx.modify_status(KindId::CRON_JOBS, cron, ME, |cron| {
        object::set(cron, &["status", "lastScheduleTime"], seconds_text(at).into());
    });
}

/// A parsed schedule: the allowed values of each field.
struct Schedule {
    minutes: Vec<i64>,
    hours: Vec<i64>,
    days: Vec<i64>,
    months: Vec<i64>,
    weekdays: Vec<i64>,
    /// Both day fields are restricted: either may match.
    either_day: bool,
}

impl Schedule {
    fn parse(text: &str) -> Option<Self> {
        let text = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return None;
        };
        Some(Self {
            minutes: values(minute, 0, 59)?,
            hours: values(hour, 0, 23)?,
            days: values(day, 1, 31)?,
            months: values(month, 1, 12)?,
            weekdays: values(weekday, 0, 7)?.into_iter().map(|weekday| weekday % 7).collect(),
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        })
    }

    /// The first time after `then`.
    fn after(&self, then: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut at: Zoned = (then + SignedDuration::from_secs(60)).to_zoned(zone.clone());
        for _ in 0..HORIZON_DAYS {
            if self.day_matches(&at) {
                for hour in self.hours.iter().filter(|hour| **hour >= i64::from(at.hour())) {
                    let first = if *hour == i64::from(at.hour()) { i64::from(at.minute()) } else { 0 };
                    if let Some(minute) = self.minutes.iter().find(|minute| **minute >= first) {
                        let time =
                            at.with().hour(*hour as i8).minute(*minute as i8).second(0).subsec_nanosecond(0);
                        return time.build().ok().map(|zoned| zoned.timestamp());
                    }
                }
            }
            at = at.start_of_day().ok()?.tomorrow().ok()?;
        }
        None
    }

    fn day_matches(&self, at: &Zoned) -> bool {
        let day = self.days.contains(&i64::from(at.day()));
        let weekday = self.weekdays.contains(&i64::from(at.weekday().to_sunday_zero_offset()));
        let matches = if self.either_day { day || weekday } else { day && weekday };
        matches && self.months.contains(&i64::from(at.month()))
    }
}

/// The values of one field: `*`, `*/n`, `a`, `a-b`, `a-b/n`, and lists of them.
fn values(field: &str, low: i64, high: i64) -> Option<Vec<i64>> {
    let mut all = Vec::new();
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<usize>().ok().filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (first, last) = if range == "*" {
            (low, high)
        } else if let Some((first, last)) = range.split_once('-') {
            (first.parse().ok()?, last.parse().ok()?)
        } else {
            let first = range.parse().ok()?;
            (first, if part.contains('/') { high } else { first })
        };
        if first < low || last > high {
            return None;
        }
        all.extend((first..=last).step_by(step));
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_names_its_next_time() {
        for (schedule, then, next) in [
            ("0 2 * * *", "2026-01-05T03:00:00Z", "2026-01-06T02:00:00Z"),
            ("*/15 * * * *", "2026-01-05T03:00:00Z", "2026-01-05T03:15:00Z"),
            ("30 4 1 * *", "2026-01-05T03:00:00Z", "2026-02-01T04:30:00Z"),
            ("0 0 * * 0", "2026-01-05T03:00:00Z", "2026-01-11T00:00:00Z"),
        ] {
            let parsed = Schedule::parse(schedule).unwrap();
            let found = parsed.after(then.parse().unwrap(), &TimeZone::UTC).unwrap();
            assert_eq!(seconds_text(found), next, "{schedule}");
        }
        assert!(Schedule::parse("61 * * * *").is_none());
    }
}
