//! What an operator asks of a run that goes on elsewhere, and what all that was asked amounts to. Pure.

use crate::domain::ids::RunId;
use crate::domain::release::Actor;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One wish: created in every target that can be reached, read by the run, never rewritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// [`crate::domain::release::FORMAT`] of the writer.
    pub format: u32,
    /// The same in every target's copy: one wish is obeyed once.
    pub id: String,
    /// 1-based; grows from one wish to the next.
    pub number: u64,
    /// The run that it speaks to.
    pub run: RunId,
    /// The process of the run that it speaks to: a pause does not outlive it.
    pub epoch: u64,
    /// When, by the asker's clock.
    pub at: Timestamp,
    /// Who.
    pub by: Actor,
    /// What.
    pub wish: Wish,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What can be asked of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// Go on: this stage, which the asker saw, holds no longer.
    Promote {
        /// Name of the stage.
        stage: String,
    },
    /// Go on to the end without holding again. Smoke tests stay, and so do approvals.
    PromoteFull,
    /// Stay at the present weight; the clocks of holds stop.
    Pause,
    /// Go on from a pause.
    Resume,
    /// What this stage waits for is approved.
    Approve {
        /// Name of the stage.
        stage: String,
    },
    /// Take everything back.
    Abort {
        /// The version that takes its place, if that is why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        superseded_by: Option<String>,
    },
}

impl Wish {
    /// `promote`, `pause`, … as the command is called.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Promote { .. } => "promote",
            Self::PromoteFull => "promote --full",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Approve { .. } => "approve",
            Self::Abort { .. } => "abort",
        }
    }
}

impl Intent {
    /// `ana@desk: too many tickets`, or without a reason `ana@desk`.
    #[must_use]
    pub fn who(&self) -> String {
        match &self.reason {
            Some(reason) => format!("{}: {reason}", self.by),
            None => self.by.to_string(),
        }
    }

    /// One line of a record: `2026-01-05T03:00:00Z pause by ana@desk: too many tickets`.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {} by {}", self.at.strftime("%Y-%m-%dT%H:%M:%SZ"), self.wish.verb(), self.who())
    }

    /// Why a run that was told to abort turns back.
    #[must_use]
    pub fn cause(&self) -> String {
        match &self.wish {
            Wish::Abort { superseded_by: Some(version) } => {
                format!("superseded by {version}, asked by {}", self.by)
            }
            _ => format!("aborted by {}", self.who()),
        }
    }
}

/// What all wishes together amount to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Take everything back. Beats all others, whenever it was asked.
    pub abort: Option<Intent>,
    /// Stay where it is.
    pub pause: Option<Intent>,
    /// Hold no more.
    pub full: Option<Intent>,
    /// Stages that hold no longer.
    pub promoted: BTreeMap<String, Intent>,
    /// Stages that are approved.
    pub approved: BTreeMap<String, Intent>,
}

impl Orders {
    /// The join of what was asked, in any order, each wish once or more: `epoch` is the process that obeys.
    #[must_use]
    pub fn of<'i>(intents: impl IntoIterator<Item = &'i Intent>, epoch: u64) -> Self {
        let mut sorted: Vec<&Intent> = intents.into_iter().collect();
        sorted.sort_by_key(|intent| (intent.number, intent.at, intent.id.as_str()));
        let mut orders = Self::default();
        for intent in sorted {
            match &intent.wish {
                Wish::Abort { .. } => {
                    orders.abort.get_or_insert_with(|| intent.clone());
                }
                // Whoever goes on with a run that had stopped has decided that it goes on.
                Wish::Pause if intent.epoch == epoch => orders.pause = Some(intent.clone()),
                Wish::Pause => {}
                Wish::Resume => orders.pause = None,
                Wish::Promote { stage } => {
                    orders.pause = None;
                    orders.promoted.insert(stage.clone(), intent.clone());
                }
                Wish::PromoteFull => {
                    orders.pause = None;
                    orders.full = Some(intent.clone());
                }
                Wish::Approve { stage } => {
                    orders.approved.insert(stage.clone(), intent.clone());
                }
            }
        }
        orders
    }

    /// Who ends the hold of this stage before its time, if anybody.
    #[must_use]
    pub fn skips(&self, stage: &str) -> Option<&Intent> {
        self.promoted.get(stage).or(self.full.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(number: u64, epoch: u64, wish: Wish) -> Intent {
        Intent {
            format: 1,
            id: format!("{number}"),
            number,
            run: RunId::new("r1"),
            epoch,
            at: Timestamp::UNIX_EPOCH,
            by: Actor { user: "ana".into(), host: "desk".into(), ci: None },
            wish,
            reason: None,
        }
    }

    #[test]
    fn abort_beats_promote_in_whatever_order_targets_tell_them() {
        let abort = intent(1, 1, Wish::Abort { superseded_by: None });
        let full = intent(2, 1, Wish::PromoteFull);
        for told in [[&abort, &full], [&full, &abort]] {
            assert_eq!(Orders::of(told, 1).abort.as_ref(), Some(&abort));
        }
    }

    #[test]
    fn the_last_of_pause_and_resume_counts_and_a_pause_dies_with_its_process() {
        let (pause, resume) = (intent(1, 1, Wish::Pause), intent(2, 1, Wish::Resume));
        assert!(Orders::of([&pause], 1).pause.is_some());
        assert!(Orders::of([&resume, &pause], 1).pause.is_none());
        assert!(Orders::of([&pause], 2).pause.is_none());
        assert!(Orders::of([&resume, &intent(3, 1, Wish::Pause)], 1).pause.is_some());
    }

    #[test]
    fn a_promote_speaks_to_the_stage_that_its_asker_saw() {
        let promote = intent(1, 1, Wish::Promote { stage: "w1-hold-10".into() });
        let orders = Orders::of([&promote], 1);
        assert!(orders.skips("w1-hold-10").is_some() && orders.skips("w1-hold-25").is_none());
    }
}
