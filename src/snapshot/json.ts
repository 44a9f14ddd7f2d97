import type { JsonValue } from "../base/json.ts";
import { maxJsonDepth, maxJsonValues } from "./limits.ts";

/** Parses JSON that anybody may have written. Its depth and the number of its values are bounded before JSON.parse sees it,
 *  for 256 MiB of "[[[[" or "[],[],[]," would cost gigabytes.
 *  @throws SyntaxError for anything that is not one JSON text in UTF-8, or goes past the ceilings. */
export function parseJson(bytes: Uint8Array): JsonValue {
  checkCeilings(bytes);
  return JSON.parse(decodeUtf8(bytes));
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new SyntaxError("not UTF-8", { cause: error });
  }
}

/** Counts brackets and commas outside strings. For text that is not JSON the count means nothing, and JSON.parse refuses it. */
function checkCeilings(bytes: Uint8Array): void {
  let depth = 0;
  let values = 1;
  let isInString = false;
  for (let at = 0; at < bytes.byteLength; at += 1) {
    const byte = bytes[at];
    if (isInString) {
      if (byte === 0x5c) at += 1;
      else if (byte === 0x22) isInString = false;
      continue;
    }
    if (byte === 0x22) isInString = true;
    else if (byte === 0x2c) values += 1;
    else if (byte === 0x5b || byte === 0x7b) {
      depth += 1;
      values += 1;
      if (depth > maxJsonDepth) throw new SyntaxError(`nested more than ${maxJsonDepth} deep`);
    } else if (byte === 0x5d || byte === 0x7d) depth -= 1;
    if (values > maxJsonValues) throw new SyntaxError(`more than ${maxJsonValues} values`);
  }
}
