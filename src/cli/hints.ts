/** What to try when an error has no better idea of its own. */
import type { Outcome } from "../base/errors.ts";

export const generalHints: Readonly<Partial<Record<Outcome, string>>> = {
  "invalid-snapshot": "take another snapshot: list shows them, verify proves one",
  "not-found": "check the namespace (-n, --source-namespace) and the place (--bucket, or --local --dir)",
  cluster: "see whether kubectl itself gets an answer: kubectl version",
  forbidden: "kubectl auth can-i --list tells what is allowed",
  "storage-not-ready": "the command storages shows what runs and whether it can be dumped",
  "storage-failed": "look into the log of the pod, then run it again",
  "stream-lost":
    "run it again; if it breaks again after the same time, raise the idle timeout of what is in front of the API server",
  busy: "run it again when the other run has ended",
  credentials: "check the credentials that the message is about, and run it again",
  "object-store": "run it again; --local --dir DIRECTORY keeps a snapshot elsewhere meanwhile",
  "local-disk": "make room, or name another directory: --dir",
  refused: "--dry-run shows what would be done",
  deadline: "run it again when the other side is less busy",
  resources: "run it with fewer storages at a time, or with higher limits (memory, ulimit -n)",
};
