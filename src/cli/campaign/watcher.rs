//! Where the environment has a guard, one watches every story, from a machine of its own.

use super::theatre::{Silence, Story};
use crate::domain::release::Actor;
use crate::run::guard::{BEAT, Guard, Pulse};
use tokio::sync::watch;

impl Story<'_> {
    /// Watches, and never ends.
    pub(super) async fn guard(&self) {
        let env = &self.theatre.wanted.env;
        if env.guard.is_none() {
            return std::future::pending().await;
        }
        let (_, doors, _) = self.doors("guard");
        let by = Actor { user: "guard".to_owned(), host: "elsewhere".to_owned(), ci: None };
        let (pulse, (_stop, mut stopped)) = (Pulse::new(&doors, &by), watch::channel(false));
        let mut guard = Guard::new(env, &doors, by, &Silence);
        let beats = async {
            loop {
                pulse.beat(&doors).await;
                tokio::time::sleep(BEAT).await;
            }
        };
        let watches = async {
            loop {
                guard.watch(&mut stopped).await;
            }
        };
        tokio::join!(beats, watches);
    }
}
