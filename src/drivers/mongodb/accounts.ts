/** Users and roles. They are documents of the database admin (system.users, system.roles), and are kept and restored as
 *  such, hashes included: the administrator's role `restore` allows it. What logs in for the target's Secret is left alone. */
import { type Document, deserialize, serialize } from "bson";
import { UserError } from "../../base/errors.ts";
import type { Server } from "./server.ts";
import { CommandError, type WireClient } from "./wire.ts";

const collections = ["system.roles", "system.users"] as const; // roles first: users refer to them

export type Accounts = Readonly<Record<(typeof collections)[number], readonly Document[]>>;

export async function readAccounts({ client }: Server): Promise<Accounts> {
  const all = async (find: string) => {
    const found: Document[] = [];
    for await (const document of client.documents("admin", { find })) found.push(document);
    return found;
  };
  return { "system.roles": await all("system.roles"), "system.users": await all("system.users") };
}

export function encodeAccounts(accounts: Accounts): Buffer {
  return Buffer.from(serialize(accounts));
}

/** @throws UserError `invalid-snapshot`. */
export function decodeAccounts(bytes: Buffer): Accounts {
  const decoded = deserialize(bytes, { promoteBuffers: false, promoteValues: false });
  for (const name of collections) {
    const documents: unknown = decoded[name];
    if (!Array.isArray(documents) || !documents.every((each) => typeof each?._id === "string"))
      throw new UserError("invalid-snapshot", `mongodb's ${name} in the snapshot are damaged`);
  }
  return decoded as unknown as Accounts; // checked above
}

/** "admin.root": the account that we log in with. */
export function ownAccount({ login }: Server): string | undefined {
  return login && `admin.${login.user}`;
}

/** Makes users and roles those of the snapshot, but for the account that we log in with. */
export async function applyAccounts(server: Server, accounts: Accounts): Promise<void> {
  const kept = ownAccount(server);
  const existing = await readAccounts(server);
  for (const name of collections) {
    for (const { _id } of existing[name]) {
      if (_id === kept || accounts[name].some((wanted) => wanted["_id"] === _id)) continue;
      await server.client.command("admin", { delete: name, deletes: [{ q: { _id }, limit: 1 }] });
    }
    for (const wanted of accounts[name]) {
      if (wanted["_id"] === kept) continue;
      await server.client.command("admin", {
        update: name,
        updates: [{ q: { _id: wanted["_id"] }, u: wanted, upsert: true }],
      });
    }
  }
  await forgetCached(server.client);
}

/** The server would notice by itself, later. */
async function forgetCached(client: WireClient): Promise<void> {
  await client.command("admin", { invalidateUserCache: 1 }).catch((error: unknown) => {
    if (!(error instanceof CommandError)) throw error; // servers that keep none do not know the command
  });
}
