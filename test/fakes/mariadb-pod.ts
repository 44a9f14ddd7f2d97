/** A MariaDB that is a text: answers the scripts of the driver as a server with one database would. */
import {
  accountsScript,
  dumpScript,
  inspectScript,
  openScript,
  restoreAccountsScript,
  restoreScript,
} from "../../src/drivers/mariadb/scripts.ts";
import type { Answer } from "./api-answer.ts";
import type { FakePod } from "./api-server.ts";
import { mariadbInspection } from "./mariadb.ts";

const endMark = "\n-- Dump completed on today\n";

export class MariadbPod {
  readonly namespace = "kaa";
  accounts: string;
  databases: string;
  /** What it tells of itself. */
  inspection: object = mariadbInspection;
  /** Dumps and restores that it was asked for. */
  readonly asked: ("dump" | "restore")[] = [];

  /** @param content of its database. */
  constructor(content: string) {
    this.accounts = `accounts${endMark}`;
    this.databases = `${content}${endMark}`;
  }

  /** All that it holds. */
  get content(): string {
    return `${this.accounts}\0${this.databases}`;
  }

  readonly answer: Answer = ({ script, input }) => {
    switch (script) {
      case inspectScript:
        return JSON.stringify(this.inspection);
      case accountsScript:
        this.asked.push("dump");
        return this.accounts;
      case dumpScript:
        return this.databases;
      case restoreAccountsScript:
        this.asked.push("restore");
        this.accounts = input.toString("utf8");
        return "";
      case restoreScript:
        this.databases = input.toString("utf8");
        return JSON.stringify({
          counts: { ...mariadbInspection.counts, rows: this.databases.match(/^\(\d/gm)?.length ?? 0 },
          accounts: mariadbInspection.accounts,
        });
      case openScript:
        return JSON.stringify(mariadbInspection.databases);
      default:
        throw new Error(`MariaDB's stand-in does not know the script ${script.slice(0, 200)}`);
    }
  };

  get pod(): FakePod {
    return {
      namespace: this.namespace,
      name: "kaa-mariadb-0",
      labels: { "app.kubernetes.io/name": "mariadb", "app.kubernetes.io/instance": "kaa" },
      env: {},
      answer: this.answer,
    };
  }
}
