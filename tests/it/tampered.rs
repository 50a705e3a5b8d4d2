//! Objects of a run that somebody changes by hand between its death and `resume`.

use crate::support::{Life, Story, Told, environment, virtually};
use async_trait::async_trait;
use deployctl::domain::event::Kind;
use deployctl::domain::secret::{SecretRef, SecretValue};
use deployctl::ports::secrets::{SecretError, Secrets};
use deployctl::run::tampered::{self, Tampered};
use deployctl::run::{Ending, unfinished};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};

use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Release 1.0.0 everywhere, then 1.1.0, whose process dies after so many seconds.
async fn dies_after(story: &Story, after: u64) {
    first(story).await;
    second_dies_after(story, after).await;
}

async fn first(story: &Story) {
    assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
    seconds(120).await;
    story.world.mark_stable();
}

async fn second_dies_after(story: &Story, after: u64) {
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

/// A run that was interrupted (as a guard does it, too), gone on with, and left again: what deployctl did is nobody's edit.
#[test]
fn a_way_back_of_our_own_is_nobodys_edit() {
    for (shop, after, again) in [
        ("nginx", 130, 20),
        ("nginx", 200, 20),
        ("nginx", 200, 60),
        ("nginx", 240, 75),
        ("nginx", 250, 15),
        ("canary", 200, 30),
    ] {
        virtually(environment(shop), 33, async |story| {
            first(story).await;
            let how =
                format!("{shop}, interrupted after {after} s, died {again} s after it was gone on with");
            let whole = Some(Duration::from_secs(after));
            let life = story.deploy_interrupted("1.1.0", &Told::default(), whole).await;
            assert_eq!(life, Life::Ended(Ending::Interrupted), "{how}");
            seconds(60).await;
            assert_eq!(told(&found(story).await), Vec::<String>::new(), "{how}: interrupted");
            let dies = async {
                seconds(again).await;
                *story.dies.lock().unwrap() = Some((story.written.load(Ordering::SeqCst), true));
            };
            let report = Told::default();
            let (life, ()) = tokio::join!(story.go_on(None, &report), dies);
            assert_eq!(life, Life::Died, "{how}");
            *story.dies.lock().unwrap() = None;
            seconds(60).await;
            assert_eq!(told(&found(story).await), Vec::<String>::new(), "{how}");
            assert_eq!(story.go_on(None, &Told::default()).await, Life::Ended(Ending::Deployed), "{how}");
        });
    }
}

/// A password that is changed with the second release.
struct Password(AtomicBool);

#[async_trait]
impl Secrets for Password {
    async fn read(&self, _: &SecretRef) -> Result<SecretValue, SecretError> {
        let second = self.0.load(Ordering::SeqCst);
        Ok(SecretValue::new(if second { "the second" } else { "the first" }.to_owned()))
    }
}

/// What a Secret's value refers to is put back, not the reference.
#[test]
fn a_secret_that_was_deleted_comes_back_with_its_value() {
    let mut env = environment("canary");
    let password = SecretRef::parse("${env:SHOP_PASSWORD}").unwrap();
    env.secrets.insert("keys".to_owned(), [("PASSWORD".to_owned(), password)].into());
    virtually(env, 34, async |story| {
        let mut story = story.under(story.env.clone());
        let password = Arc::new(Password(AtomicBool::new(false)));
        story.doors.secrets = Arc::clone(&password) as Arc<dyn Secrets>;
        let story = &story;
        first(story).await;
        password.0.store(true, Ordering::SeqCst);
        second_dies_after(story, 130).await;
        let secrets = objects(story, "west", "", "Secret");
        let list = || async { secrets.list(&kube::api::ListParams::default()).await.unwrap().items };
        let own = |items: Vec<DynamicObject>| {
            let second = |item: &DynamicObject| item.data["data"]["PASSWORD"] == "dGhlIHNlY29uZA==";
            items.into_iter().find(second)
        };
        let before = own(list().await).unwrap();
        secrets.delete(before.metadata.name.as_ref().unwrap(), &DeleteParams::default()).await.unwrap();
        seconds(60).await;
        let found = found(story).await;
        assert_eq!(told(&found).len(), 1, "{found:#?}");
        assert_eq!(story.go_on_putting_back(found, &Told::default()).await, Life::Ended(Ending::Deployed));
        assert_eq!(own(list().await).unwrap().data["data"], before.data["data"]);
    });
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
