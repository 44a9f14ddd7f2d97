import { expect, test } from "vitest";
import type { Fields } from "../../src/base/json.ts";
import { parsePod } from "../../src/cluster/pods.ts";

const metadata = { name: "db-0", namespace: "kaa", uid: "1" };
const conditions = [{ type: "Ready", status: "True" }];
const parsed = (pod: Fields) => parsePod({ metadata, ...pod });
const owned = (owner: Fields, labels = {}) =>
  parsed({ metadata: { ...metadata, labels, ownerReferences: [{ controller: true, ...owner }] } });

test.each(["name", "namespace", "uid"])("what has no %s is no pod", (field) => {
  expect(parsePod({ metadata: { ...metadata, [field]: undefined } })).toBeUndefined();
});

test("a pod that is being deleted is not ready, whatever its conditions say", () => {
  const status = { phase: "Running", conditions };
  expect(parsed({ status })).toMatchObject({ ready: true, phase: "Running" });
  const deleted = { ...metadata, deletionTimestamp: "2026-01-01T00:00:00Z" };
  expect(parsed({ metadata: deleted, status })).toMatchObject({ ready: false, phase: "Terminating" });
});

test.each<[string, ReturnType<typeof parsed>, string]>([
  ["of a StatefulSet is its own", owned({ kind: "StatefulSet", name: "db" }), "db"],
  [
    "of a ReplicaSet is the Deployment's",
    owned({ kind: "ReplicaSet", name: "web-5d4f" }, { "pod-template-hash": "5d4f" }),
    "web",
  ],
  [
    "of a ReplicaSet that somebody made by hand is its own",
    owned({ kind: "ReplicaSet", name: "web-5d4f" }),
    "web-5d4f",
  ],
  ["of something that does not control the pod does not count", owned({ controller: false, name: "x" }), "db-0"],
  ["of nobody is the pod's", parsed({}), "db-0"],
])("an owner's name: that %s", (_, pod, owner) => {
  expect(pod?.owner).toBe(owner);
});

test("a variable comes from the pod's spec, a Secret or elsewhere", () => {
  const env = [
    { name: "PLAIN", value: "x" },
    { name: "EMPTY" },
    { name: "SECRET", valueFrom: { secretKeyRef: { name: "db", key: "password" } } },
    { name: "FIELD", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
  ];
  expect(parsed({ spec: { containers: [{ name: "main", env }] } })?.containers[0]?.environment).toEqual({
    PLAIN: { value: "x" },
    EMPTY: { value: "" },
    SECRET: { secret: "db", key: "password" },
    FIELD: { other: true },
  });
});

test("a container of which the kubelet has said nothing yet is not ready", () => {
  const containers = [{ name: "main", ports: [{ name: "sql", containerPort: 3306 }] }, { name: "sidecar" }];
  const containerStatuses = [{ name: "sidecar", ready: true }];
  expect(parsed({ spec: { containers }, status: { containerStatuses } })?.containers).toMatchObject([
    { name: "main", ready: false, ports: [{ name: "sql", port: 3306 }] },
    { name: "sidecar", ready: true },
  ]);
});
