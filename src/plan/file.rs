//! A plan as a file: `plan --out FILE`, and its way back with every refusal named.

use super::Plan;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::release::{FORMAT, format_of};
use crate::domain::secret::conceal_manifest;

/// The file's content.
///
/// # Panics
/// Never: a plan holds nothing that JSON cannot.
#[must_use]
pub fn write(plan: &Plan) -> Vec<u8> {
    serde_json::to_vec(plan).expect("a plan holds nothing that JSON cannot")
}

/// Reads a plan; `name` is for messages.
pub fn read(name: &str, content: &[u8]) -> Result<Plan, Failure> {
    let refuse = |why: String| {
        Failure::new(Code(310), Exit::Usage, format!("{name} is no plan that this version can read"))
            .why(why)
            .next("deployctl plan ENV --out FILE")
    };
    let read: serde_json::Result<Plan> = serde_json::from_slice(content);
    // One that reads as a whole names its format itself.
    let format = read.as_ref().map_or_else(|_| format_of(content), |plan| Ok(plan.format));
    let format = format.map_err(|error| refuse(format!("not a plan: {error}")))?;
    if format > FORMAT {
        return Err(refuse(format!("its format is {format}, this deployctl knows up to {FORMAT}"))
            .next("use the deployctl that wrote it, or a newer one"));
    }
    let plan = read.map_err(|error| refuse(format!("damaged: {error}")))?;
    for object in plan.objects.iter().filter(|object| object.kind() == "Secret") {
        conceal_manifest(&object.value);
    }
    let table = plan.objects.len();
    let known = |indices: &[usize]| indices.iter().all(|index| *index < table);
    if !plan.targets.values().all(|target| known(&target.inventory))
        || !plan.stages.iter().all(|s| refers(s, &known))
    {
        return Err(refuse("it refers to objects that it does not hold".to_owned()));
    }
    Ok(plan)
}

/// Whether every index in a stage's effects is in the table.
fn refers(stage: &crate::domain::step::Stage, known: &dyn Fn(&[usize]) -> bool) -> bool {
    use crate::domain::effect::Effect;
    use crate::domain::step::Undo;
    let fine = |effect: &Effect| match effect {
        Effect::Apply { objects }
        | Effect::Create { objects }
        | Effect::Replace { objects }
        | Effect::Switch { objects, .. }
        | Effect::Weigh { objects, .. } => known(objects),
        Effect::RunJob(run) => known(&[run.job]) && known(&run.needs) && known(&run.undoes),
        _ => true,
    };
    stage.steps.iter().all(|step| {
        fine(&step.effect)
            && match &step.undo {
                Undo::Effects { effects, .. } => effects.iter().all(fine),
                Undo::None { .. } => true,
            }
    })
}
