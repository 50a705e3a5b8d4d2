//! Routes as they read at a weight.

use super::*;
use crate::domain::environment::Testers;

fn services() -> Vec<String> {
    vec!["api".to_owned()]
}

#[test]
fn nginx_gets_a_second_ingress_of_the_same_addresses_that_lead_to_stable() {
    let path = |path: &str, service: &str| {
        json!({"path": path, "pathType": "Prefix",
               "backend": {"service": {"name": service, "port": {"number": 80}}}})
    };
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "shop", "namespace": "n", "labels": {"a": "b"},
                     "annotations": {"nginx.ingress.kubernetes.io/rewrite-target": "/"}},
        "spec": {"ingressClassName": "nginx", "tls": [{"hosts": ["x"], "secretName": "t"}],
                 "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}},
                 "rules": [{"host": "x", "http": {"paths": [path("/", "web"), path("/api", "api")]}},
                           {"host": "y", "http": {"paths": [path("/", "web")]}}]}});
    let settings = Testers { header: Some("X-Canary".into()), cookie: Some("canary".into()) };
    let router = Router::Nginx(settings);
    assert!(leads(&router, &ingress, &services()));
    assert!(!leads(&router, &ingress, &["other".to_owned()]));
    let canary = weigh(&router, &ingress, &services(), 25);
    assert_eq!(
        canary,
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "shop-canary", "namespace": "n", "labels": {"a": "b"}, "annotations": {
                "nginx.ingress.kubernetes.io/canary": "true",
                "nginx.ingress.kubernetes.io/canary-weight": "25",
                "nginx.ingress.kubernetes.io/canary-by-header": "X-Canary",
                "nginx.ingress.kubernetes.io/canary-by-cookie": "canary"}},
            "spec": {"ingressClassName": "nginx", "tls": [{"hosts": ["x"], "secretName": "t"}],
                     "rules": [{"host": "x", "http": {"paths": [path("/api", "api-canary")]}}]}})
    );
    assert!(!leads(&router, &canary, &["api-canary".to_owned()]), "a canary is no route of its own");
}

#[test]
fn a_gateway_keeps_filters_other_backends_and_other_rules() {
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "shop", "namespace": "n"},
        "spec": {"rules": [
            {"matches": [{"path": {"value": "/api"}}], "filters": [{"type": "RequestMirror"}],
             "backendRefs": [{"name": "api", "port": 80, "weight": 7, "filters": [{"type": "X"}]}]},
            {"backendRefs": [{"name": "api", "port": 80, "weight": 3}, {"name": "old", "port": 80}]},
            {"backendRefs": [{"name": "api", "namespace": "other", "port": 80}]}]}});
    let weighed = weigh(&Router::Gateway(Testers::default()), &route, &services(), 20);
    let rules = &weighed["spec"]["rules"];
    assert_eq!(
        rules[0]["backendRefs"],
        json!([{"name": "api", "port": 80, "weight": 80, "filters": [{"type": "X"}]},
               {"name": "api-canary", "port": 80, "weight": 20, "filters": [{"type": "X"}]}])
    );
    assert_eq!(rules[0]["filters"], route["spec"]["rules"][0]["filters"]);
    assert_eq!(
        rules[1]["backendRefs"],
        json!([{"name": "api", "port": 80, "weight": 12}, {"name": "api-canary", "port": 80, "weight": 3},
               {"name": "old", "port": 80, "weight": 5}])
    );
    assert_eq!(rules[2], route["spec"]["rules"][2]);
}

#[test]
fn istio_keeps_shares_whole_in_every_form_of_a_host() {
    for (host, canary) in [
        ("api", "api-canary"),
        ("api.n", "api-canary.n"),
        ("api.n.svc.cluster.local", "api-canary.n.svc.cluster.local"),
    ] {
        let service = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "shop", "namespace": "n"},
            "spec": {"hosts": ["x"], "http": [
                {"route": [{"destination": {"host": host, "subset": "v1"}}], "timeout": "3s"},
                {"route": [{"destination": {"host": host}, "weight": 33},
                           {"destination": {"host": "old"}, "weight": 67}]}]}});
        assert!(leads(&Router::Istio(Testers::default()), &service, &services()), "{host}");
        let weighed = weigh(&Router::Istio(Testers::default()), &service, &services(), 10);
        assert_eq!(
            weighed["spec"]["http"][0],
            json!({"route": [{"destination": {"host": host, "subset": "v1"}, "weight": 90},
                             {"destination": {"host": canary}, "weight": 10}], "timeout": "3s"})
        );
        let weights = weighed["spec"]["http"][1]["route"].as_array().unwrap().iter();
        let weights: Vec<u64> = weights.map(|target| target["weight"].as_u64().unwrap()).collect();
        assert_eq!(weights, [297, 33, 670]);
    }
    let other = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"namespace": "n"},
        "spec": {"http": [{"route": [{"destination": {"host": "api.elsewhere"}}]}]}});
    assert!(!leads(&Router::Istio(Testers::default()), &other, &services()));
}

#[test]
fn istios_rules_of_a_host_go_along_without_their_subsets() {
    let rule = json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": "api", "namespace": "n"},
        "spec": {"host": "api", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}},
                 "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}});
    let clone = companion(&Router::Istio(Testers::default()), &rule, &services()).unwrap();
    assert_eq!(clone["metadata"]["name"], "api-canary");
    assert_eq!(
        clone["spec"],
        json!({"host": "api-canary", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}})
    );
    assert_eq!(companion(&Router::Gateway(Testers::default()), &rule, &services()), None);
}

#[test]
fn an_alb_rule_becomes_an_action_and_an_action_is_divided() {
    let plain = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "shop", "namespace": "n"},
        "spec": {"rules": [{"http": {"paths": [
            {"path": "/", "backend": {"service": {"name": "api", "port": {"number": 80}}}},
            {"path": "/admin", "backend": {"service": {"name": "api", "port": {"name": "admin"}}}}]}}]}});
    assert!(leads(&Router::Alb(Testers::default()), &plain, &services()));
    let weighed = weigh(&Router::Alb(Testers::default()), &plain, &services(), 30);
    let paths = &weighed["spec"]["rules"][0]["http"]["paths"];
    assert_eq!(paths[0]["backend"]["service"], json!({"name": "api", "port": {"name": "use-annotation"}}));
    assert_eq!(
        paths[1]["backend"]["service"],
        json!({"name": "api-admin", "port": {"name": "use-annotation"}})
    );
    let action = |name: &str| -> Value {
        let text = &weighed["metadata"]["annotations"][format!("alb.ingress.kubernetes.io/actions.{name}")];
        serde_json::from_str(text.as_str().unwrap()).unwrap()
    };
    assert_eq!(
        action("api")["forwardConfig"]["targetGroups"],
        json!([{"serviceName": "api", "servicePort": 80, "weight": 70},
               {"serviceName": "api-canary", "servicePort": 80, "weight": 30}])
    );
    assert_eq!(action("api-admin")["forwardConfig"]["targetGroups"][1]["servicePort"], "admin");

    let mut own = plain.clone();
    own["spec"]["rules"][0]["http"]["paths"] = json!([
        {"path": "/", "backend": {"service": {"name": "split", "port": {"name": "use-annotation"}}}}]);
    own["metadata"]["annotations"] = json!({"alb.ingress.kubernetes.io/actions.split": json!({
        "Type": "forward", "ForwardConfig": {
            "TargetGroups": [{"ServiceName": "api", "ServicePort": "80", "Weight": 1}],
            "TargetGroupStickinessConfig": {"Enabled": true}}}).to_string()});
    assert!(leads(&Router::Alb(Testers::default()), &own, &services()));
    let weighed = weigh(&Router::Alb(Testers::default()), &own, &services(), 5);
    let text = &weighed["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.split"];
    assert_eq!(
        serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap()["ForwardConfig"],
        json!({"TargetGroups": [{"ServiceName": "api", "ServicePort": "80", "Weight": 95},
                                {"ServiceName": "api-canary", "ServicePort": "80", "Weight": 5}],
               "TargetGroupStickinessConfig": {"Enabled": true}})
    );
    assert_eq!(weighed["spec"], own["spec"]);
}

#[test]
fn the_canary_service_is_reached_from_inside_only() {
    let service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "api", "namespace": "n", "annotations": {"cloud": "x"}, "labels": {"a": "b"}},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "loadBalancerSourceRanges": [],
                 "selector": {"app": "api"}, "ports": [{"port": 80, "nodePort": 30001}]}});
    assert_eq!(
        service_beside(&service, "api-canary"),
        json!({"apiVersion": "v1", "kind": "Service",
               "metadata": {"name": "api-canary", "namespace": "n", "labels": {"a": "b"}},
               "spec": {"selector": {"app": "api"}, "ports": [{"port": 80}]}})
    );
}

#[test]
fn every_share_is_what_the_percent_says() {
    for (backends, percent, most, expected) in [
        // The only backend carries all.
        (&[(1, true)][..], 30, 999, &[(70, Some(30))][..]),
        (&[(0, true)], 5, 999, &[(95, Some(5))]),
        (&[(95, false), (5, true)], 20, 999, &[(95, None), (4, Some(1))]),
        (&[(95, false), (5, true)], 10, 999, &[(190, None), (9, Some(1))]),
        (&[(1, false), (1, true)], 50, 999, &[(2, None), (1, Some(1))]),
        (&[(1, true), (3, true)], 25, 999, &[(3, Some(1)), (9, Some(3))]),
        (&[(33, true), (67, false)], 0, 999, &[(33, Some(0)), (67, None)]),
        (&[(33, true), (67, false)], 100, 999, &[(0, Some(33)), (67, None)]),
        // What has no room shrinks, and nothing shrinks to nothing.
        (&[(33, true), (67, false)], 1, 999, &[(487, Some(5)), (999, None)]),
        (&[(1, true), (900, false)], 1, 999, &[(1, Some(1)), (999, None)]),
        (&[(30_001, true), (970_000, false)], 1, 1_000_000, &[(30_620, Some(309)), (1_000_000, None)]),
        (&[(0, true), (100, false)], 10, 999, &[(0, Some(0)), (100, None)]),
    ] {
        let found = portions(backends, percent, most);
        let found: Vec<(u64, Option<u64>)> = found.iter().map(|part| (part.stays, part.goes)).collect();
        assert_eq!(found, expected, "{backends:?} at {percent} %, at most {most}");
    }
}

#[test]
fn the_canary_of_an_alb_has_a_target_group_like_stables() {
    let service = |kind: &str| {
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "api", "namespace": "n", "annotations": {
                "cloud": "x", "alb.ingress.kubernetes.io/healthcheck-path": "/health"}},
            "spec": {"type": kind, "selector": {"app": "api"}, "ports": [{"port": 80, "nodePort": 30001}]}})
    };
    for (kind, expected) in
        [("NodePort", "NodePort"), ("LoadBalancer", "NodePort"), ("ClusterIP", "ClusterIP")]
    {
        let canary = canary_service(&Router::Alb(Testers::default()), &service(kind));
        assert_eq!(canary["metadata"]["name"], "api-canary");
        assert_eq!(
            canary["metadata"]["annotations"],
            json!({"alb.ingress.kubernetes.io/healthcheck-path": "/health"})
        );
        assert_eq!(canary["spec"]["type"], expected);
        assert_eq!(canary["spec"]["ports"], json!([{"port": 80}]));
    }
    let canary = canary_service(&Router::Nginx(Testers::default()), &service("LoadBalancer"));
    assert_eq!((&canary["metadata"].get("annotations"), canary["spec"].get("type")), (&None, None));
}

fn testers() -> Testers {
    Testers { header: Some("X-Canary".into()), cookie: Some("canary".into()) }
}

#[test]
fn testers_of_a_gateway_have_a_rule_of_their_own() {
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "shop", "namespace": "n", "annotations": {"a": "b"}},
        "spec": {"rules": [
            {"name": "api", "matches": [{"path": {"type": "PathPrefix", "value": "/api"}, "method": "GET"},
                         {"headers": [{"name": "x-canary", "value": "other"}]}],
             "filters": [{"type": "URLRewrite"}],
             "backendRefs": [{"name": "api", "port": 80}, {"name": "old", "port": 80}]},
            {"backendRefs": [{"name": "web", "port": 80}]},
            {"backendRefs": [{"name": "api", "port": 81}]}]}});
    let weighed = weigh(&Router::Gateway(testers()), &route, &services(), 0);
    let rules = weighed["spec"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 5, "{rules:#?}");
    let header = json!({"type": "Exact", "name": "X-Canary", "value": "always"});
    assert_eq!(
        rules[0],
        json!({"name": "api-canary",
               "matches": [{"path": {"type": "PathPrefix", "value": "/api"}, "method": "GET",
                            "headers": [header]}],
               "filters": [{"type": "URLRewrite"}],
               "backendRefs": [{"name": "api-canary", "port": 80}]})
    );
    assert_eq!(rules[1]["matches"], route["spec"]["rules"][0]["matches"]);
    assert_eq!(rules[2], route["spec"]["rules"][1]);
    assert_eq!(
        rules[3],
        json!({"matches": [{"path": {"type": "PathPrefix", "value": "/"}, "headers": [header]}],
               "backendRefs": [{"name": "api-canary", "port": 81}]})
    );
    assert_eq!(weighed["metadata"], route["metadata"]);
}

#[test]
fn testers_of_istio_come_before_the_route_that_they_are_told_apart_from() {
    let service = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "shop", "namespace": "n"},
        "spec": {"hosts": ["x"], "tcp": [{"route": [{"destination": {"host": "api"}}]}], "http": [
            {"match": [{"uri": {"prefix": "/web"}}], "route": [{"destination": {"host": "web"}}]},
            {"match": [{"uri": {"prefix": "/api"}}], "timeout": "3s",
             "route": [{"destination": {"host": "api", "subset": "v1"}, "weight": 33},
                       {"destination": {"host": "old"}, "weight": 67}]}]}});
    let weighed = weigh(&Router::Istio(testers()), &service, &services(), 0);
    let routes = weighed["spec"]["http"].as_array().unwrap();
    assert_eq!(routes.len(), 3, "{routes:#?}");
    assert_eq!(routes[0], service["spec"]["http"][0]);
    assert_eq!(
        routes[1],
        json!({"match": [{"uri": {"prefix": "/api"}, "headers": {"x-canary": {"exact": "always"}}},
                         {"uri": {"prefix": "/api"},
                          "headers": {"cookie": {"regex": "^(.*;\\s*)?canary=always(;.*)?$"}}}],
               "timeout": "3s",
               "route": [{"destination": {"host": "api-canary"}, "weight": 100}]})
    );
    assert_eq!(weighed["spec"]["tcp"].as_array().unwrap().len(), 1, "only HTTP has headers");
}

#[test]
fn testers_of_an_alb_have_a_path_with_a_condition_before_the_same_path() {
    let path = |path: &str, service: &str| {
        json!({"path": path, "pathType": "Prefix",
               "backend": {"service": {"name": service, "port": {"number": 80}}}})
    };
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "shop", "namespace": "n"},
        "spec": {"rules": [{"http": {"paths": [path("/web", "web"), path("/", "api")]}}]}});
    let weighed = weigh(&Router::Alb(testers()), &ingress, &services(), 0);
    let paths = weighed["spec"]["rules"][0]["http"]["paths"].as_array().unwrap();
    let names: Vec<&str> =
        paths.iter().map(|path| path["backend"]["service"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["web", "api-testers", "api"]);
    let read = |key: &str| -> Value {
        let text =
            &weighed["metadata"]["annotations"][format!("alb.ingress.kubernetes.io/{key}.api-testers")];
        serde_json::from_str(text.as_str().unwrap()).unwrap()
    };
    assert_eq!(
        read("actions")["forwardConfig"]["targetGroups"],
        json!([{"serviceName": "api-canary", "servicePort": 80, "weight": 1}])
    );
    assert_eq!(
        read("conditions"),
        json!([{"field": "http-header",
                "httpHeaderConfig": {"httpHeaderName": "X-Canary", "values": ["always"]}}])
    );
}

#[test]
fn copies_go_to_the_canary_of_users_and_not_of_testers() {
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "shop", "namespace": "n"},
        "spec": {"rules": [{"filters": [{"type": "URLRewrite"}], "backendRefs": [{"name": "api", "port": 80}]},
                           {"backendRefs": [{"name": "web", "port": 80}]}]}});
    let router = Router::Gateway(testers());
    let copying = |percent| mirror(&router, &weigh(&router, &route, &services(), 0), &services(), percent);
    let rules = copying(10).unwrap()["spec"]["rules"].clone();
    assert_eq!(rules[0]["filters"], json!([{"type": "URLRewrite"}]));
    let filter = |mirror: Value| json!({"type": "RequestMirror", "requestMirror": mirror});
    let canary = json!({"name": "api-canary", "port": 80});
    assert_eq!(
        rules[1]["filters"],
        json!([{"type": "URLRewrite"}, filter(json!({"backendRef": canary, "percent": 10}))])
    );
    assert_eq!(rules[2], route["spec"]["rules"][1]);
    let all = copying(100).unwrap();
    assert_eq!(all["spec"]["rules"][1]["filters"][1], filter(json!({"backendRef": canary})));
    assert_eq!(mirror(&router, &copying(10).unwrap(), &services(), 10), None, "it copies already");

    let service = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "shop", "namespace": "n"},
        "spec": {"http": [{"route": [{"destination": {"host": "api.n", "subset": "v1", "port": {"number": 80}}}]}]}});
    let copying = mirror(&Router::Istio(testers()), &service, &services(), 25).unwrap();
    assert_eq!(copying["spec"]["http"][0]["mirror"], json!({"host": "api-canary.n", "port": {"number": 80}}));
    assert_eq!(copying["spec"]["http"][0]["mirrorPercentage"], json!({"value": 25.0}));
    assert_eq!(mirror(&Router::Alb(testers()), &service, &services(), 25), None);
}
