//! Ways back that cannot be finished: every open item with its object, the server's words, and what to type; whole.

use super::stage::Refusal;
use super::{died_after, release, shop};
use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::cli::report::{ColorChoice, Facts, Format, Output, Printer, Reporter, Surroundings};
use deployctl::run::world::Report;
use deployctl::run::{Ending, unfinished};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The block that ends the report of the newest run, as `tests/golden/back/NAME.txt` and `.ndjson` have it.
pub(super) async fn assert_ends_as(name: &str, story: &Story, told: &Told) {
    let plan = unfinished::latest(&story.doors).await.unwrap().unwrap().plan;
    let page = |output| {
        let page = Page::default();
        let reporter =
            Reporter::new(Arc::new(Printer::new(output, Box::new(page.clone()))), Facts::of(&plan, false));
        let events = told.0.lock().unwrap();
        events.iter().for_each(|event| reporter.event(event));
        String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
    };
    let people = page(Output::plain());
    let machines = page(Output::new(Format::Json, ColorChoice::Never, &Surroundings::default()));
    let begins = people.rfind("\n✗ ").unwrap_or_else(|| panic!("{people}")) + 1;
    let last = machines.lines().rfind(|line| line.contains("run_finished") || line.contains("remaining"));
    for (kind, actual) in
        [("txt", people[begins..].to_owned()), ("ndjson", format!("{}\n", last.unwrap_or_default()))]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/back/{name}.{kind}"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &actual).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(expected == actual, "{name}.{kind} differs; it is now:\n{actual}");
    }
}

#[test]
fn an_undo_that_rights_forbid_is_told_with_the_command_that_does_it() {
    virtually(environment("canary"), 61, async |story| {
        release(story, "1.0.0").await;
        let words = "deployments.apps \"api-r2\" is forbidden: User \"ci\" cannot delete resource \"deployments\" in API group \"apps\" in the namespace \"shop\"";
        let denied = story.behind(vec![Refusal::of("west", "DELETE", "/deployments/api-r2", words)]);
        let told = Told::default();
        let life = denied.deploy("1.1.0-crash", &told).await;
        assert!(matches!(life, Life::Ended(Ending::Broken { serves: false, .. })), "{life:?}");
        assert_ends_as("denied", story, &told).await;
        // Once the right is there, the command that is told does the rest.
        let life = story.go_on(Some("taken back"), &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
    });
}

#[test]
fn an_object_that_a_webhook_refuses_is_told_in_its_words() {
    virtually(environment("canary"), 62, async |story| {
        release(story, "1.0.0").await;
        died_after(story, "1.1.0", 250).await;
        let words = "admission webhook \"routes.policy.example.com\" denied the request: no routes are changed at night";
        let refusing = story.behind(vec![Refusal::of("west", "PATCH", "/ingresses/", words)]);
        let told = Told::default();
        let life = refusing.go_on(Some("taken back by ana@desk"), &told).await;
        assert!(matches!(life, Life::Ended(Ending::Broken { serves: false, .. })), "{life:?}");
        assert_ends_as("webhook", story, &told).await;
        let life = story.go_on(Some("taken back"), &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
    });
}

/// What the autoscaler of the api looks after in the east.
fn looked_after(story: &Story) -> String {
    let objects = story.world.snapshot("east");
    let mut scalers = objects.iter().filter(|object| object["kind"] == "HorizontalPodAutoscaler");
    scalers.next().map_or_else(String::new, |scaler| scaler["spec"]["scaleTargetRef"]["name"].to_string())
}

#[test]
fn an_autoscaler_that_cannot_be_turned_back_holds_nothing_else_up() {
    virtually(environment("nginx"), 65, async |story| {
        release(story, "1.0.0").await;
        let mut before = story.objects();
        let told = Told::default();
        let handed_over = async {
            while !looked_after(story).contains("api-r2") {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            life = story.deploy("1.1.0", &told) => panic!("it ended first: {life:?}"),
            () = handed_over => {}
        }
        let words = "admission webhook \"sizes.policy.example.com\" denied the request: no sizes are changed at night";
        let refusing = story.behind(vec![Refusal::of("east", "PATCH", "/horizontalpodautoscalers/", words)]);
        let told = Told::default();
        let life = refusing.go_on(Some("taken back by ana@desk"), &told).await;
        let Life::Ended(Ending::Broken { remaining, serves: false, .. }) = &life else { panic!("{life:?}") };
        assert!(remaining.iter().all(|wrong| wrong.cause.contains("sizes.policy")), "{remaining:#?}");
        story.rest().await;
        let mut after = story.objects();
        for objects in [&mut before, &mut after] {
            objects.remove("east HorizontalPodAutoscaler/api");
        }
        assert_eq!(after, before, "all the rest is as it was");
        let life = story.go_on(Some("taken back"), &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        assert!(looked_after(story).contains("api-r1"));
    });
}

#[test]
fn a_stable_that_does_not_come_back_is_told_with_its_own_cause() {
    virtually(environment("canary"), 63, async |story| {
        release(story, "1.0.0").await;
        died_after(story, "1.1.0", 60).await;
        story.set_image("west", "api-r1", "example.com/api:missing").await;
        let told = Told::default();
        let life = story.go_on(Some("taken back by ana@desk"), &told).await;
        assert!(matches!(life, Life::Ended(Ending::Broken { serves: false, .. })), "{life:?}");
        assert_ends_as("stable", story, &told).await;
        story.set_image("west", "api-r1", "example.com/api:1.0.0").await;
        let life = story.go_on(Some("taken back"), &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
    });
}

#[test]
fn jobs_that_fail_on_the_way_back_to_an_older_release_are_told_with_what_serves() {
    virtually(shop("ok", "fail"), 64, async |story| {
        release(story, "1.0.0").await;
        release(story, "1.1.0").await;
        let told = Told::default();
        let life = story.bring_back(&told).await;
        assert!(matches!(life, Life::Ended(Ending::Broken { serves: true, .. })), "{life:?}");
        assert_ends_as("jobs", story, &told).await;
    });
}
