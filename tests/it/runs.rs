//! Whole runs against the simulated world: what the API server holds afterwards, and what users noticed, counts.

use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::domain::environment::{Strategy, Switch};
use deployctl::domain::event::Kind;
use deployctl::ports::cluster::Terms;
use deployctl::run::Ending;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn sizes(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect()
}

/// Release r1 (1.0.0) everywhere, and users for a while.
async fn begin(story: &Story) {
    assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
    tokio::time::sleep(Duration::from_mins(2)).await;
    story.world.mark_stable();
}

#[test]
fn a_good_release_moves_everything_and_keeps_the_old_one_for_a_rollback() {
    virtually(environment("canary"), 1, async |story| {
        begin(story).await;
        let failed_before = story.world.report().failed();
        assert_eq!(story.deploy("1.1.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        for target in ["east", "west"] {
            let expected =
                sizes(&[("api-r1", 0), ("api-r2", 4), ("web-r1", 0), ("web-r2", 2), ("worker", 2)]);
            assert_eq!(story.sizes(target), expected, "{target}");
        }
        let report = story.world.report();
        let share = (report.failed() - failed_before) as f64 / report.requests() as f64;
        assert!(share < 0.005, "users noticed: {share}");
        // And back: the very objects and configuration that served before.
        assert_eq!(story.bring_back(&Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        let back = sizes(&[("api-r1", 4), ("api-r2", 0), ("web-r1", 2), ("web-r2", 0), ("worker", 2)]);
        assert_eq!(story.sizes("east"), back);
        let objects = story.objects();
        assert!(objects["east Service/web"].contains("\"deployctl.dev/revision\":\"1\""), "{objects:#?}");
        assert!(objects["east Deployment/worker"].contains("worker:1.0.0"), "{objects:#?}");
    });
}

/// Every way to fail ends with the objects as they were, and says why in its first line.
#[test]
fn each_kind_of_failure_is_taken_back_and_named() {
    let cases = [
        ("2.0.0-crash", "crashes again and again"),
        ("2.0.0-missing", "cannot be pulled"),
        (
            "2.0.0-noconfig",
            "4/4 pods of Deployment/api-r2: container api cannot start: Secret api has no key PASSWORD",
        ),
        ("2.0.0-unready", "was not ready within"),
        ("2.0.0-err30", "gate error-rate"),
        ("2.0.0-smokefail", "smoke test api"),
    ];
    for (version, cause) in cases {
        virtually(environment("canary"), 7, async |story| {
            begin(story).await;
            let before = story.objects();
            let Life::Ended(Ending::RolledBack { cause: told }) =
                story.deploy(version, &Told::default()).await
            else {
                panic!("{version} was not rolled back");
            };
            assert!(told.contains(cause), "{version}: {told}");
            story.rest().await;
            assert_eq!(story.objects(), before, "{version}");
        });
    }
}

#[test]
fn a_first_release_that_fails_leaves_nothing() {
    virtually(environment("canary"), 3, async |story| {
        let life = story.deploy("1.0.0-crash", &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        story.rest().await;
        assert_eq!(story.objects(), BTreeMap::new());
    });
}

#[test]
fn an_interrupt_puts_traffic_on_stable_and_resume_goes_on() {
    virtually(environment("canary"), 5, async |story| {
        begin(story).await;
        let life = story.deploy_interrupted("1.1.0", &Told::default(), Some(Duration::from_secs(130))).await;
        assert_eq!(life, Life::Ended(Ending::Interrupted));
        story.rest().await;
        let east = story.sizes("east");
        assert_eq!((east["api-r1"], east["api-r2"]), (4, 0), "traffic is on stable");
        assert_eq!(story.sizes("west")["api-r1"], 4, "in every region");
        assert_eq!(story.go_on(None, &Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!(story.sizes("east")["api-r2"], 4);
    });
}

/// The lease lasts 30 s: nobody takes it while the server is away, so the run goes on when it is back.
#[test]
fn a_server_that_is_away_for_longer_than_the_lease_does_not_end_the_run() {
    virtually(environment("canary"), 5, async |story| {
        begin(story).await;
        let told = Told::default();
        let away = async {
            tokio::time::sleep(Duration::from_secs(130)).await;
            story.world.add_fault(&"api-down:50:east@1s".parse().unwrap());
        };
        let (life, ()) = tokio::join!(story.deploy("1.1.0", &told), away);
        assert_eq!(life, Life::Ended(Ending::Deployed));
        let asked = story.world.report().faults;
        assert!(asked.iter().any(|(_, fault)| fault.contains("api-down")), "the server was away: {asked:?}");
        story.rest().await;
        assert_eq!(story.sizes("east")["api-r2"], 4);
    });
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let story = || {
        virtually(environment("canary"), 11, async |story| {
            begin(story).await;
            let told = Told::default();
            story.deploy("1.1.0-err3", &told).await;
            let lines: Vec<String> =
                told.0.lock().unwrap().iter().map(|event| serde_json::to_string(event).unwrap()).collect();
            (lines, story.world.report().requests())
        })
    };
    assert_eq!(story(), story());
}

#[test]
fn traffic_is_never_sent_beyond_what_stands_ready() {
    virtually(environment("canary"), 13, async |story| {
        begin(story).await;
        let told = Told::default();
        story.deploy("2.0.0-late30err40", &told).await;
        let events = told.0.lock().unwrap();
        let drained = events.iter().any(|event| match &event.kind {
            Kind::StepStarted { title, target, .. } => title == "drain api-r1" && target.as_str() == "east",
            _ => false,
        });
        assert!(!drained, "stable was drained although the canary failed");
    });
}

/// The process dies before or after every record that it writes; `resume` or `rollback` comes to a right end.
fn dies_everywhere(shop: &'static str, back: Option<&'static str>, version: &'static str, stored: bool) {
    let mut at = 0;
    loop {
        let died = virtually(environment(shop), 17, async |story| {
            begin(story).await;
            let before = story.objects();
            let first = story.written.load(Ordering::SeqCst);
            *story.dies.lock().unwrap() = Some((first + at, stored));
            let life = story.deploy(version, &Told::default()).await;
            *story.dies.lock().unwrap() = None;
            if life != Life::Died {
                return false;
            }
            let after = story.go_on(back, &Told::default()).await;
            story.rest().await;
            let objects = story.objects();
            match after {
                Life::Ended(Ending::Deployed) => {
                    assert!(
                        objects["east Service/web"].contains("\"deployctl.dev/revision\":\"2\""),
                        "record {at}"
                    );
                    assert_eq!(story.sizes("east")["api-r1"], 0, "record {at}");
                    assert_eq!(story.sizes("west")["api-r2"], 4, "record {at}");
                }
                Life::Ended(Ending::RolledBack { .. }) => assert_eq!(objects, before, "record {at}"),
                // It died before its plan was stored, or after everything was on record.
                Life::Refused(failure) => {
                    assert_eq!(failure.code.0, 614, "record {at}: {failure:?}");
                    let done = story.sizes("east").get("api-r2") == Some(&4);
                    assert!(done || objects == before, "record {at}");
                }
                other => panic!("record {at}: {other:?}"),
            }
            true
        });
        if !died {
            break;
        }
        at += 1;
    }
    assert!(at > 20, "the story has more records than {at}");
}

#[test]
fn a_run_that_dies_at_any_record_is_resumed() {
    dies_everywhere("canary", None, "1.1.0", true);
}

#[test]
fn a_run_that_dies_at_any_record_is_rolled_back() {
    dies_everywhere("canary", Some("taken back"), "1.1.0", false);
}

#[test]
fn a_rollback_that_dies_at_any_record_is_finished() {
    dies_everywhere("canary", None, "2.0.0-err30", true);
}

#[test]
fn a_run_with_a_router_that_dies_at_any_record_is_resumed() {
    dies_everywhere("gateway", None, "1.1.0", false);
}

#[test]
fn a_run_with_a_router_that_dies_at_any_record_is_rolled_back() {
    dies_everywhere("nginx", Some("taken back"), "1.1.0", true);
}

#[test]
fn a_rollback_with_a_router_that_dies_at_any_record_is_finished() {
    dies_everywhere("nginx", None, "2.0.0-err30", false);
}

#[test]
fn blue_keeps_its_size_for_as_long_as_is_asked() {
    let mut env = environment("canary");
    let web = env.components.iter_mut().find(|component| component.id.as_str() == "web").unwrap();
    let Strategy::BlueGreen(how) = &mut web.strategy else { panic!("web is blue-green") };
    how.scale_down_after = Duration::from_mins(10);
    virtually(env, 1, async |story| {
        begin(story).await;
        let told = Told::default();
        assert_eq!(story.deploy("1.1.0", &told).await, Life::Ended(Ending::Deployed));
        let events = told.0.lock().unwrap();
        let at = |wanted: &str, finished: bool| {
            let found = events.iter().find(|event| match &event.kind {
                Kind::StepStarted { title, target, .. } => {
                    !finished && title.starts_with(wanted) && target.as_str() == "east"
                }
                Kind::RunFinished { .. } => finished,
                _ => false,
            });
            found.unwrap_or_else(|| panic!("{wanted} did not happen")).at
        };
        let kept = at("scale web-r1 to 0", false).duration_since(at("keep web-r1 for 10m", false));
        assert_eq!(kept.as_secs(), 600);
        assert!(at("", true) >= at("scale web-r1 to 0", false));
    });
}

/// A Deployment and a Service that somebody made by hand.
pub async fn made_by_hand(story: &Story, component: &str, replicas: u32) {
    let (name, labels, image) =
        (component, json!({"app": component}), format!("example.com/{component}:0.9"));
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
               "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
                   "metadata": {"labels": labels},
                   "spec": {"containers": [{"name": name, "image": image, "ports": [{"containerPort": 8080}]}]}}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
               "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}}),
    ];
    for site in story.doors.sites.values() {
        for object in &objects {
            site.cluster().unwrap().apply(object, Terms::FORCED).await.unwrap();
        }
    }
    tokio::time::sleep(Duration::from_mins(2)).await;
    story.world.mark_stable();
}

#[test]
fn what_existed_before_is_adopted_and_can_be_brought_back() {
    virtually(environment("canary"), 19, async |story| {
        made_by_hand(story, "api", 4).await;
        let life = story.deploy("1.0.0-crash", &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        story.rest().await;
        assert_eq!(story.sizes("east"), sizes(&[("api", 4)]), "a failed first release leaves what was there");
        assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!((story.sizes("east")["api"], story.sizes("east")["api-r2"]), (0, 4));
        assert_eq!(story.bring_back(&Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!((story.sizes("east")["api"], story.sizes("east")["api-r2"]), (4, 0));
    });
}

#[test]
fn green_is_reachable_before_the_switch_and_its_preview_goes_with_it() {
    for (version, back) in [("1.1.0", false), ("1.1.0-smokefail", true)] {
        let mut env = environment("canary");
        let web = env.components.iter_mut().find(|component| component.id.as_str() == "web").unwrap();
        let Strategy::BlueGreen(how) = &mut web.strategy else { panic!("web is blue-green") };
        how.preview = Duration::from_mins(5);
        let test = env.smoke.iter_mut().find(|test| test.name == "api").unwrap();
        test.component = web.id.clone();
        virtually(env, 1, async |story| {
            begin(story).await;
            let before = story.objects();
            let told = Told::default();
            let mut seen = false;
            let look = async {
                for _ in 0..1500 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    let service = story.objects().get("east Service/web-preview").cloned();
                    seen |=
                        service.is_some_and(|service| service.contains("\"deployctl.dev/revision\":\"2\""));
                }
            };
            let (life, ()) = tokio::join!(story.deploy(version, &told), look);
            assert_eq!(matches!(life, Life::Ended(Ending::RolledBack { .. })), back, "{life:?}");
            assert_eq!(seen, !back, "{version}");
            story.rest().await;
            let objects = story.objects();
            assert!(!objects.keys().any(|name| name.contains("preview")), "{objects:#?}");
            assert!(!back || objects == before);
        });
    }
}

/// The Service leads to one revision while releases serve, and to what was there before when that is back.
#[test]
fn a_blue_green_component_goes_back_to_what_existed_before() {
    let mut env = environment("canary");
    let web = env.components.iter_mut().find(|component| component.id.as_str() == "web").unwrap();
    let Strategy::BlueGreen(how) = &mut web.strategy else { panic!("web is blue-green") };
    how.switch = Switch::Service;
    virtually(env, 19, async |story| {
        made_by_hand(story, "web", 2).await;
        assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert!(story.objects()["east Service/web"].contains("\"deployctl.dev/revision\":\"1\""));
        assert_eq!(story.bring_back(&Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!((story.sizes("east")["web"], story.sizes("east")["web-r1"]), (2, 0));
        let service = story
            .world
            .snapshot("east")
            .into_iter()
            .find(|object| object["kind"] == "Service" && object["metadata"]["name"] == "web");
        assert_eq!(service.unwrap()["spec"]["selector"], json!({"app": "web"}));
    });
}
