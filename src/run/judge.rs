//! Asks the server about objects that seem changed: a dry run each, many at once. Its answer is the truth about defaults,
//! owners and what cannot be changed.

use super::apply::owned;
use super::perform::IN_FLIGHT;
use super::prepare::unreachable;
use crate::domain::error::Failure;
use crate::domain::ids::TargetId;
use crate::domain::object::{Object, ObjectRef};
use crate::plan::{Contest, Judged, TargetInput, Verdict, claims, contest, immutable};
use crate::ports::Cluster;
use crate::ports::cluster::{Applied, ClusterError, Terms, Tried};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::Value;

/// Judges what seems changed. Claims that grew keep their size, and fields that are left to controllers are taken out of the wanted objects. `all` takes every
/// contested field: for a way back, which nobody's edit may bar.
pub(super) async fn judge(
    target: &TargetId,
    cluster: &dyn Cluster,
    take: &[String],
    all: bool,
    input: &mut TargetInput,
) -> Result<(), Failure> {
    let kept = claims::keep_all(&mut input.named.objects, &input.live);
    // On the way back it is said with what that does not undo.
    if !all {
        input.named.told.extend(kept);
    }
    let seeming = input.differing();
    let live = &input.live;
    let asked = seeming.into_iter().map(|place| {
        let object = &input.named.objects[place];
        async move {
            let reference = object.reference();
            let question = Question { cluster, take, all, live: &live[&reference] };
            Ok((place, reference, question.ask(object).await?))
        }
    });
    let answers: Vec<(usize, ObjectRef, (Value, Judged))> = stream::iter(asked)
        .buffer_unordered(IN_FLIGHT)
        .try_collect()
        .await
        .map_err(|error| unreachable(target, &error))?;
    for (place, reference, (value, judged)) in answers {
        input.named.objects[place].value = value;
        input.judged.insert(reference, judged);
    }
    Ok(())
}

struct Question<'a> {
    cluster: &'a dyn Cluster,
    take: &'a [String],
    all: bool,
    live: &'a Value,
}

impl Question<'_> {
    /// The object less what is left to others, and what the server says of it.
    async fn ask(&self, object: &Object) -> Result<(Value, Judged), ClusterError> {
        let mut value = object.value.clone();
        let mut judged = Judged::default();
        let mut answer = self.cluster.try_apply(&value, Terms::DRY).await;
        if let Err(ClusterError::Contested { fields }) = &answer {
            judged.contests = contest::settle(&mut value, self.live, &owned(fields), self.take);
            if self.all {
                judged.contests.iter_mut().for_each(take_over);
            }
            // Without what is left to others it may change nothing.
            answer = self.cluster.try_apply(&value, Terms { force: true, ..Terms::DRY }).await;
        }
        match answer {
            Ok(Tried { applied, warnings }) => {
                judged.same = applied == Applied::Unchanged;
                judged.tried = Some(warnings);
            }
            Err(error @ ClusterError::Unreachable { .. }) => return Err(error),
            Err(ClusterError::Invalid { message }) if immutable::says_immutable(&message) => {
                judged.immutable = Some(message);
            }
            // Preflight says what else is wrong with it.
            Err(_) => {}
        }
        Ok((value, judged))
    }
}

fn take_over(contest: &mut Contest) {
    if contest.verdict == Verdict::Open {
        contest.verdict = Verdict::Taken;
    }
}
