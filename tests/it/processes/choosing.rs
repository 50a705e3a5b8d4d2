//! What `rollback` brings back, what it says beforehand, and what it refuses.

use super::machine::{Done, Machine, until};
use super::region::Region;
use super::said::approved;
use super::stage::{QUICK, STAYS, STAYS_NOW, Stage};
use super::{RELEASE, Story};
use rustix::process::Signal;

pub const STORIES: &[Story] = &[
    ("back, and not forth again", once),
    ("typed again while a region is silent", silent),
    ("a run that is owed to a silent region", owed),
    ("releases that went to one region", apart),
    ("a region that came later", later),
    ("a Job of the way back that failed", job),
    ("a Job of the way back alone", job_alone),
    ("a Secret that is gone", secret),
    ("a kubeconfig without one region", blind),
    ("one region of a run that died", one_region),
    ("a rollback that died", died),
];

/// Who types `rollback` after somebody whose rollback died goes on with it: nobody wants the release back that is left.
fn died() {
    let stage = Stage::new("died", QUICK);
    stage.desk.run(&RELEASE).with(0);
    let back = stage.desk.start(&BACK);
    let grows = || !stage.objects()["east Deployment/api-r1"].starts_with("0 ");
    until(grows, || "the older release gets no pods".to_owned());
    back.signal(Signal::KILL);
    assert_eq!(back.end().signal, Some(9));
    stage.wait_for_leases_to_lapse();
    let phone = stage.elsewhere("phone");
    holds(
        &phone.run(&["status", "prod"]).with(0),
        &["goes on bringing r1 back, as resume does; with --to 2 it gives that up"],
    );
    let done = phone.run(&BACK).with(0);
    holds(&done, &["brings 1.0.0 (r1) back and stopped in the middle: it is gone on with"]);
    serves(&stage, &stage.east, "1.0.0");
    serves(&stage, &stage.west, "1.0.0");
}

const BACK: [&str; 3] = ["rollback", "prod", "--auto-approve"];
const THIRD: [&str; 5] = ["deploy", "prod", "--auto-approve", "--version", "1.2.0"];

fn to(revision: &str) -> [&str; 5] {
    ["rollback", "prod", "--auto-approve", "--to", revision]
}

fn serves(stage: &Stage, region: &Region, version: &str) {
    assert_eq!(stage.answers(region), [version.to_owned()].into(), "{}", region.name);
}

fn history(machine: &Machine) -> String {
    machine.run(&["history", "prod"]).with(0).stdout
}

/// What was said holds all of these.
fn holds(done: &Done, texts: &[&str]) {
    let said = done.said();
    for text in texts {
        assert!(said.contains(text), "`{text}` is not in:\n{said}");
    }
}

/// The release that was left is not brought back by another `rollback`, and nothing is done where nothing is to be done.
fn once() {
    let stage = Stage::new("once", QUICK);
    stage.desk.run(&RELEASE).with(0);
    let phone = stage.elsewhere("phone");
    holds(&phone.run(&BACK).with(0), &["permissions", "Preflight: "]);
    let before = history(&phone);
    approved("again.rollback.txt", &phone.run(&BACK).with(2).said());
    for number in ["1", "3"] {
        let refused = phone.run(&to(number)).with(2);
        holds(&refused, &["error[DC0636]: 1.0.0 (r", ") serves already on east, west"]);
    }
    assert_eq!(history(&phone), before, "nothing is on record of what was refused");
    serves(&stage, &stage.east, "1.0.0");
    phone.run(&to("2")).with(0);
    serves(&stage, &stage.east, "1.1.0");
    serves(&stage, &stage.west, "1.1.0");
}

/// West is silent, then silent still, then back: east never leaves what it went back to, and west joins it.
fn silent() {
    let stage = Stage::new("silent", QUICK);
    stage.desk.run(&RELEASE).with(0);
    let phone = stage.elsewhere("phone");
    stage.west.open(false);
    holds(&phone.run(&BACK).with(9), &["west is left out and owed the way back to r1"]);
    let again = phone.run(&BACK).with(2);
    holds(
        &again,
        &[
            "error[DC0606]: there is no release before the one that serves on east",
            "west is owed the way back to r1",
            "next:  deployctl resume prod",
        ],
    );
    serves(&stage, &stage.east, "1.0.0");
    stage.west.open(true);
    let joins = phone.run(&BACK).with(0);
    holds(&joins, &["east stays as it is: it serves 1.0.0 (r3), which is older than what goes back now"]);
    serves(&stage, &stage.east, "1.0.0");
    serves(&stage, &stage.west, "1.0.0");
    holds(&phone.run(&["resume", "prod", "--auto-approve"]).with(2), &["no target is owed anything"]);
}

/// The third release is aborted while west is silent: east is back on the second, and stays there.
fn owed() {
    let stage = Stage::new("owed", STAYS);
    let phone = stage.elsewhere("phone");
    let mut second = stage.desk.start(&RELEASE);
    second.says(STAYS_NOW);
    phone.run(&["promote", "prod", "--full"]).with(0);
    second.end().with(0);
    let mut third = stage.desk.start(&THIRD);
    third.says(STAYS_NOW);
    stage.west.open(false);
    phone.run(&["abort", "prod", "--no-wait"]);
    third.end().with(9);
    serves(&stage, &stage.east, "1.1.0");
    let refused = phone.run(&BACK).with(9);
    holds(
        &refused,
        &[
            "error[DC0655]: run r000003-",
            "(1.2.0) is still to be taken back on west",
            "east is back on 1.1.0 (r2) already",
            "next:  deployctl resume prod  # once west answers",
            "next:  deployctl rollback prod --to 1  # if that is what you want",
        ],
    );
    serves(&stage, &stage.east, "1.1.0");
    stage.west.open(true);
    phone.run(&["resume", "prod", "--auto-approve"]).with(5);
    serves(&stage, &stage.west, "1.1.0");
}

/// The second release went to the east only, so that the one before is not the same in both regions.
fn apart() {
    let stage = Stage::new("apart", QUICK);
    stage.desk.run(&[&RELEASE[..], &["--target", "east"]].concat()).with(0);
    stage.desk.run(&THIRD).with(0);
    let phone = stage.elsewhere("phone");
    let before = history(&phone);
    approved("apart.rollback.txt", &phone.run(&BACK).with(2).said());
    assert_eq!(history(&phone), before);
    phone.run(&[&to("1")[..], &["--target", "west"]].concat()).with(0);
    serves(&stage, &stage.east, "1.2.0");
    serves(&stage, &stage.west, "1.0.0");
}

/// West came with the second release: it has nothing to go back to, is owed nothing, and holds nobody up.
fn later() {
    for (name, without) in [("later", &[][..]), ("later-without", &["--without", "west"])] {
        let stage = Stage::from_nothing(name, QUICK);
        stage.desk.run(&["deploy", "prod", "--auto-approve", "--target", "east"]).with(0);
        stage.desk.run(&RELEASE).with(0);
        let phone = stage.elsewhere("phone");
        let back = phone.run(&[&BACK[..], without].concat()).with(0);
        let told = if without.is_empty() {
            "west stays as it is: 1.1.0 (r2) is the first release on record there"
        } else {
            "west is left out and owed nothing: r1 serves there already, or never did"
        };
        holds(&back, &[told]);
        assert!(!back.said().contains("owed the way"), "{}", back.said());
        serves(&stage, &stage.east, "1.0.0");
        serves(&stage, &stage.west, "1.1.0");
        holds(&phone.run(&["resume", "prod", "--auto-approve"]).with(2), &["no target is owed anything"]);
    }
}

/// From now on the desk's releases hold a Job that migrates, and one that undoes it: `ok` or `fail`.
fn with_jobs(stage: &Stage, down: &str) {
    let job = |name: &str, image: &str, annotations: &str| {
        format!(
            "---\napiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, annotations: {annotations}}}\nspec:\n  backoffLimit: 0\n  \
             template: {{spec: {{restartPolicy: Never, containers: [{{name: it, image: 'example.com/{image}'}}]}}}}\n"
        )
    };
    let jobs = job("migrate", "migrate:ok", "{}")
        + &job("unmigrate", &format!("unmigrate:{down}"), "{deployctl.dev/on: rollback}");
    std::fs::write(stage.desk.folder.0.join("manifests/api/jobs.yaml"), jobs).unwrap();
}

/// The older release serves, and what should undo the migration failed: another `rollback` ends that run and brings nothing
/// back over a schema that nobody knows.
fn job() {
    let stage = Stage::new("job", QUICK);
    with_jobs(&stage, "fail");
    stage.desk.run(&RELEASE).with(0);
    let phone = stage.elsewhere("phone");
    phone.run(&BACK).with(6);
    serves(&stage, &stage.east, "1.0.0");
    let ended = phone.run(&BACK).with(0);
    holds(&ended, &["1.0.0 serves, as r1 did; its run is ended, and nothing goes further back"]);
    serves(&stage, &stage.east, "1.0.0");
    serves(&stage, &stage.west, "1.0.0");
}

/// Nothing differs but what a Job did, which another Job undoes: that is asked for, too.
fn job_alone() {
    let stage = Stage::new("job-alone", QUICK);
    with_jobs(&stage, "ok");
    stage.desk.run(&["deploy", "prod", "--auto-approve"]).with(0);
    let job = |name: &str| format!("/apis/batch/v1/namespaces/shop/jobs/{name}");
    for region in [&stage.east, &stage.west] {
        stage.delete_by_hand(region, &job("migrate"));
    }
    let jobs = || {
        stage.world(|world| {
            let all = world.snapshot("east");
            all.iter()
                .filter(|object| object["kind"] == "Job")
                .map(|object| object["metadata"]["name"].to_string())
                .collect::<Vec<_>>()
        })
    };
    let phone = stage.elsewhere("phone");
    holds(
        &phone.run(&["rollback", "prod"]).with(8),
        &["0 to create, 0 to change, 0 to delete", "error[DC0701]"],
    );
    assert!(jobs().is_empty(), "nobody said yes: {:?}", jobs());
    phone.run(&BACK).with(0);
    assert_eq!(jobs(), ["\"unmigrate-r2\""]);
}

/// The Secret of the second release is gone, and its source has been rotated since.
fn secret() {
    let stage = Stage::new("secret", QUICK);
    let file = stage.desk.folder.0.join("environments/prod.yaml");
    let text = std::fs::read_to_string(&file).unwrap() + "secrets: {db: {PASSWORD: \"${env:PW}\"}}\n";
    std::fs::write(file, text).unwrap();
    let with = |machine: &Machine, args: &[&str], value: &str| {
        let mut command = machine.command(args);
        command.env("PW", value);
        machine.start_command(command, args).end()
    };
    with(&stage.desk, &RELEASE, "the-first-value").with(0);
    let second = stage.world(|world| {
        let all = world.snapshot("east");
        let own = all
            .iter()
            .filter(|object| object["kind"] == "Secret" && object["metadata"]["namespace"] == "shop");
        let mut names = own.map(|object| object["metadata"]["name"].as_str().unwrap_or_default().to_owned());
        names.find(|name| name.starts_with("db-")).unwrap()
    });
    with(&stage.desk, &THIRD, "the-other-value").with(0);
    for region in [&stage.east, &stage.west] {
        stage.delete_by_hand(region, &format!("/api/v1/namespaces/shop/secrets/{second}"));
    }
    let phone = stage.elsewhere("phone");
    let refused = with(&phone, &BACK, "the-other-value").with(3);
    holds(
        &refused,
        &[
            "error[DC0641]: 1.1.0 (r2) cannot be brought back",
            "is gone and has to be made anew; key PASSWORD: ${env:PW} has another value now",
            "next:  provide ${env:PW} with the value that it had for r2, then the same command again",
        ],
    );
    serves(&stage, &stage.east, "1.2.0");
    with(&phone, &BACK, "the-first-value").with(0);
    serves(&stage, &stage.east, "1.1.0");
}

/// A kubeconfig that has lost the context of west blinds no command for the east.
fn blind() {
    let stage = Stage::new("blind", QUICK);
    stage.desk.run(&RELEASE).with(0);
    let (phone, before) = (stage.elsewhere("phone"), stage.objects());
    for machine in [&phone, &stage.desk] {
        machine.knows(&[&stage.east]);
    }
    approved("blind.status.txt", &phone.run(&["status", "prod"]).with(0).said());
    let refused = stage.desk.run(&THIRD).with(3);
    holds(&refused, &["error[DC0605]", "no context `west`", "deployctl prod --without west"]);
    assert_eq!(stage.objects(), before);
    stage.desk.run(&[&THIRD[..], &["--without", "west", "--dry-run"]].concat()).with(0);
    let back = phone.run(&BACK).with(9);
    holds(&back, &["no answer: west (no contact with west: the kubeconfig has no context `west`"]);
    holds(&back, &["west is left out and owed the way back to r1"]);
    serves(&stage, &stage.east, "1.0.0");
    holds(&phone.run(&["resume", "prod", "--auto-approve"]).with(9), &["error[DC0652]"]);
    phone.knows(&[&stage.east, &stage.west]);
    phone.run(&["resume", "prod", "--auto-approve"]).with(0);
    serves(&stage, &stage.west, "1.0.0");
}

/// One region of a run whose process is gone is taken back by name; the other one is owed the same.
fn one_region() {
    let stage = Stage::new("one-region", STAYS);
    let before = stage.objects();
    let mut run = stage.desk.start(&RELEASE);
    stage.holds(&mut run);
    run.signal(Signal::KILL);
    run.end();
    stage.wait_for_leases_to_lapse();
    let phone = stage.elsewhere("phone");
    phone.knows(&[&stage.east]);
    let back = phone.run(&[&BACK[..], &["--target", "east"]].concat()).with(9);
    holds(&back, &["left out by --target"]);
    serves(&stage, &stage.east, "1.0.0");
    phone.knows(&[&stage.east, &stage.west]);
    phone.run(&["resume", "prod", "--auto-approve"]).with(5);
    assert_eq!(stage.objects(), before);
}
