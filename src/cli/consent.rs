//! Asking before the first write. The answer that is not given is No.

use super::report::outlet;
use crate::domain::error::{Code, Exit, Failure};
use std::io::IsTerminal;

/// Offers several ways on a terminal, the first of which is to do nothing; without a terminal nothing is chosen.
pub(super) fn choose(question: &str, ways: &[&str]) -> Option<usize> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    outlet::settle(None);
    dialoguer::Select::new().with_prompt(question).items(ways).default(0).interact_opt().ok().flatten()
}

/// Asks on a terminal; without one, `--auto-approve` is the only yes.
pub(super) fn ask(question: &str, auto_approve: bool) -> Result<(), Failure> {
    if auto_approve {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::new(
            Code(701),
            Exit::NotApproved,
            "there is no terminal to ask for approval on",
        )
        .why("nothing was written")
        .next("add --auto-approve, or save the plan: deployctl plan ENV --out FILE"));
    }
    outlet::settle(None);
    let answer = dialoguer::Confirm::new().with_prompt(question).default(false).show_default(true).interact();
    match answer {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(Failure::new(Code(702), Exit::NotApproved, "not approved").why("nothing was written"))
        }
        Err(error) => Err(Failure::new(Code(701), Exit::NotApproved, "no answer could be read")
            .why(error.to_string())
            .next("add --auto-approve")),
    }
}
