//! What is told of gates, made by hand.

use super::*;
use crate::rollout::sequential::Burst;

fn views(traffic: &[(&str, f64)]) -> Vec<View> {
    let view = |(target, rps): &(&str, f64)| {
        let (rps, median, from) = (*rps, *rps, String::new());
        let figures = Figures { rps, median, errors: 0.0, slow: vec![], from, burst: Burst::none(0) };
        let (target, component) = ((*target).into(), "api".into());
        View { target, component, traffic: Traffic::Traffic(figures), sights: vec![] }
    };
    traffic.iter().map(view).collect()
}

#[test]
fn the_busier_region_first_is_told() {
    let waves = |names: &[&[&str]]| -> Vec<Vec<TargetId>> {
        names.iter().map(|wave| wave.iter().map(|name| (*name).into()).collect()).collect()
    };
    let told = |traffic: &[(&str, f64)], names: &[&[&str]]| busier_first(&views(traffic), &waves(names));
    let busy = [("us-east-1", 40.0), ("us-west-2", 2.0)];
    assert_eq!(
        told(&busy, &[&["us-east-1"], &["us-west-2"]]).unwrap(),
        "us-east-1 goes first and has 20 times the traffic of us-west-2 (40 and 2.0 requests/s): a fault harms \
         fewer if us-west-2 goes first, see `waves`"
    );
    assert_eq!(told(&busy, &[&["us-west-2"], &["us-east-1"]]), None);
    assert_eq!(told(&busy, &[&["us-east-1", "us-west-2"]]), None);
    assert_eq!(told(&[("a", 3.0), ("b", 2.0)], &[&["a"], &["b"]]), None);
    assert_eq!(told(&[("a", 3.0)], &[&["a"], &["unknown"]]), None);
    // A standby without live traffic is no wave that could go first.
    assert_eq!(told(&busy, &[&["standby"], &["us-west-2"], &["us-east-1"]]), None);
    assert!(told(&[("a", 3.0), ("b", 0.0)], &[&["a"], &["b"]]).unwrap().contains("traffic, unlike b"));
}

fn gate(name: &str, metric: Metric) -> Gate {
    Gate {
        name: name.into(),
        components: vec!["kva-api".into()],
        metric,
        max: Some(0.05),
        min: None,
        window: Duration::from_mins(5),
        interval: Duration::from_mins(1),
        breaches: 2,
        min_requests: 20,
        no_data: crate::domain::gate::NoData::Hold,
        shared: crate::domain::gate::Shared::Hold,
    }
}

#[test]
fn holds_that_see_nothing_are_warned_of_with_the_hold_that_would() {
    let selector = |text| crate::domain::counters::Selector::parse(text).unwrap();
    let comparison = Comparison {
        errors: Tolerated { ratio: 1.1, margin: 0.0005 },
        latency: None,
        early_promotion: false,
        source: Source::Auto,
        counters: crate::domain::counters::CounterNames {
            requests: selector("n"),
            errors: selector("e"),
            latency: selector("l"),
        },
    };
    let gates = [gate("beside", Metric::AgainstStable(comparison)), gate("error-rate", Metric::ErrorRate)];
    let told = |rps: f64| {
        let target = TargetId::from("us-west-2");
        let watched = Watched {
            target: &target,
            region: "us-west-2".into(),
            workload: ObjectRef::new("apps/v1", "Deployment", "kva", "kva-api"),
            component: "kva-api".into(),
            gates: gates.iter().collect(),
            holds: vec![(10, Duration::from_mins(5))],
        };
        let burst = Burst::none(0);
        let from = "in the last hour".to_owned();
        let figures = Figures { rps, median: rps, errors: 0.001, slow: vec![], from, burst };
        view(&watched, Ok(figures), &first_params(2, 1))
    };
    let (view, warnings) = told(0.2);
    assert!(view.sights.iter().all(|sight| sight.sees.is_none()), "{view:?}");
    assert_eq!(
        warnings,
        [
            "us-west-2: hold 10 % for 5m under gate beside of kva-api sees nothing, even if all requests are failed, \
             at 0.20 requests/s; 2h9m would see 18 %",
            "us-west-2: hold 10 % for 5m under gate error-rate of kva-api sees nothing at 0.20 requests/s: 6 requests \
             in 5m, of 20 that it wants",
        ]
    );
    let (_, warnings) = told(1.0);
    assert_eq!(
        warnings,
        [
            "us-west-2: hold 10 % for 5m under gate beside of kva-api sees nothing below 37 % failed requests at 1.0 \
             requests/s; 12m would see 17 %",
            "us-west-2: hold 10 % for 5m under gate error-rate of kva-api sees nothing at 1.0 requests/s: 20 requests \
             come too late for 2 breaches, one every 1m",
        ]
    );
    let (view, warnings) = told(20.0);
    assert_eq!(warnings, Vec::<String>::new());
    assert!(view.sights.iter().all(|sight| sight.sees.is_some_and(|sees| sees < 0.1)), "{view:?}");
}

#[test]
fn shares_and_rates_are_told_with_two_digits() {
    assert_eq!(["0.28 %", "4.1 %", "60 %"], [0.0028, 0.041, 0.6].map(percent));
    assert_eq!(["0.20", "1.5", "34"], [0.2, 1.5, 34.4].map(rate));
}
