//! The processes of operators' machines, as the API servers know them: who they are, how much they wrote, when they die.

use std::collections::BTreeMap;

use tokio::sync::watch;

use super::kube::request::RequestInfo;

/// When a process dies: at a write, counted over all processes of the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// Number of the write, from 0.
    pub at: u64,
    /// Whether the write is still carried out.
    pub after: bool,
}

/// What becomes of a request of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing stands against it.
    Lives,
    /// The process is dead: nobody asks any more.
    Dead,
    /// The process dies once it is carried out.
    DiesAfter,
}

/// All processes of a story.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    writes: u64,
    deaths: Vec<Death>,
    known: BTreeMap<String, Life>,
}

#[derive(Clone, Debug)]
struct Life {
    dead: watch::Sender<bool>,
    requests: u64,
}

impl Processes {
    /// A process begins; what is returned turns true when it dies.
    pub fn begin(&mut self, name: &str) -> watch::Receiver<bool> {
        let life = Life { dead: watch::Sender::new(false), requests: 0 };
        let dead = life.dead.subscribe();
        self.known.insert(name.to_owned(), life);
        dead
    }

    /// One more death to come.
    pub fn schedule(&mut self, death: Death) {
        self.deaths.push(death);
    }

    /// Whether such a process was begun here.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    /// Writes so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Requests of a process so far.
    #[must_use]
    pub fn requests(&self, name: &str) -> u64 {
        self.known.get(name).map_or(0, |life| life.requests)
    }

    /// A process of this name sends a request.
    pub fn meet(&mut self, name: &str, request: &RequestInfo) -> Fate {
        let Some(life) = self.known.get_mut(name) else { return Fate::Lives };
        life.requests += 1;
        if *life.dead.borrow() {
            return Fate::Dead;
        }
        if !changes_something(request) {
            return Fate::Lives;
        }
        let number = self.writes;
        self.writes += 1;
        let Some(death) = self.deaths.iter().find(|death| death.at == number) else { return Fate::Lives };
        life.dead.send_replace(true);
        if death.after { Fate::DiesAfter } else { Fate::Dead }
    }
}

/// Whether a request is there to change something; reviews and dry runs are questions.
#[must_use]
pub fn changes_something(request: &RequestInfo) -> bool {
    request.is_write() && !request.dry_run() && !request.resource.ends_with("reviews")
}
