//! SIGTERM, as a CI system sends it to a job that is cancelled.

use super::machine::until;
use super::said::{approved, ending};
use super::stage::{STAYS, STAYS_NOW, Stage};
use super::{RELEASE, Story};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read as _, Write as _};

pub const STORIES: &[Story] = &[
    ("one signal, resumed", once),
    ("a terminal that goes away, and a job that is cancelled", insisted),
    ("a signal that nobody reads of", unread),
    ("a screen that stands still", still),
];

/// Traffic goes to stable, the lock is given back, and another machine goes on at once.
fn once() {
    let stage = Stage::new("once", STAYS);
    let mut run = stage.desk.start(&RELEASE);
    stage.holds(&mut run);
    run.signal(Signal::TERM);
    let interrupted = run.end().with(130);
    approved("interrupted.txt", &ending(&interrupted.stdout));
    for region in [&stage.east, &stage.west] {
        assert_eq!(stage.answers(region), ["1.0.0".to_owned()].into());
    }
    let elsewhere = stage.elsewhere("phone");
    approved("interrupted.status.txt", &elsewhere.run(&["status", "prod"]).with(0).said());
    let mut resumed = elsewhere.start(&["resume", "prod", "--auto-approve"]);
    resumed.says(STAYS_NOW);
    stage.elsewhere("tablet").run(&["promote", "prod", "--full"]).with(0);
    resumed.end().with(0);
    assert_eq!(stage.answers(&stage.east), ["1.1.0".to_owned()].into());
}

/// What shells and job runners send on their own is one interrupt, not somebody who insists.
fn insisted() {
    let stage = Stage::new("insisted", STAYS);
    let mut run = stage.desk.start(&RELEASE);
    stage.holds(&mut run);
    for signal in [Signal::HUP, Signal::HUP, Signal::INT, Signal::TERM, Signal::TERM] {
        run.signal(signal);
    }
    run.end().with(130);
    for region in [&stage.east, &stage.west] {
        assert_eq!(stage.answers(region), ["1.0.0".to_owned()].into());
    }
}

/// Whoever read stdout and stderr is gone: the traffic goes to stable all the same.
fn unread() {
    let stage = Stage::new("unread", STAYS);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = stage.desk.command(&RELEASE);
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = command.spawn().unwrap();
    drop((command, reader));
    let both = ["1.0.0".to_owned(), "1.1.0".to_owned()].into();
    until(|| stage.answers(&stage.east) == both, || "the new version gets no traffic".to_owned());
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(stage.answers(&stage.east), ["1.0.0".to_owned()].into());
}

/// Whoever should read the output does not (Ctrl-S, a pager): the run goes on, and hears the signal.
fn still() {
    let stage = Stage::new("still", STAYS);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut filler = writer.try_clone().unwrap();
    let full = std::thread::spawn(move || filler.write_all(&vec![b' '; 1 << 20]));
    let mut command = stage.desk.command(&RELEASE);
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = command.spawn().unwrap();
    drop(command);
    let both = ["1.0.0".to_owned(), "1.1.0".to_owned()].into();
    until(|| stage.answers(&stage.east) == both, || "the new version gets no traffic".to_owned());
    assert!(!full.is_finished(), "somebody reads");
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::TERM).unwrap();
    let stable = ["1.0.0".to_owned()].into();
    until(|| stage.answers(&stage.east) == stable, || "the traffic does not go to stable".to_owned());
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    full.join().unwrap().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", said.trim());
}
