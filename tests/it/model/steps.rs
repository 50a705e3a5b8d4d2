//! One step: what a process does to it, what it leaves on record, and what the next process makes of that.

use deployctl::domain::step::{IllegalTransition, Status, Transition, next};
use std::collections::{BTreeSet, VecDeque};

type Table<'t> = &'t dyn Fn(Status, Transition) -> Result<Status, IllegalTransition>;

const STATUSES: [Status; 7] = [
    Status::Pending,
    Status::Started,
    Status::Done,
    Status::Failed,
    Status::Undoing,
    Status::Undone,
    Status::UndoFailed,
];
const EVENTS: [Transition; 6] = [
    Transition::Start,
    Transition::Finish,
    Transition::Fail,
    Transition::StartUndo,
    Transition::FinishUndo,
    Transition::FailUndo,
];

/// Whether a process goes forward or back; a way back never turns round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Forward,
    Back,
}

/// A step in a process and on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Both {
    memory: Status,
    record: Status,
    way: Way,
    /// Whether this process began it.
    begun: bool,
}

impl Both {
    fn key(self) -> String {
        format!("{self:?}")
    }
}

/// What the engine does next in this state. The records of the way forward are durable before it goes on; those of a
/// failure and of a way back are tried once and may be missing.
fn moves(both: Both) -> Vec<(Transition, bool, Way)> {
    use Status as S;
    use Transition as T;
    let mut moves = Vec::new();
    match (both.way, both.memory) {
        // A resume begins with the first stage that is not done, and does all of that and of the later ones.
        (Way::Forward, _) if !both.begun => moves.push((T::Start, true, Way::Forward)),
        (Way::Forward, S::Started) => {
            moves.extend([(T::Finish, true, Way::Forward), (T::Fail, false, Way::Back)]);
        }
        (Way::Back, S::Undoing) if both.begun => {
            moves.extend([(T::FinishUndo, false, Way::Back), (T::FailUndo, false, Way::Back)]);
        }
        _ => {}
    }
    // Something elsewhere fails, somebody asks: what was begun goes back. What failed to go back is left to the next
    // process.
    let done_with = both.begun && both.way == Way::Back && matches!(both.memory, S::Undoing | S::UndoFailed);
    if !matches!(both.memory, S::Pending | S::Undone) && !done_with {
        moves.push((T::StartUndo, false, Way::Back));
    }
    moves
}

/// Walks all that can be reached; the first thing that may not be.
fn walk(table: Table<'_>) -> Result<usize, String> {
    let first = Both { memory: Status::Pending, record: Status::Pending, way: Way::Forward, begun: false };
    let mut seen = BTreeSet::from([first.key()]);
    let mut queue = VecDeque::from([(first, Vec::<String>::new())]);
    while let Some((both, path)) = queue.pop_front() {
        let wrong = |what: String| Err(format!("{what}, after {}", path.join(", ")));
        let mut found = Vec::new();
        for (event, durable, way) in moves(both) {
            let memory = match table(both.memory, event) {
                Ok(memory) => memory,
                Err(illegal) => return wrong(format!("a process stops: {illegal}")),
            };
            match table(both.record, event) {
                Ok(record) => found.push((format!("{event:?}"), Both { memory, record, way, begun: true })),
                Err(illegal) => return wrong(format!("the journal counts as damaged: {illegal}")),
            }
            if !durable {
                found.push((format!("{event:?} (not recorded)"), Both { memory, way, begun: true, ..both }));
            }
        }
        // What did not get on record is recorded at the end of the way back, whether it got there without an answer or not.
        if (both.way, both.memory, both.begun) == (Way::Back, Status::Undone, true) {
            match table(both.record, Transition::FinishUndo) {
                Ok(record) => found.push(("FinishUndo (late)".to_owned(), Both { record, ..both })),
                Err(illegal) => return wrong(format!("the journal counts as damaged: {illegal}")),
            }
        }
        // The process dies; the next one, which goes on or takes back, knows what is on record.
        for way in [Way::Forward, Way::Back] {
            let next = Both { memory: both.record, way, begun: false, ..both };
            found.push((format!("crash, then {way:?}"), next));
        }
        for (what, next) in found {
            if seen.insert(next.key()) {
                queue.push_back((next, [path.clone(), vec![what]].concat()));
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn no_process_stops_and_no_journal_counts_as_damaged_whatever_was_not_recorded() {
    let states = walk(&next).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(states > 20, "only {states} states were walked");
}

#[test]
fn every_legal_transition_is_needed() {
    let mut needed = 0;
    for status in STATUSES {
        for event in EVENTS {
            if next(status, event).is_err() {
                continue;
            }
            let mutant = |s: Status, e: Transition| {
                if (s, e) == (status, event) {
                    Err(IllegalTransition { status: s, event: e })
                } else {
                    next(s, e)
                }
            };
            assert!(walk(&mutant).is_err(), "nothing needs {event:?} of a step that is {status:?}");
            needed += 1;
        }
    }
    assert!(needed > 12, "{needed}");
}

#[test]
fn what_was_never_begun_is_never_taken_back_and_only_a_begun_step_ends() {
    for event in EVENTS {
        assert_eq!(next(Status::Pending, event).is_ok(), event == Transition::Start, "{event:?}");
    }
    for status in STATUSES {
        for event in [Transition::Finish, Transition::Fail] {
            assert_eq!(next(status, event).is_ok(), status == Status::Started, "{status:?} {event:?}");
        }
    }
}
