/** From Kubernetes' JSON to the few facts of a pod that drivers need. The answer of an API server is outside data: every
 *  field is looked at before it is used. */
import { type Fields, list, record, text } from "../base/json.ts";
import type { Container, EnvironmentSource, Pod } from "./cluster.ts";

/** @returns undefined for something that is no pod. */
export function parsePod(value: unknown): Pod | undefined {
  const pod = record(value);
  const metadata = record(pod["metadata"]);
  const [name, namespace, uid] = [text(metadata["name"]), text(metadata["namespace"]), text(metadata["uid"])];
  if (name === "" || namespace === "" || uid === "") return undefined;
  const status = record(pod["status"]);
  const ready = new Map(list(status["containerStatuses"]).map((each) => [text(each["name"]), each["ready"] === true]));
  const deleting = metadata["deletionTimestamp"] !== undefined;
  return {
    name,
    namespace,
    uid,
    labels: Object.fromEntries(Object.entries(record(metadata["labels"])).map(([key, label]) => [key, text(label)])),
    owner: ownerOf(metadata, name),
    ready:
      !deleting && list(status["conditions"]).some((each) => each["type"] === "Ready" && each["status"] === "True"),
    phase: deleting ? "Terminating" : text(status["phase"]),
    containers: list(record(pod["spec"])["containers"]).map((each) => parseContainer(each, ready)),
  };
}

function parseContainer(container: Fields, ready: ReadonlyMap<string, boolean>): Container {
  const name = text(container["name"]);
  return {
    name,
    ready: ready.get(name) ?? false,
    ports: list(container["ports"]).map((port) => ({ name: text(port["name"]), port: Number(port["containerPort"]) })),
    environment: Object.fromEntries(list(container["env"]).map((each) => [text(each["name"]), sourceOf(each)])),
  };
}

function sourceOf(variable: Fields): EnvironmentSource {
  const reference = record(record(variable["valueFrom"])["secretKeyRef"]);
  if (text(reference["name"]) !== "") return { secret: text(reference["name"]), key: text(reference["key"]) };
  if (variable["valueFrom"] !== undefined) return { other: true };
  return { value: text(variable["value"]) };
}

/** A Deployment's pods belong to a ReplicaSet that is named after it, with the pod template's hash behind. */
function ownerOf(metadata: Fields, podName: string): string {
  const owner = list(metadata["ownerReferences"]).find((each) => each["controller"] === true);
  const name = text(owner?.["name"]);
  if (name === "") return podName;
  const hash = text(record(metadata["labels"])["pod-template-hash"]);
  return owner?.["kind"] === "ReplicaSet" && name.endsWith(`-${hash}`) ? name.slice(0, -hash.length - 1) : name;
}
