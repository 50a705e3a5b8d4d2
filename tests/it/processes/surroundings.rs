//! Where a process finds itself: closed pipes, full disks, folders that cannot be written, no home.

use super::said::approved;
use super::stage::{QUICK, Stage};
use super::{RELEASE, Story};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

pub const STORIES: &[Story] = &[("pipes and disks", pipes), ("from nowhere", nowhere)];

/// Commands that are for nothing but what they print.
const READING: [&[&str]; 5] =
    [&["status", "prod"], &["render", "prod"], &["schema"], &["completions", "bash"], &["explain"]];

/// Runs a command whose reader goes away after the first line.
fn first_line(mut command: Command) -> (String, Option<i32>, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    // A small buffer: what was not read is not taken out of the pipe.
    let mut reader = BufReader::with_capacity(16, child.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    drop(reader);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (line, child.wait().unwrap().code(), stderr)
}

/// Runs a command whose standard output has no room left.
fn no_room(mut command: Command) -> (Option<i32>, String) {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A reader that has enough is no error; a disk that is full is one, unless the command did more than print.
fn pipes() {
    let stage = Stage::new("pipes", QUICK);
    for args in READING {
        let (line, code, stderr) = first_line(stage.desk.command(args));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(!line.is_empty(), "{args:?}");
    }
    if !std::path::Path::new("/dev/full").exists() {
        println!("skipped: this system has no /dev/full");
        return;
    }
    let why = "error: some of the output could not be written: No space left on device (os error 28)\n";
    for args in READING {
        assert_eq!(no_room(stage.desk.command(args)), (Some(1), why.to_owned()), "{args:?}");
    }
    assert_eq!(no_room(stage.desk.command(&RELEASE)), (Some(0), why.to_owned()), "a run is what it came to");
    assert_eq!(stage.answers(&stage.east), ["1.1.0".to_owned()].into());
}

/// A run from a folder that nobody can write, with no home and no user name; and what is said without a kubeconfig.
fn nowhere() {
    let stage = Stage::new("nowhere", QUICK);
    let mut command = stage.desk.command_from_nowhere(&RELEASE);
    command.env_remove("HOME").env_remove("USER");
    stage.desk.start_command(command, &RELEASE).end().with(0);
    let status = ["status", "prod"];
    let mut command = stage.desk.command_from_nowhere(&status);
    command.env("HOME", "/proc");
    approved("good.status.txt", &stage.desk.start_command(command, &status).end().with(0).said());
    let mut command = stage.desk.command_from_nowhere(&status);
    command.env("HOME", "/proc").env_remove("KUBECONFIG");
    approved("no-kubeconfig.txt", &stage.desk.start_command(command, &status).end().with(3).said());
}
