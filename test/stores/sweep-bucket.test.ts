/** Every request of a save into a bucket fails in turn, once or for ever, in every way. Afterwards either the whole archive is there, or
 *  nothing of it, or the error says what is left; and earlier files are as they were. */
import { describe, expect, test } from "vitest";
import { UserError } from "../../src/base/errors.ts";
import { answer, type FaultAction, hang, loseAnswer, refuse, reset } from "../fakes/s3-server.ts";
import { first, second } from "./conformance.ts";
import { bucket, fakeS3UnderTest, impatient, quick } from "./places.ts";
import { bytes, earlier, forever, outcomeOfSave } from "./sweep.ts";

describe.concurrent("sweep of an S3 bucket", () => {
  const requests = 8; // HEAD, Create, three parts, HEAD, Complete, HEAD
  const kinds: Readonly<Record<string, FaultAction>> = {
    "500": refuse(500, "InternalError"),
    "403": refuse(403, "AccessDenied"),
    "400": refuse(400, "InvalidRequest"),
    html: answer({ status: 200, body: "<html>hello</html>" }),
    reset,
    "lost answer": loseAnswer,
    silence: hang,
  };

  const place = (timing = quick) => fakeS3UnderTest({ store: { timing, partSizeBytes: 50_000, partsInFlight: 1 } });
  const save = (under: Awaited<ReturnType<typeof place>>) => {
    under.server.bucket(bucket).plant(second, earlier);
    return outcomeOfSave(under.store);
  };

  test("a save takes as many requests as are swept", async () => {
    const under = await place();
    expect(await save(under)).toBe("saved");
    expect(under.server.log).toHaveLength(requests);
    await under.dispose();
  });

  for (const [kind, action] of Object.entries(kinds)) {
    for (const times of [1, forever]) {
      test.each(Array.from({ length: requests }, (_, index) => index + 1))(
        `${kind} ${times === 1 ? "once" : "for ever"} at request %i`,
        async (nth) => {
          const under = await place(action === hang ? impatient : quick);
          under.server.bucket(bucket);
          under.server.fault({ nth, times, action });
          const outcome = await save(under);
          await new Promise((resolve) => setTimeout(resolve, 20));
          const store = under.server.bucket(bucket);
          expect(store.current(second)?.body.equals(earlier)).toBe(true);
          const object = store.current(first)?.body;
          const asked = (operation: string) => under.server.operations.filter((name) => name === operation).length;
          const uploads = [...store.uploads.keys()];
          if (outcome === "saved") {
            expect(object?.equals(bytes)).toBe(true);
            expect(uploads).toEqual([]);
          } else {
            expect(outcome).toBeInstanceOf(UserError);
            const { outcome: how, hints, message } = outcome as UserError;
            expect(message).toContain(first);
            if (how === "leftovers") {
              for (const id of uploads) expect(hints.join()).toContain(id);
              if (object !== undefined) expect(hints.join()).toContain("delete-object");
            } else {
              expect(object).toBeUndefined();
              // Of an upload whose Create was not answered only a listing knows, and when that fails, too, nobody.
              const unknown = times === forever && asked("CreateMultipartUpload") > 1;
              if (!unknown) expect(uploads).toEqual([]);
            }
          }
          await under.dispose();
        },
      );
    }
  }
});
