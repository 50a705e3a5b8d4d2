//! Objects of a run that somebody changes by hand between its death and `resume`.

use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::domain::event::Kind;
use deployctl::run::tampered::{self, Tampered};
use deployctl::run::{Ending, unfinished};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Release 1.0.0 everywhere, then 1.1.0, whose process dies after so many seconds.
async fn dies_after(story: &Story, after: u64) {
    assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
    seconds(120).await;
    story.world.mark_stable();
    let dies = async {
        seconds(after).await;
        *story.dies.lock().unwrap() = Some((story.written.load(Ordering::SeqCst), true));
    };
    let told = Told::default();
    let (life, ()) = tokio::join!(story.deploy("1.1.0", &told), dies);
    assert_eq!(life, Life::Died);
    *story.dies.lock().unwrap() = None;
}

fn objects(story: &Story, target: &str, group: &str, kind: &str) -> Api<DynamicObject> {
    let client = kube::Client::new(story.world.api(target), "shop");
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    Api::namespaced_with(client, "shop", &resource)
}

/// `kubectl edit`, as an operator would.
async fn edit(api: &Api<DynamicObject>, name: &str, change: Value) {
    let by_hand = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
    api.patch(name, &by_hand, &Patch::Merge(&change)).await.unwrap();
}

async fn found(story: &Story) -> Vec<Tampered> {
    let run = unfinished::latest(&story.doors).await.unwrap().unwrap();
    assert!(run.is_unfinished());
    tampered::look(&story.doors, &run).await.unwrap()
}

/// Without the times.
fn told(found: &[Tampered]) -> Vec<String> {
    let line = |found: &Tampered, line: &String| {
        let line = line.split(", 20").next().unwrap_or_default();
        format!("{}: {} {line}", found.target, found.object)
    };
    found.iter().flat_map(|found| found.lines.iter().map(move |one| line(found, one))).collect()
}

#[test]
fn nothing_is_found_where_nobody_changed_anything() {
    for after in [3, 30, 60, 95, 130, 170, 200] {
        virtually(environment("canary"), 31, async |story| {
            dies_after(story, after).await;
            seconds(60).await;
            assert_eq!(told(&found(story).await), Vec::<String>::new(), "after {after} s");
        });
    }
}

#[test]
fn what_was_changed_by_hand_is_told_and_put_back_before_the_run_goes_on() {
    virtually(environment("canary"), 32, async |story| {
        dies_after(story, 130).await;
        // The west has been on the new release for a while, the east is in the middle of its canary.
        let west = objects(story, "west", "apps", "Deployment");
        let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "worker", "image": "example.com/worker:evil"}]}}}});
        edit(&west, "worker", image).await;
        edit(&west, "web-r2", json!({"spec": {"replicas": 1}})).await;
        west.delete("api-r2", &DeleteParams::default()).await.unwrap();
        let services = objects(story, "west", "", "Service");
        edit(&services, "web", json!({"spec": {"selector": {"deployctl.dev/revision": "1"}}})).await;
        seconds(60).await;
        let found = found(story).await;
        let lines = told(&found);
        let has = |wanted: &str| lines.iter().any(|line| line.contains(wanted));
        assert!(
            has(
                "west: Deployment/worker spec.template.spec.containers[name=worker].image: \"example.com/worker:1.1.0\" → \"example.com/worker:evil\" (kubectl-edit"
            ),
            "{lines:#?}"
        );
        assert!(has("west: Deployment/web-r2 spec.replicas: now 1 (kubectl-edit"), "{lines:#?}");
        assert!(has("west: Deployment/api-r2 is gone"), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.starts_with("east")), "{lines:#?}");

        let report = Told::default();
        let life = story.go_on_putting_back(found, &report).await;
        assert_eq!(life, Life::Ended(Ending::Deployed));
        let put_back = report.0.lock().unwrap().iter().any(|event| {
            let Kind::Alert { message, .. } = &event.kind else { return false };
            message.starts_with("Deployment/worker is put back")
        });
        assert!(put_back, "the run says what it overwrote");
        story.rest().await;
        let sizes = story.sizes("west");
        assert_eq!((sizes["api-r2"], sizes["web-r2"]), (4, 2));
        let objects = story.objects();
        assert!(objects["west Deployment/worker"].contains("worker:1.1.0"), "{objects:#?}");
        assert!(objects["west Service/web"].contains("\"deployctl.dev/revision\":\"2\""), "{objects:#?}");
    });
}
