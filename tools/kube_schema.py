#!/usr/bin/env python3
"""Makes src/domain/kube_schema.bin from OpenAPI v3 documents of a Kubernetes API server.

usage: tools/kube_schema.py DIR/*.json.gz > src/domain/kube_schema.bin

The documents are what `kubectl get --raw /openapi/v3/apis/apps/v1` prints, one file per group, gzipped.
The table is gzipped text, one struct type a line; src/domain/kube_schema.rs documents and reads the format.
"""

import gzip
import json
import sys

SKIP = {"DeleteOptions", "WatchEvent", "Status", "APIGroup", "APIGroupList", "APIResourceList", "APIVersions"}
TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.Time"
SPECIAL = {
    TIME: "d",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "D",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "q",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "x",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "j",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "j",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch": "j",
}
PREFIX = "io.k8s."


def main(paths):
    schemas = {}
    for path in sorted(paths):
        with gzip.open(path) as file:
            for name, schema in json.load(file)["components"]["schemas"].items():
                schemas.setdefault(name, schema)
    roots = [n for n in sorted(schemas) if gvks(schemas[n])]
    ids, order = {}, []

    def visit(name):
        if name in ids or name in SPECIAL or "properties" not in schemas[name]:
            return
        ids[name] = len(order)
        order.append(name)
        for prop in sorted(schemas[name]["properties"]):
            for ref in refs(schemas[name]["properties"][prop]):
                visit(ref)

    for root in roots:
        visit(root)
    lines = [line(name, schemas[name], ids, schemas) for name in order]
    data = ("\n".join(lines) + "\n").encode()
    sys.stdout.buffer.write(gzip.compress(data, 9, mtime=0))
    print(f"{len(order)} types, {len(data)} bytes", file=sys.stderr)


def gvks(schema):
    found = schema.get("x-kubernetes-group-version-kind", [])
    if len(found) != 1 or found[0]["kind"] in SKIP or found[0]["kind"].endswith("List"):
        return []
    return found


def refs(node):
    if "$ref" in node:
        yield node["$ref"].rsplit("/", 1)[1]
    for part in node.get("allOf", []):
        yield from refs(part)
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield from refs(node[key])


def line(name, schema, ids, schemas):
    gvk = ",".join(f"{g['group']}/{g['version']}/{g['kind']}" for g in gvks(schema))
    atomic = "A" if schema.get("x-kubernetes-map-type") == "atomic" else ""
    required = set(schema.get("required", []))
    fields = [
        field(prop, node, prop in required, ids, schemas)
        for prop, node in sorted(schema["properties"].items())
    ]
    return "\t".join([name.removeprefix(PREFIX), atomic, gvk, *fields])


def field(name, node, required, ids, schemas):
    parts = [name, type_of(node, ids, schemas)]
    flags = "!" if required else ""
    strategy = node.get("x-kubernetes-patch-strategy", "")
    if "merge" in strategy.split(","):
        flags += "m"
    if "retainKeys" in strategy.split(","):
        flags += "r"
    parts.append(flags)
    parts.append(node.get("x-kubernetes-patch-merge-key", ""))
    if "default" in node:
        parts.append(json.dumps(node["default"], separators=(",", ":")))
    return " ".join(parts).rstrip()


def type_of(node, ids, schemas):
    for ref in ([node] if "$ref" in node else node.get("allOf", [])):
        name = ref["$ref"].rsplit("/", 1)[1]
        if name in SPECIAL:
            return SPECIAL[name]
        if name in ids:
            return f"@{ids[name]}"
        return "{j" if schemas[name].get("type") == "object" else "j"
    kind = node.get("type")
    if kind == "array":
        mode = node.get("x-kubernetes-list-type", "atomic")
        keys = ",".join(node.get("x-kubernetes-list-map-keys", []))
        lead = {"atomic": "[a", "set": "[s", "map": f"[m({keys})"}[mode]
        return lead + type_of(node["items"], ids, schemas)
    if kind == "object":
        inner = type_of(node["additionalProperties"], ids, schemas)
        return ("{!" if node.get("x-kubernetes-map-type") == "atomic" else "{") + inner
    if kind == "string" and "enum" in node:
        return "e(" + ",".join(node["enum"]) + ")"
    if kind == "string":
        return "y" if node.get("format") == "byte" else "s"
    if kind == "integer":
        return "l" if node.get("format") == "int64" else "i"
    return {"boolean": "b", "number": "n"}.get(kind, "j")


if __name__ == "__main__":
    main(sys.argv[1:])
