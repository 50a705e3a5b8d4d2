//! The stable codes of mistakes in environments, templates and manifests, for `deployctl explain CODE`.

/// Code, title and explanation of every kind of mistake that is found here.
pub const CODES: &[(u16, &str, &str)] = &[
    (
        SYNTAX,
        "not valid YAML",
        "The file cannot be read as YAML: an indentation, a colon, a quote or a bracket is wrong. The message points at the place where the reader gave up; the cause is often on the line before. Tabs are not allowed as indentation, and a value that begins with `{`, `[`, `*`, `&`, `%`, `@` or a backtick needs quotes.",
    ),
    (
        DUPLICATE_KEY,
        "a key is there twice",
        "A mapping names the same key twice. YAML readers differ in which of the two they take, so neither is taken: remove one.",
    ),
    (
        TOO_LARGE,
        "the file is too large",
        "The file has more bytes, more nesting or (through aliases) more values than any environment needs. This guards against files that are made to exhaust memory.",
    ),
    (
        UNKNOWN_KEY,
        "unknown key",
        "The key means nothing at this place and would be ignored. It is usually a slip of the pen; the nearest known key is suggested. `deployctl schema` prints all keys with their meaning.",
    ),
    (
        WRONG_TYPE,
        "wrong type of value",
        "The value is of another type than the key takes, e.g. a list where a mapping is needed, or a word where a number is.",
    ),
    (
        BAD_UNIT,
        "a unit is missing or unknown",
        "Durations are written with their unit (`200ms`, `30s`, `5m`, `1h30m`, `2d`), shares with a percent sign (`5%`, `99.95%`).",
    ),
    (
        OUT_OF_RANGE,
        "a value is out of range",
        "The value has the right type but lies outside of what the key takes.",
    ),
    (UNKNOWN_WORD, "unknown word", "The key takes one of a few words and this is none of them."),
    (
        MISSING,
        "something required is missing",
        "An environment is incomplete: neither the file nor the files that it extends set a value that has no default.",
    ),
    (
        NOT_FOUND,
        "a file cannot be found or read",
        "A file that is named does not exist, is not readable or is not UTF-8 text.",
    ),
    (
        EXTENDS_CYCLE,
        "files extend each other in a circle",
        "Following `extends` comes back to a file that was read already. Put what they share in a third file that extends neither.",
    ),
    (UNKNOWN_ENVIRONMENT, "unknown environment", "There is no `environments/NAME.yaml` of that name."),
    (
        UNKNOWN_COMPONENT,
        "unknown component",
        "A gate, smoke test, `depends_on`, `--image` or `--component` names a component that the environment does not have.",
    ),
    (
        DEPENDENCY_CYCLE,
        "components depend on each other in a circle",
        "Components are deployed in the order of `depends_on`; a circle has no order.",
    ),
    (
        BAD_STEPS,
        "canary steps do not rise",
        "The weights of a canary rise from step to step and stay below 100 %; the last step to 100 % follows by itself.",
    ),
    (BAD_WAVES, "waves do not match the targets", "Every target is in exactly one wave."),
    (
        UNKNOWN_TARGET,
        "unknown target",
        "A wave, a backup or the command line names a target that `targets` does not have.",
    ),
    (
        BAD_GATE,
        "a gate cannot decide",
        "A gate needs one thing that is measured (`metric`, which may name a store of its own, or `query`) and at least one limit (`max` or `min`) in the unit of what it measures.",
    ),
    (
        BAD_CLUSTER,
        "a target has no cluster",
        "On Kubernetes every target says how its API server is reached: `cluster: {context: NAME}`.",
    ),
    (
        BAD_SECRET,
        "a secret stands in the file",
        "Secrets are written as references (`${env:NAME}`, `${file:PATH}`, `${aws-sm:NAME#KEY}`), which are read when a plan is applied and never printed. A literal value would end up in version control.",
    ),
    (
        SECRET_ELSEWHERE,
        "a secret reference outside of `secrets`",
        "References like `${env:NAME}` are resolved under `secrets`, and in the credentials and headers of metric stores, only, so that a secret can never reach a template, a plan or a log. Anywhere else the text would be taken literally.",
    ),
    (
        CONFLICT,
        "settings contradict each other",
        "Two settings cannot hold together; the message names both.",
    ),
    (
        BAD_OVERRIDE,
        "a command line override cannot be used",
        "`--set` takes `path.to.value=VALUE`, `--image` takes `component=reference`.",
    ),
    (
        NOTHING_TO_DELETE,
        "`null` deletes nothing",
        "`key: null` deletes the key that an extended file sets. Here no extended file sets it.",
    ),
    (
        UNUSED_VALUE,
        "a template value is never used",
        "No template of any environment reads this value; it may be misspelt, or left over.",
    ),
    (
        BAD_NAME,
        "not a valid name",
        "Names become names of Kubernetes objects: lower-case letters, digits and `-`, beginning and ending with a letter or digit, at most 63 characters.",
    ),
    (
        BASE_ONLY,
        "not an environment of its own",
        "The file is a base that others extend: it names no targets or components, so nothing can be deployed to it.",
    ),
    (
        BAD_READINESS,
        "a readiness rule cannot decide",
        "A rule under `readiness` names a kind and one thing that its objects show when they are ready: a condition, a field with a value, or `exists: true`. Workloads are judged by their pods and take no rule.",
    ),
    (
        TEMPLATE_SYNTAX,
        "a template cannot be read",
        "A manifest template has a mistake in its `{{ … }}` or `{% … %}` parts.",
    ),
    (
        TEMPLATE_UNDEFINED,
        "a template reads a value that is never set",
        "Undefined values are errors: an empty text in a manifest is never what was meant. Set the value under `values`, or give it a default with `| default(…)`.",
    ),
    (
        TEMPLATE_FAILED,
        "a template fails",
        "A filter, test or expression in a template cannot work with the value it gets.",
    ),
    (
        NO_MANIFESTS,
        "a component has no manifests",
        "The component's `manifests` name no file; without one nothing of it is deployed.",
    ),
    (
        OBJECT_SHAPE,
        "not a Kubernetes object",
        "Every document of a manifest has `apiVersion`, `kind` and `metadata.name`.",
    ),
    (
        OBJECT_UNKNOWN_FIELD,
        "unknown field of a Kubernetes object",
        "The API server drops or refuses fields that the kind does not have.",
    ),
    (
        OBJECT_WRONG_TYPE,
        "wrong type of a field of a Kubernetes object",
        "The API server refuses a field of another type, e.g. a number where a text is needed (environment variables and annotations are texts: quote them).",
    ),
    (
        OBJECT_DUPLICATE,
        "an object is there twice",
        "Two documents describe the same object; the later would overwrite the earlier.",
    ),
    (
        OBJECT_SELECTOR,
        "a selector does not match",
        "A workload's selector must match the labels of its own pod template, or the API server refuses it; a Service, PodDisruptionBudget or NetworkPolicy whose selector matches no pod does nothing.",
    ),
    (
        OBJECT_REFERENCE,
        "an object points at something that is not there",
        "A reference names an object, a port or a volume that none of the manifests defines.",
    ),
    (
        OBJECT_API_REMOVED,
        "an API version that the cluster does not serve",
        "Kubernetes removes old API versions; an object of one cannot be applied to a cluster of the named version.",
    ),
    (
        OBJECT_API_DEPRECATED,
        "a deprecated API version",
        "The API version still works but goes away in a later Kubernetes version.",
    ),
    (
        OBJECT_NAMESPACE,
        "an object in another namespace",
        "Objects of an application live in its namespace; one elsewhere is not covered by its lock, diff and rollback.",
    ),
    (
        OBJECT_HOOK,
        "a Job of the way back cannot be one",
        "`deployctl.dev/on: rollback` on a Job keeps it out of the way forward: it runs when its release is left backwards, after stable carries everything, and undoes what the other Jobs of its component did. Anything else cannot carry the annotation, it takes no other value, and a component without another Job has nothing to undo.",
    ),
    (
        OBJECT_SIZE,
        "two sizes for one workload",
        "The environment's `replicas` and the workload's manifest say different numbers, and no autoscaler decides. One of them has to say it: write `replicas: {{ replicas.min }}` in the manifest, or take one of the two away.",
    ),
    (
        POLICY_IMAGE,
        "policy `image-tag`",
        "An image without a tag, or with `latest`, can change under a release: rollback would not bring back what ran before.",
    ),
    (
        POLICY_PROBES,
        "policy `probes`",
        "Without a readiness probe traffic reaches pods that cannot answer yet, and a rollout cannot tell a healthy revision from a broken one. Without a liveness probe a hung process stays.",
    ),
    (
        POLICY_LIMITS,
        "policy `limits`",
        "Without requests the scheduler guesses and CPU autoscaling does not work; without a memory limit one pod can take its node down.",
    ),
    (
        POLICY_SECURITY,
        "policy `security-context`",
        "Containers run as non-root, with a read-only root filesystem, without privilege escalation and without capabilities, unless there is a reason.",
    ),
    (
        POLICY_HPA,
        "policy `hpa-replicas`",
        "A Deployment that sets `replicas` while a HorizontalPodAutoscaler owns it: every apply would throw the autoscaler's decision away.",
    ),
    (
        POLICY_PDB,
        "policy `disruption-budget`",
        "A PodDisruptionBudget that allows no disruption at all blocks every node drain.",
    ),
];

/// Not YAML.
pub const SYNTAX: u16 = 101;
/// A key twice.
pub const DUPLICATE_KEY: u16 = 102;
/// Too many bytes, levels or nodes.
pub const TOO_LARGE: u16 = 103;
/// Unknown key.
pub const UNKNOWN_KEY: u16 = 104;
/// Wrong type.
pub const WRONG_TYPE: u16 = 105;
/// Unit missing or unknown.
pub const BAD_UNIT: u16 = 106;
/// Out of range.
pub const OUT_OF_RANGE: u16 = 107;
/// None of the words.
pub const UNKNOWN_WORD: u16 = 108;
/// Required and absent.
pub const MISSING: u16 = 109;
/// A file that is not there.
pub const NOT_FOUND: u16 = 110;
/// `extends` in a circle.
pub const EXTENDS_CYCLE: u16 = 111;
/// No such environment.
pub const UNKNOWN_ENVIRONMENT: u16 = 112;
/// No such component.
pub const UNKNOWN_COMPONENT: u16 = 113;
/// `depends_on` in a circle.
pub const DEPENDENCY_CYCLE: u16 = 114;
/// Canary weights.
pub const BAD_STEPS: u16 = 115;
/// Waves.
pub const BAD_WAVES: u16 = 116;
/// No such target.
pub const UNKNOWN_TARGET: u16 = 117;
/// A gate without a measure or a limit.
pub const BAD_GATE: u16 = 118;
/// A target without a cluster.
pub const BAD_CLUSTER: u16 = 119;
/// A literal secret.
pub const BAD_SECRET: u16 = 120;
/// A secret reference where none is resolved.
pub const SECRET_ELSEWHERE: u16 = 121;
/// Contradiction.
pub const CONFLICT: u16 = 122;
/// `--set`, `--image`.
pub const BAD_OVERRIDE: u16 = 123;
/// `null` for nothing.
pub const NOTHING_TO_DELETE: u16 = 124;
/// A value that no template reads.
pub const UNUSED_VALUE: u16 = 125;
/// Not a name.
pub const BAD_NAME: u16 = 126;
/// A base file deployed.
pub const BASE_ONLY: u16 = 127;
/// A readiness rule.
pub const BAD_READINESS: u16 = 128;
/// Template syntax.
pub const TEMPLATE_SYNTAX: u16 = 140;
/// Undefined in a template.
pub const TEMPLATE_UNDEFINED: u16 = 141;
/// A template that fails otherwise.
pub const TEMPLATE_FAILED: u16 = 142;
/// No manifest files.
pub const NO_MANIFESTS: u16 = 143;
/// Not an object.
pub const OBJECT_SHAPE: u16 = 150;
/// Unknown field.
pub const OBJECT_UNKNOWN_FIELD: u16 = 151;
/// Wrong type of field.
pub const OBJECT_WRONG_TYPE: u16 = 152;
/// Duplicate object.
pub const OBJECT_DUPLICATE: u16 = 153;
/// Selector.
pub const OBJECT_SELECTOR: u16 = 154;
/// Reference.
pub const OBJECT_REFERENCE: u16 = 155;
/// Removed API.
pub const OBJECT_API_REMOVED: u16 = 156;
/// Deprecated API.
pub const OBJECT_API_DEPRECATED: u16 = 157;
/// Another namespace.
pub const OBJECT_NAMESPACE: u16 = 158;
/// See [`CODES`].
pub const OBJECT_HOOK: u16 = 159;
/// Two sizes.
pub const OBJECT_SIZE: u16 = 160;
/// `image-tag`.
pub const POLICY_IMAGE: u16 = 170;
/// `probes`.
pub const POLICY_PROBES: u16 = 171;
/// `limits`.
pub const POLICY_LIMITS: u16 = 172;
/// `security-context`.
pub const POLICY_SECURITY: u16 = 173;
/// `hpa-replicas`.
pub const POLICY_HPA: u16 = 174;
/// `disruption-budget`.
pub const POLICY_PDB: u16 = 175;
