//! One pod of the new revision in the first live target, before the first weight of any canary.

use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::domain::effect::Effect;
use deployctl::domain::environment::{Environment, OneBox};
use deployctl::domain::event::Kind;
use deployctl::plan::Plan;
use deployctl::run::Ending;
use std::time::Duration;

/// The shop, with ten minutes of one pod.
fn boxed(shop: &str, max_share: u8) -> Environment {
    let mut env = environment(shop);
    env.one_box = Some(OneBox { bake: Duration::from_mins(10), max_share });
    env
}

async fn begin(story: &Story) {
    assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
    tokio::time::sleep(Duration::from_mins(2)).await;
    story.world.mark_stable();
}

/// `stage: title of each step`, of stages of the box and the one behind them.
fn stages(plan: &Plan) -> Vec<String> {
    let first = plan.stages.iter().position(|stage| stage.id.contains("one-box")).unwrap();
    let boxed = plan.stages[first..].iter().take_while(|stage| stage.id.contains("one-box")).count();
    let stages = plan.stages[first..=first + boxed].iter();
    stages
        .flat_map(|stage| stage.steps.iter().map(move |step| (stage, step)))
        .map(|(stage, step)| format!("{} {}: {}", step.target, stage.id, step.title))
        .collect()
}

#[test]
fn one_pod_stands_in_the_first_live_target_alone_before_the_first_weight() {
    virtually(boxed("canary", 10), 31, async |story| {
        begin(story).await;
        let plan = story.plan("1.1.0").await;
        assert_eq!(
            stages(&plan),
            [
                "east w2-one-box: HorizontalPodAutoscaler/api keeps at least 4 pods of api-r1 until the handover",
                "east w2-one-box: create api-r2 (example.com/api:1.1.0)",
                "east w2-one-box: scale api-r2 to 1 beside 4 (20 % of the pods)",
                "east w2-one-box: wait until api-r2 is ready",
                "east w2-one-box-check: smoke-test api-r2 directly",
                "east w2-one-box-bake: hold for 10m",
                "east w2-canary-20: scale api-r2 to 1 beside 4 (20 % of the pods)",
                "east w2-canary-20: wait until api-r2 is ready",
            ]
        );
        let warned =
            "east: one pod of api beside 4 is 20 % of its pods, more than `one_box.max_share` (10 %)"
                .to_owned();
        assert!(plan.warnings.contains(&warned), "{:?}", plan.warnings);
        let gates = plan.stages.iter().flat_map(|stage| &stage.steps).find_map(|step| match &step.effect {
            Effect::Hold { gates, arms, .. } if step.id.as_str().contains("one-box") => {
                Some((gates.len(), arms.len()))
            }
            _ => None,
        });
        assert_eq!(gates, Some((1, 1)), "the gate of the api, over its one pod");
    });
}

#[test]
fn a_router_sends_one_pod_no_more_than_its_share() {
    for (max_share, weight) in [(10, 10), (50, 20), (3, 3)] {
        virtually(boxed("nginx", max_share), 32, async |story| {
            begin(story).await;
            let stages = stages(&story.plan("1.1.0").await);
            let pods = "east w2-one-box: scale api-r2 to 1 beside 4, ";
            assert!(stages.iter().any(|line| line.starts_with(pods)), "{stages:#?}");
            let sent = format!("east w2-one-box-route: send {weight} % to api-r2 by ");
            assert!(stages.iter().any(|line| line.starts_with(&sent)), "{stages:#?}");
            assert!(stages.last().unwrap().contains("w2-canary-20"), "{stages:#?}");
        });
    }
}

#[test]
fn a_release_goes_through_the_box_and_on() {
    for shop in ["canary", "nginx"] {
        virtually(boxed(shop, 10), 33, async |story| {
            begin(story).await;
            let told = Told::default();
            let look = async {
                tokio::time::sleep(Duration::from_mins(6)).await;
                story.sizes("east")
            };
            let (life, sizes) = tokio::join!(story.deploy("1.1.0", &told), look);
            assert_eq!(life, Life::Ended(Ending::Deployed), "{shop}");
            assert_eq!((sizes["api-r1"], sizes["api-r2"]), (4, 1), "{shop}: one pod beside all of stable's");
            story.rest().await;
            assert_eq!((story.sizes("east")["api-r1"], story.sizes("east")["api-r2"]), (0, 4), "{shop}");
        });
    }
}

#[test]
fn what_is_broken_breaks_in_the_box() {
    for shop in ["canary", "nginx"] {
        virtually(boxed(shop, 10), 34, async |story| {
            begin(story).await;
            let (before, told) = (story.objects(), Told::default());
            let life = story.deploy("2.0.0-err30", &told).await;
            let Life::Ended(Ending::RolledBack { cause }) = life else { panic!("{shop}: {life:?}") };
            assert!(cause.contains("gate error-rate"), "{shop}: {cause}");
            let told = told.0.lock().unwrap().clone();
            let begun: Vec<String> = told
                .iter()
                .filter_map(|event| match &event.kind {
                    Kind::StageStarted { stage, .. } => Some(stage.clone()),
                    _ => None,
                })
                .collect();
            assert_eq!(begun.last().map(String::as_str), Some("w2-one-box-bake"), "{shop}: {begun:?}");
            story.rest().await;
            assert_eq!(story.objects(), before, "{shop}");
        });
    }
}

/// Killed while one pod bakes, at each of both ways on.
#[test]
fn a_run_that_is_killed_in_the_box_goes_on_or_back() {
    for back in [None, Some("taken back")] {
        virtually(boxed("nginx", 10), 35, async |story| {
            begin(story).await;
            let before = story.objects();
            let told = Told::default();
            tokio::select! {
                life = story.deploy("1.1.0", &told) => panic!("it ended first: {life:?}"),
                () = tokio::time::sleep(Duration::from_mins(6)) => {}
            }
            assert_eq!(story.sizes("east")["api-r2"], 1);
            let life = story.go_on(back, &Told::default()).await;
            story.rest().await;
            if back.is_some() {
                assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
                assert_eq!(story.objects(), before);
            } else {
                assert_eq!(life, Life::Ended(Ending::Deployed));
                assert_eq!(story.sizes("east")["api-r2"], 4);
            }
        });
    }
}

/// A way back to an older release has no box, and says what it does not undo.
#[test]
fn an_older_release_is_brought_back_without_a_box() {
    virtually(boxed("canary", 10), 36, async |story| {
        begin(story).await;
        assert_eq!(story.deploy("1.1.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        let request = story.request("", Some(deployctl::run::prepare::Rollback::Previous));
        let plan = deployctl::run::prepare::plan(&story.doors, &request).await.unwrap();
        assert!(plan.stages.iter().all(|stage| !stage.id.contains("one-box")));
        assert_eq!(story.bring_back(&Told::default()).await, Life::Ended(Ending::Deployed));
    });
}
