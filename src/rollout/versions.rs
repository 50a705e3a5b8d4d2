//! Counts which version answered, and judges whether a router sends the share that it was told to.
//!
//! The share seen is judged by the Wilson score interval of a binomial proportion (E. B. Wilson, "Probable inference, the
//! law of succession, and statistical inference", JASA 22, 1927, pp. 209–212):
//! `(k + z²/2 ± z·√(k·(n − k)/n + z²/4)) / (n + z²)` for `k` of `n` answers. A share is confirmed when the interval holds
//! it and no longer holds the share before. Looks add up for as long as they fit the share that is wanted, so that small
//! steps are told apart as well; one that clearly says otherwise begins the count anew, since a router may follow late.
//! `z` is chosen so that many looks at a router that stands still hardly ever confirm by chance. Shares so near that
//! `MOST` answers, or all that there is time for, cannot tell them apart are [`Share::Undecided`].

use crate::domain::environment::{VersionPlace, VersionProbe};
use crate::ports::probe::HttpAnswer;
use serde_json::Value;

/// Half-width of the interval in standard deviations: 99.99 % of looks hold the true share.
const Z: f64 = 3.89;
/// Added to [`Z`] when a look is sized: 9 of 10 looks at the right share then exclude the share before.
const POWER: f64 = 1.28;
/// Fewest and most answers of one look.
const LOOK: (u32, u32) = (50, 1_000);
/// Most answers that are counted together: they tell 5 % from 6 % and 48 % from 50 %, not 49 %.
const MOST: u32 = 30_000;
/// Cookies that bind a client to what answered it first.
const AFFINITY: [&str; 5] = ["awsalb", "ingresscookie", "route=", "canary", "session-affinity"];

/// What one answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The version was named.
    Wanted,
    /// It was not.
    Other,
    /// 429: whoever asks much is turned away.
    Throttled,
    /// The answer binds the client to what answered.
    Bound,
}

/// Reads one answer.
#[must_use]
pub fn read(probe: &VersionProbe, version: &str, answer: &HttpAnswer) -> Told {
    if answer.status == 429 {
        return Told::Throttled;
    }
    let cookies = answer.headers.get("set-cookie").map(|cookies| cookies.to_ascii_lowercase());
    if cookies.is_some_and(|cookies| AFFINITY.iter().any(|name| cookies.starts_with(name))) {
        return Told::Bound;
    }
    let named = match &probe.place {
        VersionPlace::Header(name) => answer.headers.get(name).is_some_and(|value| names(value, version)),
        VersionPlace::Body => names(&answer.body, version),
        VersionPlace::Json(pointer) => {
            let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            body.pointer(pointer).is_some_and(|value| match value {
                Value::String(text) => names(text, version),
                value => names(&value.to_string(), version),
            })
        }
    };
    if named { Told::Wanted } else { Told::Other }
}

/// Whether a text names a version as a whole word: `1.4.1` is not in `1.4.10`, but in `shop/api:1.4.1`.
fn names(text: &str, version: &str) -> bool {
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    text.match_indices(version).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + version.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

/// How many answers one look needs to tell `percent` from `before`.
#[must_use]
pub fn look_size(percent: u8, before: u8) -> u32 {
    let (wanted, known) = (f64::from(percent) / 100.0, f64::from(before) / 100.0);
    let spread = (wanted * (1.0 - wanted)).sqrt() + (known * (1.0 - known)).sqrt();
    let distance = (wanted - known).abs().max(0.01);
    let size = ((Z + POWER) * spread / distance).powi(2).ceil();
    (size as u32).clamp(LOOK.0, LOOK.1)
}

/// What the answers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Share {
    /// The router sends what it was told to.
    Confirmed,
    /// They fit what it was told to send, and the share before as well.
    Undecided,
    /// Not yet.
    NotYet,
    /// One client's count says nothing here, and why.
    Worthless(String),
}

/// Answers of one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Answers that named the new version.
    pub wanted: u32,
    /// Answers that did not.
    pub other: u32,
    /// Answers 429.
    pub throttled: u32,
    /// Answers that bind the client.
    pub bound: u32,
    /// Questions without an answer.
    pub silent: u32,
}

impl Count {
    /// Adds one answer; `None` for no answer.
    pub fn add(&mut self, told: Option<Told>) {
        match told {
            Some(Told::Wanted) => self.wanted += 1,
            Some(Told::Other) => self.other += 1,
            Some(Told::Throttled) => self.throttled += 1,
            Some(Told::Bound) => self.bound += 1,
            None => self.silent += 1,
        }
    }

    /// Answers that tell a version.
    #[must_use]
    pub fn all(&self) -> u32 {
        self.wanted + self.other
    }

    /// The share of the new version, percent.
    #[must_use]
    pub fn percent(&self) -> f64 {
        if self.all() == 0 { 0.0 } else { f64::from(self.wanted) * 100.0 / f64::from(self.all()) }
    }

    /// Judges the answers. `before` is the share that a router which stands still would go on with.
    #[must_use]
    pub fn judge(&self, percent: u8, before: u8) -> Share {
        if self.bound > 0 {
            return Share::Worthless("its answers bind a client to one version by a cookie".to_owned());
        }
        if self.throttled * 10 > self.all() {
            return Share::Worthless(format!("{} of the questions were answered 429", self.throttled));
        }
        if self.all() == 0 || self.is_silent() || !self.fits(percent) {
            return Share::NotYet;
        }
        if percent == before || !self.fits(before) {
            return Share::Confirmed;
        }
        // Of a router that sends all to one version, a single answer of the other tells: one that is missing does, too.
        let tells_at_once = matches!(before, 0 | 100);
        if tells_at_once || self.all() < LOOK.0 { Share::NotYet } else { Share::Undecided }
    }

    fn is_silent(&self) -> bool {
        self.silent * 10 > self.all()
    }

    /// Whether the answers may come of a router that sends this share.
    fn fits(&self, percent: u8) -> bool {
        let (low, high) = interval(self.wanted, self.all());
        let share = f64::from(percent) / 100.0;
        low - 1e-9 <= share && share <= high + 1e-9
    }

    fn plus(&self, more: &Self) -> Self {
        Self {
            wanted: self.wanted + more.wanted,
            other: self.other + more.other,
            throttled: self.throttled + more.throttled,
            bound: self.bound + more.bound,
            silent: self.silent + more.silent,
        }
    }
}

/// Looks at one weight, added up for as long as they fit it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    sum: Count,
    /// Answers have clearly said otherwise.
    refuted: bool,
}

impl Tally {
    /// Takes one look in, and judges all that counts by then.
    pub fn add(&mut self, look: &Count, percent: u8, before: u8) -> Share {
        match look.judge(percent, before) {
            worthless @ Share::Worthless(_) => return worthless,
            _ if look.is_silent() => return Share::NotYet,
            _ => {}
        }
        let sum = self.sum.plus(look);
        self.refuted |= !sum.fits(percent) || !look.fits(percent);
        self.sum = match (look.fits(percent), sum.fits(percent)) {
            (true, true) => sum,
            // The router may have begun to follow with this look.
            (true, false) => *look,
            (false, _) => Count::default(),
        };
        self.sum.judge(percent, before)
    }

    /// What is counted; of a router that does not follow, the newest look.
    #[must_use]
    pub fn seen(&self, newest: &Count) -> Count {
        if self.sum.all() == 0 { *newest } else { self.sum }
    }

    /// Whether [`Share::Undecided`] is the last word: no more answers are counted, or time is over and none of them ever
    /// spoke against the share that is wanted. After some did, few that fit it do not prove that the router followed.
    #[must_use]
    pub fn is_final(&self, time_is_over: bool) -> bool {
        self.sum.all() >= MOST || (time_is_over && !self.refuted)
    }
}

/// The Wilson score interval of `hits` in `all`, 0–1.
fn interval(hits: u32, all: u32) -> (f64, f64) {
    if all == 0 {
        return (0.0, 1.0);
    }
    let (k, n, z2) = (f64::from(hits), f64::from(all), Z * Z);
    let middle = k + z2 / 2.0;
    let width = Z * (k * (n - k) / n + z2 / 4.0).sqrt();
    ((middle - width) / (n + z2), (middle + width) / (n + z2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn count(wanted: u32, other: u32) -> Count {
        Count { wanted, other, ..Count::default() }
    }

    #[test]
    fn a_share_is_confirmed_when_it_fits_and_the_one_before_does_not() {
        for (wanted, other, percent, before, confirmed) in [
            (21, 86, 20, 0, true),
            (0, 107, 20, 0, false),
            (48, 193, 50, 20, false),
            (120, 121, 50, 20, true),
            (50, 0, 100, 50, true),
            (99, 1, 100, 50, false),
            (0, 107, 0, 20, true),
            (1, 106, 0, 20, false),
            (35, 72, 20, 0, true),
            (60, 47, 20, 0, false),
        ] {
            let judged = count(wanted, other).judge(percent, before);
            assert_eq!(judged == Share::Confirmed, confirmed, "{wanted}/{other} for {before} → {percent} %");
        }
    }

    /// Exact binomial sums: how often a look errs.
    #[test]
    fn a_router_that_stands_still_is_hardly_ever_confirmed_and_a_good_one_soon() {
        let chance = |share: f64, percent: u8, before: u8| -> f64 {
            let n = look_size(percent, before);
            let mut log = 0.0;
            (0..=n)
                .map(|k| {
                    if k > 0 {
                        log += f64::from(n - k + 1).ln() - f64::from(k).ln();
                    }
                    let p = share.clamp(1e-12, 1.0 - 1e-12);
                    let mass = (log + f64::from(k) * p.ln() + f64::from(n - k) * (1.0 - p).ln()).exp();
                    if count(k, n - k).judge(percent, before) == Share::Confirmed { mass } else { 0.0 }
                })
                .sum()
        };
        for (percent, before) in [(5, 0), (10, 0), (20, 0), (25, 10), (50, 20), (100, 50), (0, 20), (0, 5)] {
            let still = chance(f64::from(before) / 100.0, percent, before);
            assert!(still < 0.001, "{before} → {percent}: a router that stands still passes with {still}");
            let right = chance(f64::from(percent) / 100.0, percent, before);
            assert!(right > 0.85, "{before} → {percent}: a right one passes with {right} only");
        }
    }

    /// Looks as a run takes them, with answers drawn from a seed.
    struct Draw {
        state: u64,
        /// Cumulative probabilities of the number of hits, by look size and share in tenths of a percent.
        tables: std::collections::HashMap<(u32, u32), Vec<f64>>,
    }

    impl Draw {
        /// `SplitMix64`.
        fn unit(&mut self) -> f64 {
            self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        }

        fn look(&mut self, size: u32, share: f64) -> Count {
            let drawn = self.unit();
            let table = self.tables.entry((size, (share * 1000.0).round() as u32)).or_insert_with(|| {
                let p = share.clamp(1e-12, 1.0 - 1e-12);
                let (mut log, mut sum) = (0.0, 0.0);
                let mass = |k: u32| {
                    if k > 0 {
                        log += f64::from(size - k + 1).ln() - f64::from(k).ln();
                    }
                    sum += (log + f64::from(k) * p.ln() + f64::from(size - k) * (1.0 - p).ln()).exp();
                    sum
                };
                (0..=size).map(mass).collect()
            });
            let hits = table.partition_point(|sum| *sum < drawn).min(size as usize) as u32;
            count(hits, size - hits)
        }

        /// Whether a router is believed that sends some share, look by look.
        fn believed(&mut self, percent: u8, before: u8, looks: u32, share: impl Fn(u32) -> f64) -> Share {
            let size = look_size(percent, before);
            let mut tally = Tally::default();
            for number in 1..=looks {
                let judged = tally.add(&self.look(size, share(number) / 100.0), percent, before);
                if judged == Share::Confirmed
                    || (judged == Share::Undecided && tally.is_final(number == looks))
                {
                    return judged;
                }
            }
            Share::NotYet
        }

        /// Of a thousand runs, how many end so.
        fn thousand(
            &mut self,
            (percent, before, looks): (u8, u8, u32),
            share: impl Fn(u32) -> f64,
            wanted: &Share,
        ) -> u32 {
            (0..1000).filter(|_| self.believed(percent, before, looks, &share) == *wanted).count() as u32
        }
    }

    #[test]
    fn looks_add_up_until_small_steps_are_told_apart() {
        let mut draw = Draw { state: 1, tables: std::collections::HashMap::new() };
        for (before, percent) in
            [(45, 50), (48, 50), (1, 2), (5, 6), (2, 1), (40, 45), (0, 1), (20, 50), (95, 100), (1, 0)]
        {
            let (right, still) = (f64::from(percent), f64::from(before));
            let of = (percent, before, 60);
            let seen = draw.thousand(of, |_| right, &Share::Confirmed);
            assert!(seen >= 990, "{before} → {percent}: a right router is confirmed in {seen} of 1000 runs");
            let seen = draw.thousand(of, |_| still, &Share::NotYet);
            assert!(seen >= 990, "{before} → {percent}: one that stands still fails in {seen} of 1000 runs");
            let late = |number| if number <= 12 { still } else { right };
            let back = draw.thousand(of, late, &Share::NotYet);
            assert!(
                back <= 5,
                "{before} → {percent}: one that follows late is taken back in {back} of 1000 runs"
            );
        }
        let seen = draw.thousand((50, 20, 60), |_| 25.0, &Share::NotYet);
        assert!(seen >= 990, "25 % is neither 20 % nor 50 %: {seen} of 1000 runs");
    }

    #[test]
    fn what_cannot_be_told_apart_does_not_take_a_right_router_back() {
        let mut draw = Draw { state: 2, tables: std::collections::HashMap::new() };
        for (before, percent, looks) in
            [(48, 50, 60), (49, 50, 60), (99, 98, 60), (45, 50, 1), (5, 6, 2), (45, 50, 2)]
        {
            let failed = draw.thousand((percent, before, looks), |_| f64::from(percent), &Share::NotYet);
            assert!(failed <= 5, "{before} → {percent} in {looks} looks: {failed} of 1000 right ones fail");
        }
        // Where the share before is all or nothing, no answer is an answer.
        assert_eq!(count(0, 300).judge(1, 0), Share::NotYet);
        assert_eq!(count(300, 0).judge(99, 100), Share::NotYet);
        assert_eq!(count(480, 520).judge(50, 45), Share::Undecided);
        assert_eq!(count(20, 20).judge(50, 45), Share::NotYet, "too few for any word");
    }

    #[test]
    fn one_client_that_is_bound_or_turned_away_counts_nothing() {
        let bound = Count { bound: 1, ..count(50, 50) };
        assert!(matches!(bound.judge(50, 0), Share::Worthless(_)));
        let throttled = Count { throttled: 20, ..count(50, 50) };
        assert!(matches!(throttled.judge(50, 0), Share::Worthless(_)));
        assert_eq!(Count { silent: 20, ..count(50, 50) }.judge(50, 0), Share::NotYet);
    }

    #[test]
    fn a_version_is_a_whole_word_wherever_it_stands() {
        let answer = |header: &str, body: &str| HttpAnswer {
            status: 200,
            headers: [("x-version".to_owned(), header.to_owned())].into(),
            body: body.to_owned(),
            latency: Duration::ZERO,
        };
        let probe = |place| VersionProbe { path: "/".into(), host: None, place };
        let header = probe(VersionPlace::Header("x-version".into()));
        assert_eq!(read(&header, "1.4.1", &answer("1.4.1", "")), Told::Wanted);
        assert_eq!(read(&header, "1.4.1", &answer("1.4.10", "")), Told::Other);
        let json = probe(VersionPlace::Json("/image".into()));
        assert_eq!(read(&json, "v2", &answer("", r#"{"image": "shop/api:v2"}"#)), Told::Wanted);
        assert_eq!(read(&json, "v2", &answer("", r#"{"image": "shop/api:v2-err20"}"#)), Told::Other);
        assert_eq!(read(&json, "7", &answer("", r#"{"image": 7}"#)), Told::Wanted);
        assert_eq!(read(&probe(VersionPlace::Body), "v2", &answer("", "this is v2, hello")), Told::Wanted);
        let mut turned_away = answer("1", "");
        turned_away.status = 429;
        assert_eq!(read(&header, "1", &turned_away), Told::Throttled);
        let mut bound = answer("1", "");
        bound.headers.insert("set-cookie".to_owned(), "AWSALBTG=x; Path=/".to_owned());
        assert_eq!(read(&header, "1", &bound), Told::Bound);
    }
}
