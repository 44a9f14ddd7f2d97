/** Vault with raft storage: its own snapshot, still encrypted by the barrier. A snapshot can only be used with the unseal
 *  keys of the Vault that it was taken of. docs/storages/vault.md has the details. */
import { Meter } from "../base/bytes.ts";
import { isOutcome, UserError, withEffect } from "../base/errors.ts";
import type { JsonValue } from "../base/json.ts";
import { field } from "./commands.ts";
import type {
  Backup,
  BackupStream,
  Context,
  Driver,
  DumpOutput,
  DumpResult,
  Inspection,
  Instance,
  RestorePlan,
  RestoreResult,
} from "./driver.ts";
import { tokenVariable, unsealKeysVariable, VaultApi } from "./vault/api.ts";
import { contentsOf, countsOf } from "./vault/contents.ts";
import { sealStatus, textOf, unsealAll } from "./vault/seal.ts";
import { requireWholeSnapshot } from "./vault/snapshot.ts";

const streamName = "raft.snap";
const snapshotPath = "sys/storage/raft/snapshot";
/** How long Vault is unsealed after a restore that was interrupted. */
const interruptedMs = 60_000;

const driver: Driver = {
  storage: "vault",
  title: "Vault",
  canUseDirectory: true,
  credentialVariables: [tokenVariable, unsealKeysVariable],
  selectors: [
    { "app.kubernetes.io/name": "vault", component: "server" },
    { "app.kubernetes.io/name": "vault" },
    { app: "vault" },
  ],
  inspect,
  dump,
  plan,
  restore,
};
export default driver;

/** The driver's record in the manifest. */
interface Facts {
  readonly clusterId: string;
  /** "shamir", or the kind of auto-unseal: then the same key service is needed, and no unseal keys. */
  readonly sealType: string;
  readonly threshold: number;
}

interface Server extends Facts {
  readonly api: VaultApi;
  readonly version: string;
}

/** Runs `work` with the active server. */
async function withActive<T>(instance: Instance, context: Context, work: (server: Server) => Promise<T>): Promise<T> {
  const states: string[] = [];
  let failure: UserError | undefined;
  for (const pod of instance.pods.filter((each) => each.phase === "Running")) {
    const api = new VaultApi(pod, context);
    try {
      const state = await stateOf(api).catch((error: unknown) => {
        // Of several servers one may be down, which "Running" does not exclude.
        if (context.signal.aborted || !isOutcome(error, "stream-lost", "storage-not-ready")) throw error;
        failure = error;
        return `does not answer (${error.message})`;
      });
      if (typeof state !== "string") return await work({ api, ...state });
      states.push(`"${pod.name}" ${state}`);
    } finally {
      api.close();
    }
  }
  if (failure !== undefined && states.length === 1) throw failure;
  const sealed = states.some((each) => each.endsWith(" is sealed"));
  throw new UserError("storage-not-ready", `no pod of "${instance.name}" is an active Vault: ${states.join(", ")}`, {
    hints: sealed ? ["unseal it first: vault operator unseal"] : [],
  });
}

/** The state of the server in a pod when it is the active one, else why it is not. */
async function stateOf(api: VaultApi): Promise<Awaited<ReturnType<typeof sealStatus>> | string> {
  const state = await sealStatus(api);
  if (!state.initialized) return "is not initialized";
  if (state.sealed) return "is sealed";
  const isStandby = field(await api.call("GET", "sys/leader"), "is_self") === false;
  return isStandby ? "is standby" : state;
}

/** @throws UserError `storage-not-ready` for storage without snapshots, `credentials` without token or rights. */
async function requireSnapshots(
  { api }: Server,
  context: Context,
  { right, path }: { readonly right: "read" | "update"; readonly path: string },
): Promise<void> {
  const { storageType } = await sealStatus(api);
  if (storageType !== "" && storageType !== "raft") {
    throw new UserError(
      "storage-not-ready",
      `Vault keeps its data in "${storageType}" storage, which has no snapshots`,
      {
        hints: [
          "a copy of the files of a running Vault is not consistent; move to raft storage: vault operator migrate",
          "until then leave Vault out: name the other storages with --storage",
        ],
      },
    );
  }
  if (context.credentials[tokenVariable] === undefined) {
    throw new UserError("credentials", "Vault needs a token, and its chart keeps none", {
      hints: [`give one in ${tokenVariable}, or in a file: --vault-token-file`],
    });
  }
  const answer = await api.call("POST", "sys/capabilities-self", { paths: [path] });
  const found = field(answer, "capabilities");
  const capabilities: readonly unknown[] = Array.isArray(found) ? found : [];
  if (capabilities.includes("root") || capabilities.includes(right)) return;
  throw new UserError("credentials", `the token for Vault may not "${right}" ${path}`, {
    hints: [`its policy needs: path "${path}" { capabilities = ["${right}"] }`],
  });
}

async function inspect(instance: Instance, context: Context): Promise<Inspection> {
  return await withActive(instance, context, async (server) => {
    await requireSnapshots(server, context, { right: "read", path: snapshotPath });
    const contents = await contentsOf(server.api);
    return { serverVersion: server.version, estimatedBytes: 0, contents, warnings: [] };
  });
}

async function dump(instance: Instance, output: DumpOutput, context: Context): Promise<DumpResult> {
  return await withActive(instance, context, async (server) => {
    await requireSnapshots(server, context, { right: "read", path: snapshotPath });
    const before = await countsOf(server.api);
    const meter = new Meter();
    const snapshot = requireWholeSnapshot(await server.api.readSnapshot());
    await output.stream(streamName, {
      encoding: "identity",
      bytes: (async function* () {
        for await (const chunk of snapshot) {
          meter.update(chunk);
          yield chunk;
        }
      })(),
      finish: async () => {
        const digest = meter.digest();
        return { plain: digest, stored: digest, by: "protocol" };
      },
    });
    const after = await countsOf(server.api);
    const steady = Object.entries(before.counts).filter(([unit, count]) => after.counts[unit] === count);
    const { clusterId, sealType, threshold } = server;
    const warnings = [
      ...before.warnings,
      ...(steady.length < Object.keys(before.counts).length ? ["some counts changed during the dump"] : []),
    ];
    return { counts: Object.fromEntries(steady), warnings, facts: { clusterId, sealType, threshold } };
  });
}

function readFacts(facts: JsonValue): Facts {
  const threshold = field(facts, "threshold");
  return {
    clusterId: textOf(field(facts, "clusterId")),
    sealType: textOf(field(facts, "sealType")),
    threshold: typeof threshold === "number" ? threshold : 0,
  };
}

function unsealKeysOf(context: Context): readonly string[] {
  return (context.credentials[unsealKeysVariable] ?? "").split(/\s+/).filter((each) => each !== "");
}

async function plan(instance: Instance, backup: Backup, context: Context): Promise<RestorePlan> {
  return await withActive(instance, context, async (server) => {
    const facts = readFacts(backup.facts);
    const isOther = facts.clusterId !== server.clusterId;
    const path = isOther ? `${snapshotPath}-force` : snapshotPath;
    await requireSnapshots(server, context, { right: "update", path });
    const keys = unsealKeysOf(context).length;
    const needsKeys = isOther && facts.sealType === "shamir";
    return {
      drops: [`everything Vault holds now: ${(await contentsOf(server.api)).join(", ")}`],
      creates: ["everything of the snapshot, tokens and policies too"],
      keeps: [],
      warnings: [
        ...(isOther
          ? [
              "the snapshot is of another Vault: from then on this one has its unseal keys and its tokens; those of now stop working",
            ]
          : []),
        ...(needsKeys
          ? [`it will then be sealed, and ${facts.threshold} unseal keys of the snapshot's Vault are needed`]
          : []),
        ...(isOther && !needsKeys
          ? [`the snapshot's Vault unseals itself by "${facts.sealType}": this one needs the same key service`]
          : []),
        ...(backup.serverVersion === server.version
          ? []
          : [`snapshot of ${backup.serverVersion}, target is ${server.version}`]),
      ],
      obstacles:
        needsKeys && keys < facts.threshold
          ? [
              `afterwards Vault is sealed with the keys of the snapshot's Vault, and ${facts.threshold} of them are needed; ` +
                `${keys} were given (--vault-unseal-keys-file)`,
            ]
          : [],
    };
  });
}

async function restore(instance: Instance, backup: Backup, context: Context): Promise<RestoreResult> {
  const [stream] = backup.streams;
  if (stream?.name !== streamName || backup.streams.length !== 1)
    throw new UserError("invalid-snapshot", `the snapshot lacks vault's "${streamName}"`);
  const keys = unsealKeysOf(context);
  try {
    const isForeign = await send(instance, backup, stream, context);
    try {
      const notServing = await unsealAll(instance, keys, context);
      const { counts, warnings } = await countAfter(instance, isForeign, context);
      return { counts, warnings: [...warnings, ...notServing] };
    } catch (error) {
      throw withEffect(
        error,
        "the snapshot is in place, but Vault is not ready yet: unseal it with the keys of the snapshot's Vault",
      );
    }
  } catch (error) {
    if (!context.signal.aborted) throw error;
    // Interrupted: the services need Vault all the same, so it is unsealed on a clock of its own.
    const notServing = await unsealAll(instance, keys, {
      ...context,
      signal: AbortSignal.timeout(interruptedMs),
    }).catch(() => ["Vault is not ready: unseal it, with the keys of the snapshot's Vault if they are others"]);
    for (const warning of notServing) context.warn(warning);
    throw error;
  }
}

/** Hands the snapshot to Vault. @returns whether it was forced, so that keys and tokens are now the snapshot's. */
async function send(instance: Instance, backup: Backup, stream: BackupStream, context: Context): Promise<boolean> {
  return await withActive(instance, context, async ({ api, clusterId }) => {
    const post = async (path: string) => {
      try {
        return await api.sendSnapshot(path, stream.read());
      } catch (error) {
        throw withEffect(error, "it is not known whether Vault took the snapshot; the restore can be repeated");
      }
    };
    if (readFacts(backup.facts).clusterId === clusterId) {
      const { status, words } = await post(snapshotPath);
      if (status < 300) return false;
      if (!/unseal keys/.test(words)) throw api.refusal(status, words, `POST ${snapshotPath}`);
      if (unsealKeysOf(context).length === 0) {
        throw new UserError("refused", "Vault's unseal keys have changed since the snapshot", {
          effect: "Vault was not changed",
          hints: ["hand over the keys of that time: --vault-unseal-keys-file"],
        });
      }
    }
    const { status, words } = await post(`${snapshotPath}-force`);
    if (status >= 300) throw api.refusal(status, words, `POST ${snapshotPath}-force`);
    return true;
  });
}

async function countAfter(instance: Instance, isForeign: boolean, context: Context): Promise<RestoreResult> {
  const changed = isForeign
    ? ["tokens and unseal keys are now those of the snapshot's Vault: give them to the services that use it"]
    : [];
  return await withActive(instance, context, async ({ api }) => {
    try {
      await api.call("GET", "auth/token/lookup-self");
    } catch (error) {
      if (!isOutcome(error, "credentials")) throw error;
      return {
        counts: undefined,
        warnings: [...changed, "the token used for this restore works no longer: nothing was counted"],
      };
    }
    const { counts, warnings } = await countsOf(api);
    return { counts, warnings: [...changed, ...warnings] };
  });
}
