//! Templates and objects: errors with the template's line, checks, policies.

use super::{MINIMAL, Project};
use deployctl::render;

/// What `validate` says of one manifest, policies switched off.
fn said(manifest: &str) -> String {
    let quiet = "policies: {probes: off, limits: off, security-context: off, image-tag: off}\n";
    let environment = format!("{MINIMAL}{quiet}values: {{port: 8080, hosts: [a, b], nothing: ~}}\n");
    let project = Project::new(&[("environments/p.yaml", &environment), ("manifests/api/a.yaml", manifest)]);
    let found = project.validate("p");
    let unused = |part: &&str| !part.starts_with("warning[DC0125]");
    found.split("\n\n").filter(unused).map(str::trim_end).collect::<Vec<_>>().join("\n\n") + "\n"
}

const POD: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec:
      containers:
        - name: api
          image: api:1
          ports: [{name: http, containerPort: 8080}]
";

#[test]
fn an_undefined_value_names_the_nearest_one() {
    assert_eq!(
        said("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  port: \"{{ values.prot }}\"\n"),
        "error[DC0141]: `values.prot` is never set
  --> manifests/api/a.yaml:5:13
  |
5 |   port: \"{{ values.prot }}\"
  |             ^^^^^^^^^^^
  = why: there are: values.hosts, values.nothing, values.port
  = help: write `values.port`, or set `prot` under `values:`, or give a default: `| default(…)`
"
    );
}

#[test]
fn an_undefined_value_in_a_branch_that_is_not_taken_is_found_and_a_guarded_one_is_not() {
    let branch = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n{% if values.port == 1 %}\ndata: {x: {{ values.gone }}}\n{% endif %}\n";
    assert!(
        said(branch)
            .starts_with("error[DC0141]: `values.gone` is never set\n  --> manifests/api/a.yaml:5:14\n")
    );
    let guarded = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '{{ values.gone | default(3) }}'}\n{% if values.lost is defined %}\nx: 1\n{% endif %}\n";
    assert_eq!(said(guarded), "\n");
}

#[test]
fn a_failing_expression_shows_the_values_that_made_it_fail() {
    assert_eq!(
        said(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: {{ values.port + values.hosts }}}\n"
        ),
        "error[DC0142]: tried to use + operator on unsupported types number and sequence
  --> manifests/api/a.yaml:4:14
  |
4 | data: {x: {{ values.port + values.hosts }}}
  |              ^^^^^^^^^^^^^^^^^^^^^^^^^^
  = why: `values.port` is 8080, `values.hosts` is [\"a\",\"b\"]
"
    );
    let null =
        said("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: {{ values.nothing }}}\n");
    assert!(null.starts_with("error[DC0142]: the value is `null`, which is no text\n"), "{null}");
    let list = said("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: {{ values.hosts }}}\n");
    assert!(list.contains("| toyaml"), "{list}");
}

#[test]
fn a_mistake_behind_loops_and_branches_points_at_the_line_of_the_template() {
    let manifest = format!(
        "# head\n{}",
        POD.replace(
            "          ports:",
            "          env:
            {% for host in values.hosts %}
            - name: HOST_{{ loop.index }}
              value: {{ values.port }}
            {% endfor %}
          ports:"
        )
    );
    assert_eq!(
        said(&manifest),
        "error[DC0152]: `spec.template.spec.containers[0].env[0].value` takes a text, not the number `8080`
   --> manifests/api/a.yaml:16:15
   |
16 |               value: {{ values.port }}
   |               ^^^^^^^^^^^^^^^^^^^^^^^^
  = help: put quotes around it: `\"8080\"`, in a template `{{ … | quote }}`
  = rendered as:
        13 |           env:
        14 |             - name: HOST_1
        15 |               value: 8080
"
        .replace("        13 |           env:\n        14 |", "        14 |")
        .replace(
            "        15 |               value: 8080\n",
            "        15 |               value: 8080\n        16 |             - name: HOST_2\n"
        ) + "
error[DC0152]: `spec.template.spec.containers[0].env[1].value` takes a text, not the number `8080`
   --> manifests/api/a.yaml:16:15
   |
16 |               value: {{ values.port }}
   |               ^^^^^^^^^^^^^^^^^^^^^^^^
  = help: put quotes around it: `\"8080\"`, in a template `{{ … | quote }}`
  = rendered as:
        16 |             - name: HOST_2
        17 |               value: 8080
        18 |           ports: [{name: http, containerPort: 8080}]
"
    );
}

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: api}
spec:
  selector: {app: api}
  ports: [{name: http, port: 80, targetPort: http}]
";

/// What a manifest is made of.
enum Made {
    /// The pod with something replaced.
    Pod(&'static str, &'static str),
    /// The pod, its Service, and the Service once more with something replaced.
    Service(&'static [(&'static str, &'static str)]),
    /// The pod, its Service, and another object.
    With(&'static str),
    /// This text alone.
    Text(&'static str),
}

impl Made {
    fn text(&self) -> String {
        match self {
            Self::Pod(from, to) => POD.replace(from, to),
            Self::Service(pairs) => {
                let other = pairs.iter().fold(SERVICE.to_owned(), |text, (from, to)| text.replace(from, to));
                format!("{POD}---\n{SERVICE}---\n{other}")
            }
            Self::With(more) => format!("{POD}---\n{SERVICE}---\n{more}"),
            Self::Text(text) => (*text).to_owned(),
        }
    }
}

const CASES: &[(Made, &str)] = &[
    (
        Made::Pod("spec:\n  sel", "spec:\n  replicass: 3\n  sel"),
        "DC0151]: Deployment has no field `replicass` in `spec`",
    ),
    (
        Made::Pod("labels: {app: api}", "labels: {app: other}"),
        "DC0154]: Deployment/api selects other pods than its own",
    ),
    (Made::Service(&[("name: api", "name: b"), ("app: api", "app: z")]), "DC0154]: Service/b selects no pod"),
    (
        Made::Service(&[("name: api", "name: api, namespace: shop-blue")]),
        "DC0154]: Service/api in namespace `shop-blue` selects pods that exist only in namespace `app`",
    ),
    (Made::Service(&[]), "DC0153]: Service/api is there twice"),
    (
        Made::Service(&[("name: api", "name: b"), ("targetPort: http", "targetPort: htp")]),
        "DC0155]: the pods of Service/b have no port `htp`",
    ),
    (
        Made::With(
            "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\nspec: {maxReplicas: 3, scaleTargetRef: {kind: Deployment, name: apj}}\n",
        ),
        "DC0155]: HorizontalPodAutoscaler/a scales Deployment/apj, which is not there",
    ),
    (
        Made::With(
            "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: a}\nspec: {maxUnavailable: 1, selector: {matchLabels: {app: api}}}\n",
        ),
        "DC0156]: Kubernetes 1.36 does not serve PodDisruptionBudget in `policy/v1beta1`",
    ),
    (
        Made::With(
            "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: a}\nspec: {maxUnavailable: 0, selector: {matchLabels: {app: api}}}\n",
        ),
        "DC0175]: PodDisruptionBudget/a allows no disruption",
    ),
    (
        Made::With(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}\nspec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: api, port: {name: web}}}}]}}]}\n",
        ),
        "DC0155]: Service/api has no port `web`",
    ),
    (
        Made::With("apiVersion: apps/v1\nkind: Deploymnt\nmetadata: {name: a}\n"),
        "DC0150]: Kubernetes has no Deploymnt in `apps/v1`",
    ),
    (
        Made::With("apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n"),
        "DC0150]: the ConfigMap has no `metadata.name`",
    ),
    (
        Made::With("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: other}\n"),
        "DC0158]: ConfigMap/a is in namespace `other`, not `app`",
    ),
    (
        Made::Pod("ports:", "volumeMounts: [{name: tmp, mountPath: /tmp}]\n          ports:"),
        "DC0155]: container `api` mounts a volume `tmp` that is not there",
    ),
    (
        Made::Pod("ports:", "envFrom: [{configMapRef: {name: conf}}]\n          ports:"),
        "DC0155]: Deployment/api needs ConfigMap/conf, which none of the manifests defines",
    ),
    (
        Made::Pod("ports:", "readinessProbe: {httpGet: {path: /, port: web}}\n          ports:"),
        "DC0155]: container `api` has no port `web`",
    ),
    (
        Made::Pod("ports:", "imagePullPolicy: always\n          ports:"),
        "DC0152]: `always` is not a value of `spec.template.spec.containers[0].imagePullPolicy`",
    ),
    (
        Made::Pod("ports:", "resources: {limits: {memory: lots}}\n          ports:"),
        "DC0152]: `lots` is not an amount",
    ),
    (Made::Text("- 1\n"), "DC0150]: expected an object, found a list"),
    (Made::Text("a: [\n"), "DC0101]: not valid YAML"),
];

#[test]
fn each_mistake_of_an_object_is_named() {
    for (made, expected) in CASES {
        let found = said(&made.text());
        assert!(found.contains(expected), "expected {expected}\nfound:\n{found}");
        assert!(found.contains("--> manifests/api/a.yaml:"), "{found}");
    }
    let custom = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {any: thing}\n";
    assert_eq!(said(&Made::With(custom).text()), "\n");
}

#[test]
fn policies_speak_as_loudly_as_the_environment_says() {
    let count = |level: &str| {
        let policies = format!(
            "policies: {{image-tag: {level}, probes: {level}, limits: {level}, security-context: {level}}}\n"
        );
        let project = Project::new(&[
            ("environments/p.yaml", &format!("{MINIMAL}{policies}")),
            ("manifests/api/a.yaml", &POD.replace("api:1", "api:latest")),
        ]);
        let found = render::validate(&project.0, Some("p")).diagnostics;
        (found.errors(), found.warnings())
    };
    assert_eq!(count("error"), (5, 0));
    assert_eq!(count("warn"), (0, 5));
    assert_eq!(count("off"), (0, 0));
}

#[test]
fn a_job_of_the_way_back_is_a_job_beside_one_that_it_undoes() {
    let job = |name: &str, kind: &str, annotation: &str| {
        let (api, pods) = match kind {
            "Job" => (
                "batch/v1",
                "spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: 'a:1'}]}}}",
            ),
            _ => ("v1", "data: {}"),
        };
        let annotations = if annotation.is_empty() {
            String::new()
        } else {
            format!(", annotations: {{deployctl.dev/on: {annotation}}}")
        };
        format!("---\napiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}{annotations}}}\n{pods}\n")
    };
    let up = job("up", "Job", "");
    let long = "d".repeat(60);
    for (manifest, expected) in [
        (format!("{up}{}", job("down", "Job", "rollback")), ""),
        (
            job("down", "Job", "rollback"),
            "DC0159]: Job/down undoes nothing: no other Job of `api` runs on the way forward",
        ),
        (
            format!("{up}{}", job("down", "Job", "delete")),
            "DC0159]: Job/down: `deployctl.dev/on` is \"delete\", and it takes nothing but `rollback`",
        ),
        (
            format!("{up}{}", job("down", "ConfigMap", "rollback")),
            "DC0159]: ConfigMap/down cannot run on the way back: it is no Job",
        ),
        (format!("{up}{}", job(&long, "Job", "rollback")), "has 60 characters, and may have 53"),
    ] {
        let found = said(&manifest);
        let fits = if expected.is_empty() { !found.contains("DC0159") } else { found.contains(expected) };
        assert!(fits, "{expected}: {found}");
    }
}

#[test]
fn a_size_is_said_once_unless_an_autoscaler_decides() {
    let sized = |said: &str, replicas: &str, more: &str| {
        let pod = POD.replace("spec:\n  selector", &format!("spec:\n{replicas}  selector"));
        let environment = MINIMAL.replace("example.com/api", &format!("example.com/api{said}"));
        assert!(said.is_empty() || environment != MINIMAL, "{environment}");
        let quiet = "policies: {probes: off, limits: off, security-context: off, image-tag: off, hpa-replicas: off}\n";
        let project = Project::new(&[
            ("environments/p.yaml", &format!("{environment}{quiet}")),
            ("manifests/api/a.yaml", &format!("{pod}{more}")),
        ]);
        project.validate("p")
    };
    let scaler = "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\nspec: {maxReplicas: 3, scaleTargetRef: {kind: Deployment, name: api}}\n";
    let own = ", replicas: 3";
    for (said, replicas, more) in [
        ("", "  replicas: 10\n", ""),
        (own, "", ""),
        (own, "  replicas: 3\n", ""),
        (own, "  replicas: {{ replicas.min }}\n", ""),
        (own, "  replicas: 10\n", scaler),
    ] {
        let found = sized(said, replicas, more);
        assert!(!found.contains("DC0160"), "{said} {replicas} {more}: {found}");
    }
    let found = sized(own, "  replicas: 10\n", "");
    assert!(
        found.contains(
            "error[DC0160]: Deployment/api says `replicas: 10`, the environment `components.api.replicas` 3\n  --> manifests/api/a.yaml:5:13"
        ),
        "{found}"
    );
}
