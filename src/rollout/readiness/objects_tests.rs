//! Objects of a real API server where it was recorded with the kind, and of the kinds' own documentation elsewhere.

use super::*;
use crate::domain::readiness::ReadyTest;
use flate2::read::GzDecoder;
use serde_json::json;
use std::io::Read as _;

const WATCHES: &[u8] = include_bytes!("../../../tests/golden/kube_watches.jsonl.gz");
const EXCHANGES: &[u8] = include_bytes!("../../../tests/golden/kube_exchanges.jsonl.gz");

fn lines(file: &[u8]) -> Vec<Value> {
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the server answered in a recorded exchange.
fn answered(case: &str) -> Value {
    let found = lines(EXCHANGES).into_iter().find(|line| line["case"] == case);
    found.unwrap_or_else(|| panic!("{case} is not recorded"))["response"]["body"].clone()
}

/// The last state of an object that a recorded watch told.
fn watched(case: &str, kind: &str) -> Value {
    let recorded = lines(WATCHES).into_iter().find(|line| line["case"] == case).unwrap();
    let events = recorded["events"].as_array().unwrap();
    let mut told =
        events.iter().filter(|event| event["type"] != "BOOKMARK" && event["object"]["kind"] == kind);
    told.next_back().unwrap_or_else(|| panic!("{case} tells of no {kind}"))["object"].clone()
}

/// The last state of an object of a real server whose changes are not kept.
fn kept(case: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../../../tests/golden/kube_objects.json")).unwrap();
    all[case].clone()
}

/// `ready`, `assumed: …`, `pending: …`, `failed: …`.
fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Healthy => "ready".to_owned(),
        Verdict::Assumed { why } => format!("assumed: {why}"),
        Verdict::Pending { waiting_for } => format!("pending: {waiting_for}"),
        Verdict::Failed { why } => format!("failed: {why}"),
    }
}

#[track_caller]
fn is(live: &Value, expected: &str) {
    let verdict = said(&judge(live, &[], &Surroundings::default()));
    assert!(verdict.starts_with(expected), "{verdict}\n  is not\n{expected}");
}

/// An object with this part laid over it.
fn with(mut object: Value, part: &Value) -> Value {
    json_patch_merge(&mut object, part);
    object
}

fn json_patch_merge(onto: &mut Value, part: &Value) {
    match (onto, part) {
        (Value::Object(onto), Value::Object(part)) => {
            for (key, value) in part {
                json_patch_merge(onto.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (onto, part) => *onto = part.clone(),
    }
}

fn object(api_version: &str, kind: &str, rest: &Value) -> Value {
    let metadata = json!({"name": "x", "namespace": "n", "generation": 2});
    with(json!({"apiVersion": api_version, "kind": kind, "metadata": metadata}), rest)
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 2})
}

#[test]
fn services_need_an_address() {
    let pending = answered("service-loadbalancer-pending");
    is(&pending, "pending: Service/lb to get an address from the cluster's load balancer");
    is(
        &with(pending.clone(), &json!({"status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}})),
        "ready",
    );
    is(
        &with(pending.clone(), &json!({"status": {"loadBalancer": {"ingress": [{"hostname": "a.b"}]}}})),
        "ready",
    );
    is(&with(pending.clone(), &json!({"spec": {"type": "ClusterIP"}})), "ready");
    is(&with(pending.clone(), &json!({"spec": {"type": "ClusterIP", "clusterIP": "None"}})), "ready");
    is(&with(pending, &json!({"spec": {"type": "ClusterIP", "clusterIP": ""}})), "pending: ");
}

#[test]
fn an_ingress_without_an_address_is_assumed_never_waited_for() {
    let live = answered("ingress-canary-create");
    is(&live, "assumed: no ingress controller has given Ingress/api-canary an address");
    is(&with(live, &json!({"status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}})), "ready");
}

#[test]
fn claims_are_bound_or_wait_for_their_first_pod() {
    let live = watched("pvc-pending", "PersistentVolumeClaim");
    is(
        &live,
        "pending: PersistentVolumeClaim/data to be bound: it names no storage class, and the cluster has no default one",
    );
    let classy = with(live, &json!({"spec": {"storageClassName": "fast"}}));
    is(&classy, "pending: PersistentVolumeClaim/data to be bound by storage class fast");
    let lazy = Surroundings { binds_at_first_use: true, ..Surroundings::default() };
    assert_eq!(judge(&classy, &[], &lazy), Verdict::Healthy);
    let unseen = Surroundings { class_unseen: Some("may not".into()), ..Surroundings::default() };
    let words = "assumed: PersistentVolumeClaim/data is not bound, and whether storage class fast waits for its first pod \
                 cannot be read: may not";
    assert_eq!(said(&judge(&classy, &[], &unseen)), words);
    let bound = with(classy.clone(), &json!({"status": {"phase": "Bound"}}));
    assert_eq!(judge(&bound, &[], &unseen), Verdict::Healthy);
    let warned =
        Surroundings { warning: Some("ProvisioningFailed: quota".into()), ..Surroundings::default() };
    let verdict = said(&judge(&classy, &[], &warned));
    assert!(verdict.ends_with("by storage class fast (ProvisioningFailed: quota)"), "{verdict}");
    is(&with(classy.clone(), &json!({"status": {"phase": "Bound"}})), "ready");
    is(&with(classy, &json!({"status": {"phase": "Lost"}})), "failed: ");
}

#[test]
fn cron_jobs_budgets_and_autoscalers() {
    let cron = kept("cronjob");
    is(&cron, "ready");
    is(&with(cron, &json!({"spec": {"suspend": true}})), "assumed: CronJob/backup is suspended");

    let budget = answered("pdb-create");
    is(&budget, "pending: the controller to see PodDisruptionBudget/api");
    let seen =
        with(budget, &json!({"status": {"observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 2}}));
    is(&seen, "pending: 1/2 healthy pods behind PodDisruptionBudget/api");
    is(&with(seen, &json!({"status": {"currentHealthy": 2}})), "ready");

    let blind = kept("hpa-without-metrics");
    is(&blind, "assumed: HorizontalPodAutoscaler/api does not scale: the HPA was unable to compute");
    is(&answered("hpa-create"), "assumed: no controller has looked at HorizontalPodAutoscaler/api");
    let scaling = |able: &str, active: &str, reason: &str| {
        let conditions =
            json!([condition("AbleToScale", able, "", "m"), condition("ScalingActive", active, reason, "m")]);
        with(blind.clone(), &json!({"status": {"conditions": conditions}}))
    };
    is(&scaling("True", "True", "ValidMetricFound"), "ready");
    is(&scaling("True", "False", "ScalingDisabled"), "ready");
    is(&scaling("False", "Unknown", ""), "pending: HorizontalPodAutoscaler/api to find what it scales (m)");
}

#[test]
fn definitions_are_established_and_api_services_available() {
    let live = answered("crd-get-established");
    is(&live, "ready");
    let conditions = |names: Value, established: Value| {
        with(live.clone(), &json!({"status": {"conditions": [names, established]}}))
    };
    let taken = condition("NamesAccepted", "False", "PluralConflict", "\"carts\" is already in use");
    let not_yet = condition("Established", "False", "NotAccepted", "not all names are accepted");
    is(&conditions(taken, not_yet.clone()), "failed: CustomResourceDefinition/");
    is(&conditions(condition("NamesAccepted", "True", "", ""), not_yet), "pending: ");

    let api = |status: &str| {
        let conditions = json!([condition("Available", status, "MissingEndpoints", "no endpoints")]);
        object("apiregistration.k8s.io/v1", "APIService", &json!({"status": {"conditions": conditions}}))
    };
    is(&api("True"), "ready");
    is(&api("False"), "pending: APIService/x to be Available (no endpoints)");
}

#[test]
fn namespaces_quotas_volumes() {
    let of = |kind: &str, rest: Value| object("v1", kind, &rest);
    is(&of("Namespace", json!({"status": {"phase": "Active"}})), "ready");
    is(&of("Namespace", json!({"status": {"phase": "Terminating"}})), "failed: Namespace/x is being deleted");
    let quota = answered("quota-create");
    is(&with(quota.clone(), &json!({"status": {"hard": quota["spec"]["hard"]}})), "ready");
    is(&with(quota, &json!({"status": null})), "pending: ");
    is(&of("PersistentVolume", json!({"status": {"phase": "Available"}})), "ready");
    is(&of("ConfigMap", json!({"data": {}})), "ready");
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    is(&of("ConfigMap", deleted), "pending: ConfigMap/x to go away");
}

#[test]
fn gateways_and_routes() {
    let gateway = |conditions: Value| {
        object("gateway.networking.k8s.io/v1", "Gateway", &json!({"status": {"conditions": conditions}}))
    };
    let unseen = json!([condition("Accepted", "Unknown", "Pending", "Waiting for controller")]);
    is(&gateway(unseen), "assumed: no gateway controller has looked at Gateway/x");
    let accepted = condition("Accepted", "True", "Accepted", "");
    let programmed = |status: &str| condition("Programmed", status, "AddressNotAssigned", "no address yet");
    is(
        &gateway(json!([accepted, programmed("False")])),
        "pending: Gateway/x to be Programmed (no address yet)",
    );
    is(&gateway(json!([accepted, programmed("True")])), "ready");
    let refused = condition("Accepted", "False", "Invalid", "listener has no port");
    is(&gateway(json!([refused])), "failed: Gateway/x is not accepted: listener has no port");
    let old = with(accepted.clone(), &json!({"observedGeneration": 1}));
    is(&gateway(json!([old])), "pending: the controller to see Gateway/x");

    let route = |parents: Value| {
        let spec = json!({"parentRefs": [{"name": "public"}]});
        object(
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            &json!({"spec": spec, "status": {"parents": parents}}),
        )
    };
    let parent = |accepted: Value, resolved: Value| json!([{"parentRef": {"name": "public"}, "conditions": [accepted, resolved]}]);
    let resolved = condition("ResolvedRefs", "True", "ResolvedRefs", "");
    is(&route(json!([])), "assumed: no gateway controller has looked at HTTPRoute/x");
    is(&route(parent(accepted.clone(), resolved.clone())), "ready");
    let lost = condition("ResolvedRefs", "False", "BackendNotFound", "");
    is(&route(parent(accepted, lost)), "pending: gateway public to resolve HTTPRoute/x (BackendNotFound)");
    let stranger = condition("Accepted", "False", "NotAllowedByListeners", "");
    is(
        &route(parent(stranger, resolved)),
        "failed: gateway public does not accept HTTPRoute/x: NotAllowedByListeners",
    );
}

#[test]
fn only_gateways_that_a_route_names_have_a_say() {
    let accepted =
        |of: i64| with(condition("Accepted", "True", "Accepted", ""), &json!({"observedGeneration": of}));
    let refused = || condition("Accepted", "False", "NotAllowedByListeners", "");
    let entry = |parent: Value, controller: &str, said: Value| json!({"parentRef": parent, "controllerName": controller, "conditions": [said]});
    let (public, inner) =
        (json!({"name": "public"}), json!({"name": "inner", "sectionName": "web", "port": 80}));
    let full =
        json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "n", "name": "public"});
    let other = json!({"name": "public", "namespace": "elsewhere"});
    let web = json!({"name": "public", "sectionName": "web"});
    let rest = json!({"name": "inner", "port": 80});
    for (named, told, expected) in [
        (json!([public]), json!([entry(full, "a", accepted(2))]), "ready"),
        (json!([public]), json!([entry(web, "a", accepted(2))]), "ready"),
        (
            json!([public]),
            json!([entry(inner.clone(), "a", accepted(1)), entry(public.clone(), "a", accepted(2))]),
            "ready",
        ),
        (
            json!([public]),
            json!([entry(other.clone(), "a", refused()), entry(public.clone(), "a", accepted(2))]),
            "ready",
        ),
        (
            json!([public]),
            json!([entry(public.clone(), "gone", accepted(1)), entry(public.clone(), "b", accepted(2))]),
            "ready",
        ),
        (
            json!([public]),
            json!([entry(other, "a", accepted(2))]),
            "assumed: no gateway controller has looked at",
        ),
        (json!([public]), json!([entry(public.clone(), "a", accepted(1))]), "pending: gateway public to see"),
        (
            json!([public, inner]),
            json!([entry(public.clone(), "a", accepted(2))]),
            "pending: 1/2 gateways to see",
        ),
        (
            json!([public, inner]),
            json!([entry(public.clone(), "a", accepted(2)), entry(rest, "a", accepted(2))]),
            "pending: 1/2",
        ),
        (
            json!([public, inner]),
            json!([entry(public.clone(), "a", accepted(2)), entry(inner.clone(), "a", refused())]),
            "failed: gateway inner does not accept",
        ),
    ] {
        let route = json!({"spec": {"parentRefs": named}, "status": {"parents": told}});
        is(&object("gateway.networking.k8s.io/v1", "HTTPRoute", &route), expected);
    }
}

#[test]
fn certificates() {
    let certificate = |conditions: Value| {
        object("cert-manager.io/v1", "Certificate", &json!({"status": {"conditions": conditions}}))
    };
    let ready = |status: &str| {
        condition("Ready", status, "DoesNotExist", "Issuing certificate as Secret does not exist")
    };
    is(
        &object("cert-manager.io/v1", "Certificate", &json!({})),
        "pending: cert-manager to see Certificate/x",
    );
    is(&certificate(json!([ready("True")])), "ready");
    let old = with(ready("True"), &json!({"observedGeneration": 1}));
    is(&certificate(json!([old])), "pending: cert-manager to see Certificate/x");
    let busy = condition("Issuing", "True", "DoesNotExist", "Issuing certificate as Secret does not exist");
    is(
        &certificate(json!([ready("False"), busy])),
        "pending: Certificate/x to be issued (Issuing certificate",
    );
    let refused = condition("Issuing", "False", "Failed", "The certificate request has failed: denied");
    is(
        &certificate(json!([ready("False"), refused])),
        "failed: Certificate/x was not issued: The certificate request",
    );
}

#[test]
fn argo_rollouts_and_applications() {
    // The controller writes the generation as a text.
    let rollout = |phase: &str, seen: &str| {
        let status = json!({"phase": phase, "observedGeneration": seen, "message": "m"});
        object("argoproj.io/v1alpha1", "Rollout", &json!({"status": status}))
    };
    is(&rollout("Healthy", "2"), "ready");
    is(&rollout("Healthy", "1"), "pending: the controller to see Rollout/x");
    is(&rollout("Progressing", "2"), "pending: Rollout/x to be rolled out: m");
    is(&rollout("Paused", "2"), "pending: Rollout/x to be promoted, it is paused: m");
    is(&rollout("Degraded", "2"), "failed: Rollout/x is degraded: m");

    let application = |sync: &str, health: &str, phase: &str| {
        let status = json!({
            "sync": {"status": sync}, "health": {"status": health, "message": "m"},
            "operationState": {"phase": phase, "message": "one or more objects failed to apply"},
        });
        object("argoproj.io/v1alpha1", "Application", &json!({"status": status}))
    };
    is(&application("Synced", "Healthy", "Succeeded"), "ready");
    is(
        &application("OutOfSync", "Healthy", "Running"),
        "pending: Application/x to be synced and healthy (it is OutOfSync",
    );
    is(&application("Synced", "Progressing", "Succeeded"), "pending: ");
    is(&application("Synced", "Degraded", "Succeeded"), "failed: Application/x is degraded: m");
    is(
        &application("OutOfSync", "Missing", "Failed"),
        "failed: Application/x could not be synced: one or more",
    );
}

#[test]
fn custom_resources_by_convention() {
    let cart = |status: Value| object("shop.example.com/v1", "Cart", &json!({"status": status}));
    let conditions = |list: Value| cart(json!({"observedGeneration": 2, "conditions": list}));
    is(&answered("cr-ssa-create"), "assumed: no controller has written a status into VirtualService/api");
    is(&cart(json!({"observedGeneration": 1, "phase": "Ready"})), "pending: the controller to see Cart/x");
    is(&conditions(json!([condition("Ready", "True", "", "")])), "ready");
    is(
        &conditions(json!([condition("Ready", "False", "Busy", "3 of 5 shards")])),
        "pending: Cart/x to be Ready (3 of 5 shards)",
    );
    is(
        &conditions(json!([condition("Ready", "True", "", ""), condition("Stalled", "True", "", "no disk")])),
        "failed: Cart/x failed: no disk",
    );
    is(
        &conditions(json!([condition("Reconciling", "True", "", "step 2")])),
        "pending: Cart/x to be reconciled (step 2)",
    );
    is(&cart(json!({"phase": "Running"})), "ready");
    is(
        &cart(json!({"phase": "Failed", "message": "no disk"})),
        "failed: Cart/x: its phase is failed: no disk",
    );
    is(&cart(json!({"state": "Provisioning"})), "pending: Cart/x to be ready (its state is provisioning)");
    is(
        &cart(json!({"phase": "Purple"})),
        "assumed: nothing in the status of Cart/x says whether it is ready",
    );
    is(&cart(json!({"observedGeneration": 2})), "assumed: Cart/x was seen by its controller");
    let silent = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    is(&cart(silent), "assumed: Cart/x is Ready, but its controller does not say of which generation");
}

#[test]
fn a_rule_of_the_project_comes_before_all_others() {
    let rule = |ready: ReadyTest, failed: Option<ReadyTest>| ReadinessRule {
        api_version: "shop.example.com".into(),
        kind: "Cart".into(),
        ready,
        failed,
    };
    let held = |name: &str| ReadyTest::Condition { name: name.into(), status: "True".into() };
    let field = |value: &str| ReadyTest::Field { path: "status.phase".into(), value: json!(value) };
    let cart = |status: Value| object("shop.example.com/v1", "Cart", &json!({"status": status}));
    let judged = |live: &Value, rule: &ReadinessRule| {
        said(&judge(live, std::slice::from_ref(rule), &Surroundings::default()))
    };
    let rolled = rule(held("Rolled"), Some(held("Broken")));
    let with_condition = |kind: &str| cart(json!({"conditions": [condition(kind, "True", "", "m")]}));
    assert_eq!(judged(&with_condition("Rolled"), &rolled), "ready");
    assert_eq!(judged(&with_condition("Broken"), &rolled), "failed: Cart/x failed: m");
    assert_eq!(
        judged(&with_condition("Ready"), &rolled),
        "pending: Cart/x: condition Rolled to be True (it is not there)"
    );
    let phase = rule(field("Up"), Some(field("Down")));
    assert_eq!(judged(&cart(json!({"phase": "Up"})), &phase), "ready");
    assert_eq!(
        judged(&cart(json!({"phase": "Down"})), &phase),
        "failed: Cart/x failed: its status.phase is \"Down\""
    );
    assert_eq!(
        judged(&cart(json!({"phase": "Half"})), &phase),
        "pending: Cart/x: status.phase to be \"Up\" (it is \"Half\")"
    );
    assert_eq!(judged(&cart(json!({})), &rule(ReadyTest::Exists, None)), "ready");
    assert_eq!(
        judged(&cart(json!({"observedGeneration": 1, "phase": "Up"})), &phase),
        "pending: the controller to see Cart/x"
    );
}
