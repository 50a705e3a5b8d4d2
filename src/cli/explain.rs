//! Every stable code with what it means and what to do.

use crate::config;

/// Codes of planning, running and the command line: number, title, explanation.
const CODES: &[(u16, &str, &str)] = &[
    (
        1,
        "internal error",
        "Something that should never happen did. Nothing was left half-written: the journal tells what was done.\nRun the command again with -v, and report what it prints.",
    ),
    (
        301,
        "which workload takes the traffic",
        "Canary and blue-green move one workload of a component: revision by revision, with its traffic. Of several it is the one that has the component's name; the others are changed in place and waited for. Name it so, use `strategy: rolling`, or split the component.",
    ),
    (
        302,
        "the strategy does not fit the kind",
        "Blue-green, and canary with a router, run two revisions side by side, each a Deployment of its own. A StatefulSet can be a canary by its pods (`strategy: canary` without a router): they are updated a share at a time. A DaemonSet is changed in place: use `strategy: rolling`.",
    ),
    (
        303,
        "objects wait for each other",
        "The annotation `deployctl.dev/depends-on` makes an object wait for others, beside what it mounts, reads or runs as. These objects wait for each other in a circle: take one of the annotations away.",
    ),
    (
        304,
        "fields belong to somebody else",
        "Somebody changed fields of live objects that the release sets too. The plan says who, when, and from what to what. Take a field over with `--take FIELD` (or `--take Kind/name:FIELD`, or `take:` in the environment), or leave it out of the manifest so that it stays theirs.",
    ),
    (
        305,
        "objects have to be replaced",
        "Some fields cannot be changed once an object exists: it has to be deleted and made anew. The plan marks it `-/+` and says what that costs. Say yes to it with `--allow-replace`, or keep the field as it is.",
    ),
    (
        306,
        "a router has no route",
        "With `router: nginx`, `gateway`, `istio` or `alb` the weights of a canary are written into a route: an Ingress, an HTTPRoute or a VirtualService whose backend is one of the component's Services. None of the manifests has one. Add it, or leave `router` out: then the number of pods is the weight.",
    ),
    (
        307,
        "a route cannot be divided",
        "During a canary there are a Service `NAME-canary` and, for nginx, an Ingress `NAME-canary`; during a preview a Service `NAME-preview`. Something of that name stands in the manifests, another canary is there for the same host and path (one is effective), the canary's Service would back an ordinary Ingress (nginx then ignores the canary), or two components would write the weights of one route.",
    ),
    (
        308,
        "it cannot take turns in two namespaces",
        "With `green_namespace` every second release of a component stands in another namespace than the first. What holds data (claims, StatefulSets) would stay behind, a CronJob would run twice, an Ingress cannot lead there, and what the component's pods mount or run as must be among its own manifests. Its routes (HTTPRoutes or VirtualServices, as `switch` says) must be, too: they stay and are led over. To end it, release until the component serves from the environment's own namespace, then change the strategy.",
    ),
    (
        309,
        "a Service would leave stable without traffic",
        "While two revisions serve, a Service has to lead to pods of both or to those of stable. With a router, the route keeps naming the Service and the port that it named before until all traffic has moved: a Service that is renamed leads to nobody yet, and a port that is gone is not found. With pods as the router, a Service is changed before there are new pods: its selector and `targetPort` have to fit the pods that serve now. Make two releases of it, or let blue-green switch the Service with its pods. A rollback is never refused for this.",
    ),
    (
        310,
        "the plan file cannot be used",
        "It is no plan, is damaged, or was written by a newer deployctl. Make it again with `deployctl plan ENV --out FILE`.",
    ),
    (311, "a file cannot be written", "The file was written whole or not at all; nothing else happened."),
    (
        312,
        "a saved plan would hold secrets",
        "A manifest holds the values of a Secret, and a file is copied and kept. Move them under `secrets:` of the \
         environment, as references: a plan holds a keyed hash of the value then. Without --out they go to the cluster alone.",
    ),
    (
        601,
        "the target is left out",
        "The plan or run concerns a target that --target left out. Run the command without --target.",
    ),
    (
        602,
        "the journal is of a newer deployctl",
        "Records carry a format number, and this program does not guess at newer ones. Use the deployctl that began the run, or a newer one.",
    ),
    (
        603,
        "the journal is damaged",
        "A record other than the last cannot be read, so what was done after it cannot be told. The message names the record, the object that holds it, and what is certain. Nobody can go forward from there; `deployctl rollback ENV --despite-damaged-journal` takes back all that the run may have begun, traffic first: every step's way back is safe where nothing of it was done. With `--to REVISION` an older release comes back after that. A last record that is torn is no damage: nothing rests on it.",
    ),
    (
        604,
        "preflight refused",
        "A check that comes before the first write failed. Each says how to mend it. Nothing was written.",
    ),
    (
        605,
        "the cluster cannot be used",
        "The API server did not answer, or refused us. The context tried stands in the message. `deployctl rehearse ENV` needs no cluster.",
    ),
    (
        606,
        "no such release",
        "The release is not on record: it never was, failed, or is older than `history` keeps. `deployctl history ENV` lists those there are.",
    ),
    (
        607,
        "the plan is of an older world",
        "Between plan and run another release was made or objects changed. The plan you approved would do something else now, so it is refused. Plan again.",
    ),
    (
        608,
        "an earlier run stopped in the middle",
        "A run that crashed, was interrupted or lost contact still has to be finished: `deployctl resume ENV` goes on, `deployctl rollback ENV` takes it back.",
    ),
    (
        609,
        "the project's tests failed",
        "The command under `tests:` did not succeed; nothing was planned or written. `--skip tests` leaves it out.",
    ),
    (610, "the lock cannot be read or taken", "The Lease in the state namespace could not be reached."),
    (
        611,
        "no permission for the lock",
        "A run needs get, create, update and delete on leases.coordination.k8s.io in the state namespace.",
    ),
    (
        612,
        "somebody else holds the lock",
        "One run at a time per environment and target. The message says who, since when and for what. `--wait` queues; a holder that is gone lapses by itself, and `deployctl resume ENV`, `rollback ENV` and `abort ENV` wait for that.",
    ),
    (
        613,
        "the lock is alive",
        "Its holder renewed it lately. Taking it away lets two runs write at once: only with --force, when you know that the holder is gone.",
    ),
    (
        614,
        "nothing to resume",
        "No run of this environment stopped in the middle, or somebody else finished it or took it up while its lock was waited for.",
    ),
    (
        615,
        "not yet",
        "This part has no adapter yet and is refused on a real run; `deployctl rehearse ENV` simulates it. Nothing prints as done what was not done.",
    ),
    (
        616,
        "the metric store cannot be asked",
        "A `prometheus:` URL or a template under `metrics.queries` is malformed.",
    ),
    (
        620,
        "a release record is damaged",
        "Its checksum or form is wrong, and the plan of its run, from which it could be read, is no longer kept or is damaged, too. Other releases are not concerned: delete the record with the command that is shown. That release can then no longer be brought back.",
    ),
    (621, "a release record is of a newer deployctl", "Use the deployctl that wrote it, or a newer one."),
    (
        622,
        "the records cannot be read",
        "Leases, journals and releases live in the state namespace of each target; it could not be read.",
    ),
    (
        623,
        "no run is going on",
        "`promote`, `pause`, `approve` and `abort` speak to a run that goes on at this moment, from any machine. There is none.",
    ),
    (
        624,
        "the run's process is gone",
        "The run is not over, but nobody works on it: its lock has lapsed. Nobody would read what is asked. `deployctl resume ENV` goes on with it, `deployctl rollback ENV` or `deployctl abort ENV` takes it back.",
    ),
    (
        625,
        "nobody could be asked",
        "What is asked of a run is left as a record in the state namespace of every target that can be reached. None could.",
    ),
    (
        626,
        "the run has not answered",
        "The wish is on record but the run has not said that it read it: it may have lost contact with the targets that could be told. It reads it when it is back. `abort`, and `resume` of a paused run, take over from a process that is gone.",
    ),
    (
        627,
        "too late to abort",
        "The run had ended before it could turn back. `deployctl rollback ENV` brings the release before it back.",
    ),
    (
        628,
        "the abort is incomplete",
        "The run's process ended before everything was as it was. `deployctl rollback ENV` goes on with taking it back.",
    ),
    (
        629,
        "the run is on its way back",
        "Abort beats everything: a run that turns back can be asked nothing more. `deployctl status ENV --watch` follows it.",
    ),
    (
        630,
        "the plan cannot be stored",
        "A run stores its plan before it writes anything else, so that any machine can resume it. That write failed.",
    ),
    (
        631,
        "an approval is needed",
        "The stage waits for a person's yes (`approve:` or `approve_waves:`). A promote shortens holds and does not stand for it.",
    ),
    (
        632,
        "no hold now",
        "A promote ends the hold that the run is in, which its author has seen. The run is in none: it is on its way to the next, or all are over. `deployctl promote ENV --full` holds no more at all.",
    ),
    (
        633,
        "nothing to approve",
        "An approval is given to the stage that waits for it, never in advance. `deployctl status ENV` says where the run stands.",
    ),
    (
        634,
        "the environment is frozen",
        "`freeze:` or `allowed:` of the environment says that nothing goes out now; the message says why and when it opens again. `--override-freeze REASON` deploys all the same: the reason goes on record. Rollbacks, aborts and resumed runs are never frozen.",
    ),
    (
        635,
        "the targets would go back to different releases",
        "A release went to some targets only, so that the one before is not the same everywhere, and a rollback brings one release back. Name it: `deployctl rollback ENV --to N` for all, or `--target TARGET --to N` for one target after the other.",
    ),
    (
        636,
        "the release serves already",
        "`rollback --to N` names what serves now, and nothing of it differs: there is nothing to bring back, and nothing was written. `deployctl history ENV` lists what ran.",
    ),
    (
        637,
        "interrupted before anything was begun",
        "Ctrl-C or a signal came while locks were waited for, or before the plan was stored. Nothing was written and the locks are given back.",
    ),
    (
        638,
        "several runs are going on",
        "Targets that are released to on their own (`--target`) have runs of their own. `promote`, `pause`, `approve` and `abort` take `--target`, too: name a target of the run that is meant.",
    ),
    (
        640,
        "a secret cannot be read",
        "A `${env:…}` or `${file:…}` reference under `secrets:` has no value here. Values are read when they are needed and never printed.",
    ),
    (
        641,
        "the secrets of an older release are not to be had",
        "Records hold references to values, never the values. A Secret of the older release is gone from the cluster, and its source has another value by now, so that nobody can make it again. Provide the value that it had then, or bring another release back with `--to`.",
    ),
    (
        650,
        "no target is left",
        "`--without` (or `unreachable: skip`) left every target out. What is left out is owed the release that the others have, so at least one target must take it.",
    ),
    (
        651,
        "a target is owed a release",
        "An earlier release left a target out, and this one would go out without it and without a word. `deployctl resume ENV` brings the target what it is owed; a release to all targets settles it, too; `--without TARGET` leaves it out once more.",
    ),
    (
        652,
        "a target still gives no answer",
        "It is owed a release or the way back from one, and nothing can be done for it until its API server answers. `deployctl resume ENV` then does what is owed. A release to the others: `deployctl ENV --without TARGET`.",
    ),
    (
        653,
        "a target came back in the middle of an older run",
        "It was out of reach while the others rolled that run back or went on without it. What they decided holds for it too: `deployctl resume ENV` takes the older run back there, then brings what the target is owed.",
    ),
    (
        654,
        "the plan of a run is damaged",
        "Every target of a run holds its plan; one whole copy is enough. None is left, so nobody knows what the run has begun. What it made carries its number in the label `deployctl.dev/revision`: bring traffic to the revision before, scale the other one to 0, delete the record of the plan with the command that is shown (the run is then forgotten), and bring a recorded release back.",
    ),
    (
        655,
        "a run is still to be taken back on a target",
        "The run failed and is back where targets answer; one that did not answer is owed the same. A rollback now would take the others one release further back than they are. `deployctl resume ENV` ends the run once the target answers; `deployctl rollback ENV --to N` brings a certain release back all the same.",
    ),
    (
        656,
        "the newest release was taken back already",
        "By the run itself, by its guard, or by somebody who was faster. A `rollback` that names no release undoes the newest one and never goes back twice: `--to N` goes further back.",
    ),
    (
        660,
        "there is no such guard",
        "A guard watches Kubernetes clusters. Inside of a cluster it watches that one: name its target. What `--manifest` prints runs the image that `guard: {image: …}` names.",
    ),
    (
        701,
        "no terminal for the prompt",
        "Without a terminal nobody can answer, and silence is No. Add --auto-approve.",
    ),
    (702, "not approved", "The prompt was answered with No. Nothing was written."),
    (703, "wrong --image", "Write --image COMPONENT=REFERENCE."),
    (704, "no such target or component", "The environment does not have it; the message lists those it has."),
    (705, "no version", "Neither --version nor the environment's `version:` says what to deploy."),
    (706, "wrong time", "Write e.g. 30s, 5m, 1h30m."),
    (707, "no smoke tests", "The environment has no `smoke:` section."),
    (708, "smoke tests failed", "`deployctl smoke ENV` changes nothing; it says what was answered."),
    (709, "wrong release number", "Releases are numbered 1, 2, 3 …; write 12 or r12."),
    (710, "no such code", "`deployctl explain` lists all codes."),
    (
        711,
        "wrong fault",
        "`deployctl rehearse --list-faults` lists what can go wrong, and how it is written.",
    ),
    (
        712,
        "the manifests do not come up in the simulated world",
        "Before a rehearsal begins, the release before is brought into the simulated clusters by the same code. That failed: a workload asks for more than the simulated nodes have, say, or is not allowed by a quota.",
    ),
    (
        714,
        "wrong --ask",
        "Write WISH@TIME, e.g. `--ask pause@12m --ask resume@30m`: what an operator asks of the rehearsed run, and when.",
    ),
    (
        731,
        "wrong --crash-at",
        "Write a virtual time (`--crash-at 12m`) or the number of a write (`--crash-at write:37`): the process dies before it, or with `:after` once it is carried out and before it is answered.",
    ),
    (
        732,
        "a rule was broken",
        "What must hold of every release, whatever goes wrong, did not: traffic went where nobody was ready, somebody wrote without the lock, a rollback left something behind, a run could not be ended. This is a mistake in deployctl. The flags that are told play it again, exactly: please report them.",
    ),
    (
        713,
        "no plan to comment",
        "`--output github` writes a plan as a comment for a pull request: it goes with `plan`, and with --dry-run.",
    ),
    (
        720,
        "recorded metrics cannot be replayed",
        "The file is one JSON object: `params` and `thresholds` where they differ from the defaults, then `vectors`. A vector has a `name`, burst factors `phi_err` and `phi_lat`, and either `steps` (blocks with `t`, `dt`, `weight`, and `canary` and `control` with `n`, `err`, `slow`) or `targets` with raw `samples`. The lines say which vector, block and field are wrong; the other vectors were judged.",
    ),
    (
        721,
        "the judge says otherwise than the recording expects",
        "`--check` compares every log to the file's `tolerance`, and every verdict. The first difference is named; all blocks were printed.",
    ),
    (
        722,
        "an environment without gates",
        "`deployctl metrics ENV` asks the gates of the environment file once; there are none under `gates:`.",
    ),
    (
        723,
        "a gate is breached by what serves now",
        "What serves now breaks a limit that a new release would be held to. Nothing was changed. A release into this state is held, since stable breaks the limit too, unless the gate says `shared: rollback`.",
    ),
    (
        724,
        "no such release on record",
        "`metrics ENV --replay REV` needs a release that is on record. The oldest ones are dropped as `history` says, and what the gates saw goes with its release.",
    ),
    (
        725,
        "nothing on record that gates saw",
        "The release is on record, but no gate looked at anything: it had no canary hold or no gates, it turned back before the first hold, or the deployctl that released it kept nothing yet.",
    ),
    (
        726,
        "what the gates saw cannot be read",
        "The record in the state namespace is damaged or of a newer deployctl, or the cluster does not answer. Releases and rollbacks do not need it.",
    ),
    (
        727,
        "the gates say otherwise than then",
        "`--check` compares whether each gate would have rolled the release back with whether it did.",
    ),
];

/// All codes of the program, sorted.
#[must_use]
pub fn all() -> Vec<(u16, &'static str, &'static str)> {
    let mut codes: Vec<_> = CODES.iter().chain(config::codes::CODES).copied().collect();
    codes.sort_by_key(|(number, ..)| *number);
    codes
}
