/** What the fake S3 server keeps, and the rules by which it changes. Follows the Amazon S3 API reference of 2026. */
import { createHash, randomUUID } from "node:crypto";
import * as zlib from "node:zlib";

/** An answer that is an error document. */
export class S3Error extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message = code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export interface FakeOptions {
  /** Keep every version of an object. */
  readonly versions?: boolean;
  /** "object": as AWS and MinIO of 2026. "parts": checksums of parts only. "ignore": none. "refuse": 400 for the headers. */
  readonly checksums?: "object" | "parts" | "ignore" | "refuse";
  /** "refuse": 501 for If-None-Match in Complete. */
  readonly conditionalWrites?: "yes" | "ignore" | "refuse";
  /** Of every part but the last. */
  readonly minPartBytes?: number;
  /** Keys in one page of a listing. */
  readonly pageSize?: number;
  /** How fast request bodies are taken, all together. */
  readonly bytesPerSecond?: number;
}

export interface FakeVersion {
  readonly id: string;
  readonly body: Buffer;
  readonly etag: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly contentType: string;
  readonly modifiedAt: Date;
  readonly crc32?: string | undefined;
  readonly checksumType?: string | undefined;
  readonly deleteMarker?: boolean;
  storageClass?: string;
  restore?: string;
}

export interface FakeUpload {
  readonly id: string;
  readonly key: string;
  startedAt: Date;
  readonly metadata: Readonly<Record<string, string>>;
  readonly contentType: string;
  readonly checksums: "object" | "parts" | "none";
  readonly parts: Map<number, { body: Buffer; readonly etag: string; readonly crc32: string }>;
}

/** As S3 names what an upload keeps. */
export const checksumTypes = { object: "FULL_OBJECT", parts: "COMPOSITE", none: undefined } as const;

export class FakeBucket {
  owner: string;
  readonly objects = new Map<string, FakeVersion[]>();
  readonly uploads = new Map<string, FakeUpload>();
  /** Bodies of the last PUTs of settings: `publicAccessBlock`, `lifecycle`. */
  readonly settings = new Map<string, string>();
  readonly options: FakeOptions;

  constructor(owner: string, options: FakeOptions) {
    this.owner = owner;
    this.options = options;
  }

  /** The current version. */
  current(key: string): FakeVersion | undefined {
    const version = this.objects.get(key)?.at(-1);
    return version?.deleteMarker === true ? undefined : version;
  }

  version(key: string, id: string | null): FakeVersion | undefined {
    if (id === null) return this.current(key);
    return this.objects.get(key)?.find((version) => version.id === id);
  }

  put(key: string, version: Omit<FakeVersion, "id" | "modifiedAt">): FakeVersion {
    const stored = { ...version, id: this.options.versions === true ? randomUUID() : "null", modifiedAt: new Date() };
    const older = this.options.versions === true ? (this.objects.get(key) ?? []) : [];
    this.objects.set(key, [...older, stored]);
    return stored;
  }

  /** For tests: an object as somebody else might have stored it. */
  plant(key: string, body: Buffer | string, metadata: Record<string, string> = {}): FakeVersion {
    const bytes = Buffer.from(body);
    return this.put(key, { body: bytes, etag: md5(bytes), metadata, contentType: "binary/octet-stream" });
  }

  delete(key: string, versionId: string | null): void {
    const versions = this.objects.get(key) ?? [];
    if (versionId !== null) {
      const kept = versions.filter((version) => version.id !== versionId);
      if (kept.length > 0) this.objects.set(key, kept);
      else this.objects.delete(key);
    } else if (this.options.versions === true) {
      const nothing = { body: Buffer.alloc(0), etag: "", metadata: {}, contentType: "" };
      this.put(key, { ...nothing, deleteMarker: true });
    } else {
      this.objects.delete(key);
    }
  }

  upload(id: string | null, key: string): FakeUpload {
    const upload = this.uploads.get(id ?? "");
    if (upload === undefined || upload.key !== key) throw new S3Error(404, "NoSuchUpload");
    return upload;
  }

  createUpload(key: string, headers: Readonly<Record<string, string | undefined>>): FakeUpload {
    const mode = this.options.checksums ?? "object";
    const algorithm = headers["x-amz-checksum-algorithm"];
    if (mode === "refuse" && algorithm !== undefined) throw new S3Error(400, "InvalidRequest", "unsupported header");
    if (algorithm !== undefined && algorithm !== "CRC32") throw new S3Error(400, "InvalidRequest", "unknown algorithm");
    if (mode === "parts" && headers["x-amz-checksum-type"] !== undefined) throw new S3Error(501, "NotImplemented");
    const wholeObject = headers["x-amz-checksum-type"] === "FULL_OBJECT";
    const checksums = mode === "ignore" || algorithm === undefined ? "none" : wholeObject ? "object" : "parts";
    const metadata = metadataIn(headers);
    const contentType = headers["content-type"] ?? "binary/octet-stream";
    const upload = { id: randomUUID(), key, startedAt: new Date(), metadata, contentType, checksums, parts: new Map() };
    this.uploads.set(upload.id, upload as FakeUpload);
    return upload as FakeUpload;
  }

  putPart(
    upload: FakeUpload,
    partNumber: number,
    body: Buffer,
    crc32: string | undefined,
  ): { etag: string; crc32: string } {
    if (!Number.isInteger(partNumber) || partNumber < 1 || partNumber > 10_000)
      throw new S3Error(400, "InvalidArgument");
    if (crc32 !== undefined && this.options.checksums === "refuse") throw new S3Error(400, "InvalidRequest");
    const actual = crc32Of(body);
    if (upload.checksums !== "none" && crc32 === undefined)
      throw new S3Error(400, "InvalidRequest", "checksum missing");
    if (crc32 !== undefined && this.options.checksums !== "ignore" && crc32 !== actual)
      throw new S3Error(400, "BadDigest");
    const part = { body, etag: md5(body), crc32: actual };
    upload.parts.set(partNumber, part);
    return part;
  }

  completeUpload(
    upload: FakeUpload,
    request: {
      readonly parts: readonly { readonly number: number; readonly etag: string; readonly crc32: string | undefined }[];
      readonly headers: Readonly<Record<string, string | undefined>>;
    },
  ): FakeVersion {
    const { parts, headers } = request;
    if (parts.length === 0) throw new S3Error(400, "MalformedXML");
    const bodies = parts.map(({ number, etag, crc32 }, index) => {
      if (index > 0 && number <= (parts[index - 1]?.number ?? 0)) throw new S3Error(400, "InvalidPartOrder");
      const stored = upload.parts.get(number);
      if (stored === undefined || stored.etag !== etag) throw new S3Error(400, "InvalidPart");
      if (crc32 !== undefined && crc32 !== stored.crc32) throw new S3Error(400, "InvalidPart");
      if (upload.checksums !== "none" && crc32 === undefined) throw new S3Error(400, "InvalidRequest");
      const tooSmall = stored.body.byteLength < (this.options.minPartBytes ?? 5 * 1024 * 1024);
      if (tooSmall && index < parts.length - 1) throw new S3Error(400, "EntityTooSmall");
      return stored.body;
    });
    const body = Buffer.concat(bodies);
    const size = headers["x-amz-mp-object-size"];
    if (size !== undefined && Number(size) !== body.byteLength) throw new S3Error(400, "InvalidRequest", "wrong size");
    this.refuseIfExists(upload.key, headers["if-none-match"]);
    let crc32: string | undefined;
    const checksumType = checksumTypes[upload.checksums];
    const claimedType = headers["x-amz-checksum-type"];
    if (claimedType !== undefined && claimedType !== checksumType) throw new S3Error(400, "BadDigest");
    if (upload.checksums === "object") {
      crc32 = crc32Of(...bodies); // one by one: zlib.crc32 of more than 4 GiB at once is wrong
      const expected = headers["x-amz-checksum-crc32"];
      if (expected !== undefined && expected !== crc32) throw new S3Error(400, "BadDigest");
    } else if (upload.checksums === "parts") {
      crc32 = `${crc32Of(Buffer.concat(bodies.map((one) => Buffer.from(crc32Of(one), "base64"))))}-${bodies.length}`;
    }
    const md5s = Buffer.concat(bodies.map((one) => createHash("md5").update(one).digest()));
    const etag = `"${createHash("md5").update(md5s).digest("hex")}-${bodies.length}"`;
    this.uploads.delete(upload.id);
    const { metadata, contentType } = upload;
    return this.put(upload.key, { body, etag, metadata, contentType, crc32, checksumType });
  }

  refuseIfExists(key: string, ifNoneMatch: string | undefined): void {
    if (ifNoneMatch === undefined || this.options.conditionalWrites === "ignore") return;
    if (this.options.conditionalWrites === "refuse") throw new S3Error(501, "NotImplemented", "If-None-Match");
    if (ifNoneMatch !== "*") throw new S3Error(400, "InvalidArgument");
    if (this.current(key) !== undefined) throw new S3Error(412, "PreconditionFailed");
  }
}

export function md5(body: Buffer): string {
  return `"${createHash("md5").update(body).digest("hex")}"`;
}

/** Of the bodies behind one another. */
export function crc32Of(...bodies: readonly Buffer[]): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(bodies.reduce((crc, body) => zlib.crc32(body, crc), 0));
  return bytes.toString("base64");
}

export function metadataIn(headers: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith("x-amz-meta-") && value !== undefined) metadata[name.slice("x-amz-meta-".length)] = value;
  }
  return metadata;
}
