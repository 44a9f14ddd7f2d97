import type { Cluster } from "../../src/cluster/cluster.ts";
import type { Scope } from "../../src/storages.ts";
import { silentReporter } from "../fakes/reporter.ts";
import { podNamed } from "../fakes/script-cluster.ts";
import { header, never } from "../snapshot/make.ts";

/** A namespace with one pod, in which everything but looking for pods is remembered and refused. */
export class UntouchedCluster {
  readonly touched: string[] = [];
  readonly scope: Scope;

  constructor(storage: string) {
    const labels = { "app.kubernetes.io/name": storage, "app.kubernetes.io/instance": "kaa" };
    const looking: Partial<Cluster> = {
      checkNamespace: async () => {},
      listPods: async () => [podNamed(`kaa-${storage}-0`, labels)],
    };
    const cluster = new Proxy(looking, {
      get: (known, name) => {
        if (name in known) return Reflect.get(known, name);
        this.touched.push(String(name));
        throw new Error(`"${String(name)}" was asked for`);
      },
    }) as Cluster;
    this.scope = {
      cluster,
      namespace: header.namespace,
      releasePrefix: "",
      environment: {},
      compression: "auto",
      location: { region: "eu-central-1" },
      reporter: silentReporter,
      signal: never,
    };
  }
}
