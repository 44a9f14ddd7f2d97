/** Users and roles: documents of the database admin (system.users, system.roles), kept as such, hashes included. What logs in
 *  for the target's Secret is left alone. */
import { type Document, deserialize, serialize } from "bson";
import { UserError } from "../../base/errors.ts";
import type { Server } from "./server.ts";
import { CommandError, type WireClient } from "./wire.ts";

const collections = ["system.roles", "system.users"] as const;

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
  const existing = await readAccounts(server);
  await applyRoles(server, existing["system.roles"], accounts["system.roles"]); // first: users refer to them
  await applyUsers(server, existing["system.users"], accounts["system.users"]);
  await forgetCached(server.client);
}

/** By commands: not even `root` may write to system.roles. A role is never dropped to be made anew, for that would take it
 *  from the users who stay. */
async function applyRoles(
  { client }: Server,
  existing: readonly Document[],
  wanted: readonly Document[],
): Promise<void> {
  for (const { _id, db, role } of existing) {
    if (wanted.some((each) => each["_id"] === _id)) continue;
    await client.command(String(db), { dropRole: String(role) });
  }
  for (const { _id, db, role } of wanted) {
    if (existing.some((each) => each["_id"] === _id)) continue;
    await client.command(String(db), { createRole: String(role), privileges: [], roles: [] });
  }
  // Once all exist they may refer to one another.
  for (const { _id, db, role, privileges, roles, authenticationRestrictions } of wanted) {
    const before = existing.find((each) => each["_id"] === _id)?.["authenticationRestrictions"];
    await client.command(String(db), {
      updateRole: String(role),
      privileges: privileges ?? [],
      roles: roles ?? [],
      // Servers before 3.6 do not know the field.
      ...((authenticationRestrictions ?? before) === undefined
        ? {}
        : { authenticationRestrictions: authenticationRestrictions ?? [] }),
    });
  }
}

/** As documents, for only these hold the hashes of passwords; `root` may write them by its part `restore`. */
async function applyUsers(server: Server, existing: readonly Document[], wanted: readonly Document[]): Promise<void> {
  const kept = ownAccount(server);
  const { client } = server;
  for (const { _id } of existing) {
    if (_id === kept || wanted.some((each) => each["_id"] === _id)) continue;
    await client.command("admin", { delete: "system.users", deletes: [{ q: { _id }, limit: 1 }] });
  }
  for (const user of wanted) {
    if (user["_id"] === kept) continue;
    await client.command("admin", {
      update: "system.users",
      updates: [{ q: { _id: user["_id"] }, u: user, upsert: true }],
    });
  }
}

/** The server would notice by itself, later. */
async function forgetCached(client: WireClient): Promise<void> {
  await client.command("admin", { invalidateUserCache: 1 }).catch((error: unknown) => {
    if (!(error instanceof CommandError)) throw error; // servers that keep none do not know the command
  });
}
