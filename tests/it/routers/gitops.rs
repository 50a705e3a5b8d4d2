//! Argo CD heals what a rollout changes, unless it is paused; what the pause took is given back however the run ends.

use super::runs::{begin, shares, titles};
use crate::support::alerts;
use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::domain::environment::Environment;
use deployctl::domain::gitops::GitopsMode;
use deployctl::domain::object::ObjectRef;
use deployctl::ports::Cluster;
use deployctl::ports::cluster::Terms;
use deployctl::rollout::gitops::PAUSED;
use deployctl::run::Ending;
use deployctl::run::preflight::{self, Level};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn clusters(story: &Story) -> Vec<Arc<dyn Cluster>> {
    story.doors.sites.values().map(|site| Arc::clone(site.cluster().unwrap())).collect()
}

fn application() -> Value {
    json!({
    "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
    "metadata": {"name": "shop", "namespace": "argocd"},
    "spec": {
        "source": {"path": "shop-git"},
        "destination": {"server": "https://kubernetes.default.svc", "namespace": "shop"},
        "syncPolicy": {"automated": {"selfHeal": true, "prune": true}, "syncOptions": ["ServerSideApply=true"]},
    }})
}

/// What Git holds: the release's own route, with more in it.
async fn commit(story: &Story, more: &Value) {
    let mut rule = json!({"route": [{"destination": {"host": "api"}}]});
    for (key, value) in more.as_object().unwrap() {
        rule[key] = value.clone();
    }
    let route = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "api", "namespace": "shop"}, "spec": {"hosts": ["api.example"], "http": [rule]}});
    let repository = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "shop-git", "namespace": "argocd"}, "data": {"route.json": route.to_string()}});
    for cluster in clusters(story) {
        cluster.apply(&repository, Terms::FORCED).await.unwrap();
    }
}

async fn under_argo(story: &Story, application: &Value) {
    story.world.serve_argo();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}});
    for cluster in clusters(story) {
        cluster.apply(&namespace, Terms::FORCED).await.unwrap();
    }
    commit(story, &json!({})).await;
    for cluster in clusters(story) {
        cluster.apply(application, Terms::FORCED).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
}

/// The sync policy on each cluster, and whether a pause is noted.
async fn policies(story: &Story) -> Vec<(Value, bool)> {
    let mut found = Vec::new();
    for cluster in clusters(story) {
        let live = cluster.get(&ObjectRef::of(&application())).await.unwrap().unwrap();
        let noted = live["metadata"]["annotations"].get(PAUSED).is_some();
        found.push((live["spec"]["syncPolicy"].clone(), noted));
    }
    found
}

fn with(mode: GitopsMode) -> Environment {
    let mut env = environment("istio");
    env.gitops.mode = mode;
    env
}

fn untouched(found: &[(Value, bool)]) -> bool {
    let policy = &application()["spec"]["syncPolicy"];
    !found.is_empty() && found.iter().all(|(live, noted)| live == policy && !noted)
}

#[test]
fn argo_cd_takes_a_rollout_back_unless_it_is_paused() {
    for (mode, moves) in [(GitopsMode::Ignore, false), (GitopsMode::Pause, true)] {
        virtually(with(mode), 1, async |story| {
            begin(story).await;
            under_argo(story, &application()).await;
            let told = Told::default();
            let (life, shares) = tokio::join!(story.deploy("1.1.0", &told), shares(story));
            let near = |wanted: f64| shares.iter().filter(|share| (**share - wanted).abs() < 7.5).count();
            assert_eq!(near(20.0) >= 4 && near(50.0) >= 4, moves, "{mode:?}: {shares:.0?} {life:?}");
            if moves {
                assert_eq!(life, Life::Ended(Ending::Deployed));
                let titles = titles(&told);
                assert_eq!(titles[..2], ["go on to wave 2", "pause Application/shop"]);
                assert_eq!(titles.last().map(String::as_str), Some("let Application/shop sync again"));
                let of_argo = |alert: &&String| alert.contains("Application") || alert.contains("Argo");
                assert_eq!(alerts(&told).iter().filter(of_argo).count(), 0, "{:?}", alerts(&told));
            }
            assert!(untouched(&policies(story).await), "{mode:?}: {:?}", policies(story).await);
        });
    }
}

#[test]
fn a_way_back_gives_back_what_the_pause_took() {
    virtually(with(GitopsMode::Pause), 7, async |story| {
        begin(story).await;
        under_argo(story, &application()).await;
        let before = story.objects();
        let told = Told::default();
        let life = story.deploy("2.0.0-err30", &told).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        assert!(untouched(&policies(story).await), "{:?}", policies(story).await);
        story.rest().await;
        assert_eq!(story.objects(), before);
    });
}

#[test]
fn whoever_goes_on_with_a_run_ends_its_pause() {
    for back in [None, Some("asked by an operator")] {
        virtually(with(GitopsMode::Pause), 3, async |story| {
            begin(story).await;
            under_argo(story, &application()).await;
            let written = story.written.load(std::sync::atomic::Ordering::SeqCst);
            *story.dies.lock().unwrap() = Some((written + 30, true));
            assert_eq!(story.deploy("1.1.0", &Told::default()).await, Life::Died);
            let paused = policies(story).await;
            let held = paused.iter().any(|(policy, noted)| *noted && policy.get("automated").is_none());
            assert!(held, "{paused:?}");
            *story.dies.lock().unwrap() = None;
            let life = story.go_on(back, &Told::default()).await;
            let fits = match back {
                None => life == Life::Ended(Ending::Deployed),
                Some(_) => matches!(life, Life::Ended(Ending::RolledBack { .. })),
            };
            assert!(fits, "{life:?}");
            assert!(untouched(&policies(story).await), "{:?}", policies(story).await);
        });
    }
}

#[test]
fn what_git_holds_beside_the_release_is_told_when_the_pause_ends() {
    virtually(with(GitopsMode::Pause), 1, async |story| {
        begin(story).await;
        under_argo(story, &application()).await;
        let told = Told::default();
        let later = async {
            while policies(story).await.iter().any(|(_, noted)| !noted) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            commit(story, &json!({"timeout": "3s"})).await;
        };
        let (life, ()) = tokio::join!(story.deploy("1.1.0", &told), later);
        assert_eq!(life, Life::Ended(Ending::Deployed));
        let differs = "Application/shop syncs by itself again, and Git differs in VirtualService/api: Argo CD writes what Git holds";
        assert!(alerts(&told).iter().any(|alert| alert == differs), "{:#?}", alerts(&told));
        story.rest().await;
        let route = ObjectRef::new("networking.istio.io/v1", "VirtualService", "shop", "api");
        let found = clusters(story)[0].get(&route).await.unwrap().unwrap();
        assert_eq!(found["spec"]["http"][0]["timeout"], "3s");
    });
}

#[test]
fn the_plan_tells_who_writes_from_git() {
    virtually(with(GitopsMode::Pause), 1, async |story| {
        begin(story).await;
        let mut manual = application();
        manual["spec"]["syncPolicy"] = json!({"syncOptions": ["ServerSideApply=true"]});
        under_argo(story, &manual).await;
        let said = |warnings: Vec<String>| {
            warnings
                .into_iter()
                .filter(|warning| warning.starts_with("east: ") && warning.contains("Argo"))
                .collect::<Vec<_>>()
        };
        assert_eq!(said(story.plan("1.1.0").await.warnings), Vec::<String>::new());
        for cluster in clusters(story) {
            cluster.apply(&application(), Terms::FORCED).await.unwrap();
        }
        assert_eq!(
            said(story.plan("1.1.0").await.warnings),
            [
                "east: Argo CD's Application/shop writes VirtualService/api from Git by itself; it is paused until the run is over, and then writes what Git holds: Git must hold 1.1.0 by then, or it brings back what was before"
            ]
        );
        let route = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "api", "namespace": "shop",
                "annotations": {"argocd.argoproj.io/tracking-id": "hub:networking.istio.io/VirtualService:shop/api"}}});
        clusters(story)[0]
            .modify(&ObjectRef::of(&route), &|_| Some(json!({"metadata": route["metadata"]})))
            .await
            .unwrap();
        let said = said(story.plan("1.1.0").await.warnings);
        let hub = "east: VirtualService/api say that Argo CD's Application hub manages them; it is not in argocd here, so nobody pauses it: if it syncs by itself it writes over the run";
        assert!(said.iter().any(|line| line == hub), "{said:#?}");
    });
}

async fn checks(story: &Story) -> Vec<(Level, String)> {
    let plan = story.plan("1.1.0").await;
    let checks = preflight::check(&story.env, &story.doors, &plan).await;
    let own = checks.into_iter().filter(|check| {
        check.name == "gitops" && check.target.as_ref().is_some_and(|target| target.as_str() == "east")
    });
    own.map(|check| (check.level, check.detail)).collect()
}

#[test]
fn preflight_refuses_where_it_is_asked_to_and_where_no_pause_holds() {
    virtually(with(GitopsMode::Refuse), 1, async |story| {
        begin(story).await;
        let mut made = application();
        made["metadata"]["ownerReferences"] = json!([{"apiVersion": "argoproj.io/v1alpha1",
            "kind": "ApplicationSet", "name": "all", "uid": "4711"}]);
        let mut set = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet",
            "metadata": {"name": "all", "namespace": "argocd"}, "spec": {}});
        story.world.serve_argo();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}});
        for cluster in clusters(story) {
            cluster.apply(&namespace, Terms::FORCED).await.unwrap();
            cluster.apply(&set, Terms::FORCED).await.unwrap();
            let live = cluster.get(&ObjectRef::of(&set)).await.unwrap().unwrap();
            made["metadata"]["ownerReferences"][0]["uid"] = live["metadata"]["uid"].clone();
            cluster.apply(&made, Terms::FORCED).await.unwrap();
        }
        commit(story, &json!({})).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        let refused = "Argo CD's Application/shop writes VirtualService/api of this release from Git and would put it back while the run goes on";
        assert_eq!(checks(story).await, [(Level::Fail, refused.to_owned())]);

        let pausing = story.under(with(GitopsMode::Pause));
        let taken = "Application/shop is made by ApplicationSet/all, which takes a pause back at once";
        assert_eq!(checks(&pausing).await, [(Level::Fail, taken.to_owned())]);
        set["spec"] = json!({"ignoreApplicationDifferences": [{"jsonPointers": ["/spec/syncPolicy"]}],
                             "preservedFields": {"annotations": [PAUSED]}});
        for cluster in clusters(story) {
            cluster.apply(&set, Terms::FORCED).await.unwrap();
        }
        let fine = "Argo CD Application/shop is paused until the run is over";
        assert_eq!(checks(&pausing).await, [(Level::Pass, fine.to_owned())]);
    });
}
