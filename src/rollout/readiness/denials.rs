//! Why the API server lets a controller create no pods: quota, pod security, admission webhooks, limits.

use super::pods::{Cause, Sort};

/// The cause in a `FailedCreate` event's or `ReplicaFailure` condition's words.
pub(super) fn cause(namespace: &str, words: &str) -> Cause {
    let words = words.strip_prefix("(combined from similar events): ").unwrap_or(words);
    let words = words.strip_prefix("Error creating: ").unwrap_or(words);
    let denied = |what: String| Cause::new(Sort::Denied, what);
    if let Some((_, quota)) = words.split_once("exceeded quota: ") {
        let what = match quota.split_once(", requested: ") {
            Some((name, amounts)) => format!("quota {name} is used up: requested {amounts}"),
            None => format!("exceeded quota: {quota}"),
        };
        return denied(what).remedy(Some(format!("kubectl -n {namespace} describe resourcequota")));
    }
    if let Some((level, why)) =
        words.split_once("violates PodSecurity \"").and_then(|(_, rest)| rest.split_once("\": "))
    {
        let what = format!("pod security level {level} forbids its pods: {why}");
        return denied(what).remedy(Some(format!("kubectl get namespace {namespace} --show-labels")));
    }
    if let Some((name, rest)) = quoted_after(words, "admission webhook ") {
        let why = rest.trim_start_matches(" denied the request").trim_start_matches([':', ' ']);
        let why = if why.is_empty() { "no reason given" } else { why };
        return denied(format!("admission webhook {name} denied its pods: {why}"));
    }
    if let Some((name, rest)) = quoted_after(words, "failed calling webhook ") {
        let why = rest.trim_start_matches([':', ' ']);
        // A webhook that is away comes back; one that is gone for good shows when time is up.
        return denied(format!("admission webhook {name} does not answer: {why}"))
            .remedy(Some(
                "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations".to_owned(),
            ))
            .unsure();
    }
    if let Some((name, _)) =
        quoted_after(words, "serviceaccount ").filter(|(_, rest)| rest.contains("not found"))
    {
        // Its controller may be a moment late in a new namespace.
        return denied(format!("ServiceAccount {name} does not exist")).unsure();
    }
    if words.contains("Operation cannot be fulfilled on") {
        return denied(words.to_owned()).unsure();
    }
    let words = words.split_once(" is forbidden: ").map_or(words, |(_, why)| why);
    denied(words.to_owned())
}

/// `x` and what follows it, of `PREFIX"x"…`.
fn quoted_after<'w>(words: &'w str, prefix: &str) -> Option<(&'w str, &'w str)> {
    let (_, rest) = words.split_once(&format!("{prefix}\""))?;
    rest.split_once('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_denial_says_who_denied_and_why() {
        let cases = [
            (
                r#"Error creating: pods "api-x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=6, limited: pods=6"#,
                "quota q is used up: requested pods=1, used: pods=6, limited: pods=6",
                true,
            ),
            (
                r#"(combined from similar events): Error creating: pods "r" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true (pod must set it)"#,
                "pod security level restricted:latest forbids its pods: runAsNonRoot != true (pod must set it)",
                true,
            ),
            (
                r#"Error creating: admission webhook "policy.example.com" denied the request: no `team` label"#,
                "admission webhook policy.example.com denied its pods: no `team` label",
                true,
            ),
            (
                r#"Error creating: Internal error occurred: failed calling webhook "inject.example.com": Post "https://x": connect: connection refused"#,
                r#"admission webhook inject.example.com does not answer: Post "https://x": connect: connection refused"#,
                false,
            ),
            (
                r#"Error creating: pods "api-" is forbidden: error looking up service account shop/api: serviceaccount "api" not found"#,
                "ServiceAccount api does not exist",
                false,
            ),
            (
                r#"Error creating: pods "api-x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi"#,
                "maximum memory usage per Container is 1Gi, but limit is 2Gi",
                true,
            ),
        ];
        for (words, what, sure) in cases {
            let cause = cause("shop", words);
            assert_eq!((cause.what.as_str(), cause.sure), (what, sure));
        }
    }
}
