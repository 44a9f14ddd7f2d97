/** What the API server would allow us, asked of itself. */
import { record, text } from "../base/json.ts";
import { type Connection, callApi } from "./api.ts";
import type { Right } from "./cluster.ts";

/** Everybody who has logged in may ask this (ClusterRole system:basic-user). */
const path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

export async function isAllowed(
  connection: Connection,
  namespace: string,
  right: Right,
  signal: AbortSignal,
): Promise<boolean> {
  const [resource, subresource] = right.resource.split("/");
  const { group, verb, name } = right;
  const resourceAttributes = {
    namespace,
    group,
    verb,
    resource,
    ...(subresource && { subresource }),
    ...(name && { name }),
  };
  const body = { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", spec: { resourceAttributes } };
  const doing = "cannot ask what is allowed";
  const answer = record(await callApi(connection, { method: "POST", path, body, doing, signal }));
  return record(answer["status"])["allowed"] === true;
}

/** The API server's clock, to the second; undefined when it does not tell. */
export async function serverTime(connection: Connection, signal: AbortSignal): Promise<Date | undefined> {
  let date = "";
  await callApi(connection, {
    method: "GET",
    path: "/version",
    doing: "cannot read the time of the cluster",
    signal,
    onHeaders: (headers) => {
      date = text(headers["date"]);
    },
  });
  const time = new Date(date);
  return Number.isNaN(time.getTime()) ? undefined : time;
}
