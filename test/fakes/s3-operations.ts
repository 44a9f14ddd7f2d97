/** The operations of the fake S3 server: what a request asks for, and the answer to it. */
import { createHash } from "node:crypto";
import { checksumTypes, type FakeBucket, type FakeVersion, md5, metadataIn, S3Error } from "./s3-state.ts";

export interface FakeRequest {
  readonly operation: Operation;
  readonly method: string;
  readonly bucket: string;
  readonly key: string;
  readonly query: URLSearchParams;
  readonly headers: Readonly<Record<string, string | undefined>>;
  body: Buffer;
}

export interface FakeAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  /** The connection is reset after so many bytes of the body. */
  readonly cutAfterBytes?: number;
  /** Nothing more comes after so many bytes of the body. */
  readonly stallAfterBytes?: number;
}

export interface Buckets {
  readonly all: Map<string, FakeBucket>;
  /** Who the caller is. */
  readonly account: string;
  readonly region: string;
  readonly pageSize: number;
  /** By how much its clock is ahead of this machine's. */
  clockAheadMs: number;
  create(name: string): FakeBucket;
}

type Handler = (request: FakeRequest, bucket: FakeBucket, buckets: Buckets) => FakeAnswer;

const handlers = {
  HeadBucket: (_request, _bucket, { region }) => ({ status: 200, headers: { "x-amz-bucket-region": region } }),
  PutPublicAccessBlock: (request, bucket) => setting(bucket, "publicAccessBlock", request),
  PutBucketLifecycleConfiguration: (request, bucket) => setting(bucket, "lifecycle", request),
  ListObjectsV2: listObjects,
  ListMultipartUploads: listUploads,
  CreateMultipartUpload(request, bucket) {
    const upload = bucket.createUpload(request.key, request.headers);
    const type = checksumTypes[upload.checksums];
    const headers = { "x-amz-checksum-algorithm": type && "CRC32", "x-amz-checksum-type": type };
    const fields = `<Bucket>${request.bucket}</Bucket><Key>${escapeXml(request.key)}</Key><UploadId>${upload.id}</UploadId>`;
    return { ...xml("InitiateMultipartUploadResult", fields), headers: defined(headers) };
  },
  UploadPart(request, bucket) {
    const upload = bucket.upload(request.query.get("uploadId"), request.key);
    const crc32 = request.headers["x-amz-checksum-crc32"];
    const part = bucket.putPart(upload, Number(request.query.get("partNumber")), request.body, crc32);
    const echo = upload.checksums === "none" ? undefined : part.crc32;
    return { status: 200, headers: defined({ etag: part.etag, "x-amz-checksum-crc32": echo }) };
  },
  CompleteMultipartUpload(request, bucket) {
    const upload = bucket.upload(request.query.get("uploadId"), request.key);
    const parts = [...request.body.toString().matchAll(/<Part>(.*?)<\/Part>/gs)].map(([, part = ""]) => ({
      number: Number(/<PartNumber>(\d+)</.exec(part)?.[1]),
      etag: (/<ETag>(.*?)</.exec(part)?.[1] ?? "").replaceAll("&quot;", '"'),
      crc32: /<ChecksumCRC32>(.*?)</.exec(part)?.[1],
    }));
    const { etag, id, crc32, checksumType } = bucket.completeUpload(upload, { parts, headers: request.headers });
    const checksum = crc32 === undefined ? "" : `<ChecksumCRC32>${crc32}</ChecksumCRC32>`;
    const type = checksumType === undefined ? "" : `<ChecksumType>${checksumType}</ChecksumType>`;
    const place = `<Bucket>${request.bucket}</Bucket><Key>${escapeXml(request.key)}</Key>`;
    const fields = `${place}<ETag>${escapeXml(etag)}</ETag>${checksum}${type}`;
    return { ...xml("CompleteMultipartUploadResult", fields), headers: defined({ "x-amz-version-id": versionId(id) }) };
  },
  AbortMultipartUpload(request, bucket) {
    bucket.uploads.delete(bucket.upload(request.query.get("uploadId"), request.key).id);
    return { status: 204 };
  },
  ListParts(request, bucket) {
    const { parts } = bucket.upload(request.query.get("uploadId"), request.key);
    const fields = [...parts].map(
      ([number, { body }]) => `<Part><PartNumber>${number}</PartNumber><Size>${body.byteLength}</Size></Part>`,
    );
    return xml("ListPartsResult", fields.join(""));
  },
  PutObject({ key, body, headers }, bucket) {
    bucket.refuseIfExists(key, headers["if-none-match"]);
    const contentType = headers["content-type"] ?? "binary/octet-stream";
    const { etag, id } = bucket.put(key, { body, etag: md5(body), metadata: metadataIn(headers), contentType });
    return { status: 200, headers: defined({ etag, "x-amz-version-id": versionId(id) }) };
  },
  HeadObject: (request, bucket) => readObject(request, bucket),
  GetObject: (request, bucket) => readObject(request, bucket),
  DeleteObject(request, bucket) {
    bucket.delete(request.key, request.query.get("versionId"));
    return { status: 204 };
  },
} satisfies Record<string, Handler>;

export type Operation = keyof typeof handlers | "CreateBucket" | "ListBuckets";

export function operationOf(method: string, bucket: string, key: string, query: URLSearchParams): Operation {
  const ofBucket: Record<string, Operation | undefined> = {
    HEAD: "HeadBucket",
    PUT: query.has("publicAccessBlock")
      ? "PutPublicAccessBlock"
      : query.has("lifecycle")
        ? "PutBucketLifecycleConfiguration"
        : "CreateBucket",
    GET: query.has("uploads") ? "ListMultipartUploads" : query.get("list-type") === "2" ? "ListObjectsV2" : undefined,
  };
  const ofService: Record<string, Operation | undefined> = { GET: "ListBuckets" };
  const inUpload = query.has("uploadId");
  const ofObject: Record<string, Operation | undefined> = {
    HEAD: "HeadObject",
    GET: inUpload ? "ListParts" : "GetObject",
    PUT: inUpload ? "UploadPart" : "PutObject",
    POST: inUpload ? "CompleteMultipartUpload" : query.has("uploads") ? "CreateMultipartUpload" : undefined,
    DELETE: inUpload ? "AbortMultipartUpload" : "DeleteObject",
  };
  const operation = (bucket === "" ? ofService : key === "" ? ofBucket : ofObject)[method];
  if (operation === undefined) throw new S3Error(405, "MethodNotAllowed");
  return operation;
}

/** @throws S3Error */
export function perform(request: FakeRequest, buckets: Buckets): FakeAnswer {
  requireSigned(request, buckets);
  if (request.operation === "CreateBucket") return createBucket(request, buckets);
  if (request.operation === "ListBuckets") return listBuckets(request, buckets);
  const bucket = buckets.all.get(request.bucket);
  if (bucket === undefined) throw new S3Error(404, "NoSuchBucket");
  const expectedOwner = request.headers["x-amz-expected-bucket-owner"];
  const foreign = bucket.owner !== buckets.account || (expectedOwner !== undefined && expectedOwner !== bucket.owner);
  if (foreign) throw new S3Error(403, "AccessDenied", "Access Denied");
  return handlers[request.operation](request, bucket, buckets);
}

/** Not the signature itself, but that there is one, over these bytes, and of now. */
function requireSigned({ headers, body }: FakeRequest, { clockAheadMs }: Buckets): void {
  const authorization = headers["authorization"] ?? "";
  const form =
    /^AWS4-HMAC-SHA256 Credential=[^/]+\/\d{8}\/[a-z0-9-]+\/s3\/aws4_request, SignedHeaders=\S*host;\S+, Signature=[0-9a-f]{64}$/;
  if (!form.test(authorization)) throw new S3Error(403, "AccessDenied", "not signed");
  const hash = headers["x-amz-content-sha256"] ?? "";
  if (hash.startsWith("STREAMING-")) throw new S3Error(501, "NotImplemented", "aws-chunked bodies");
  const actual = createHash("sha256").update(body).digest("hex");
  if (hash !== "UNSIGNED-PAYLOAD" && hash !== actual) throw new S3Error(400, "XAmzContentSHA256Mismatch");
  const date = (headers["x-amz-date"] ?? "").replace(/^(....)(..)(..T..)(..)(..Z)$/, "$1-$2-$3:$4:$5");
  if (!(Math.abs(Date.now() + clockAheadMs - Date.parse(date)) < 15 * 60_000))
    throw new S3Error(403, "RequestTimeTooSkewed");
}

function createBucket({ bucket: name, body }: FakeRequest, buckets: Buckets): FakeAnswer {
  const existing = buckets.all.get(name);
  if (existing !== undefined) {
    const ours = existing.owner === buckets.account;
    throw new S3Error(409, ours ? "BucketAlreadyOwnedByYou" : "BucketAlreadyExists");
  }
  const wanted = /<LocationConstraint>(.*?)</.exec(body.toString())?.[1] ?? "us-east-1";
  if (wanted !== buckets.region) throw new S3Error(400, "IllegalLocationConstraintException");
  buckets.create(name);
  return { status: 200, headers: { location: `/${name}` } };
}

function setting(bucket: FakeBucket, name: string, { body }: FakeRequest): FakeAnswer {
  bucket.settings.set(name, body.toString());
  return { status: 200 };
}

function readObject(request: FakeRequest, bucket: FakeBucket): FakeAnswer {
  const version = bucket.version(request.key, request.query.get("versionId"));
  if (version === undefined || version.deleteMarker === true) throw new S3Error(404, "NoSuchKey");
  const ifMatch = request.headers["if-match"];
  if (ifMatch !== undefined && ifMatch !== version.etag) throw new S3Error(412, "PreconditionFailed");
  if (request.operation === "GetObject" && version.storageClass !== undefined && version.restore === undefined) {
    throw new S3Error(403, "InvalidObjectState");
  }
  const headers = headersOf(request, version);
  const size = version.body.byteLength;
  const found = /^bytes=(\d+)-(\d+)$/.exec(request.headers["range"] ?? "");
  if (found === null) {
    return { status: 200, headers: { ...headers, "content-length": String(size) }, body: version.body };
  }
  const [start, last] = [Number(found[1]), Math.min(Number(found[2]), size - 1)];
  if (start > last) throw new S3Error(416, "InvalidRange");
  const range = { "content-range": `bytes ${start}-${last}/${size}`, "content-length": String(last - start + 1) };
  return { status: 206, headers: { ...headers, ...range }, body: version.body.subarray(start, last + 1) };
}

function headersOf(request: FakeRequest, version: FakeVersion): Record<string, string> {
  const wantsChecksum = request.headers["x-amz-checksum-mode"] === "ENABLED";
  const metadata = Object.entries(version.metadata).map(([name, value]) => [`x-amz-meta-${name}`, value] as const);
  return defined({
    etag: version.etag,
    "last-modified": version.modifiedAt.toUTCString(),
    "content-type": version.contentType,
    "accept-ranges": "bytes",
    "x-amz-version-id": versionId(version.id),
    "x-amz-checksum-crc32": wantsChecksum ? version.crc32 : undefined,
    "x-amz-checksum-type": wantsChecksum ? version.checksumType : undefined,
    "x-amz-storage-class": version.storageClass,
    "x-amz-restore": version.restore,
    ...Object.fromEntries(metadata),
  });
}

/** In pages, as AWS does when a prefix is asked for. */
function listBuckets({ query }: FakeRequest, { all, account, pageSize }: Buckets): FakeAnswer {
  const after = query.get("continuation-token") ?? "";
  const rest = [...all]
    .filter(([name, { owner }]) => owner === account && name.startsWith(query.get("prefix") ?? "") && name > after)
    .map(([name]) => name)
    .sort();
  const page = rest.slice(0, pageSize);
  const token = rest.length > page.length ? `<ContinuationToken>${page.at(-1)}</ContinuationToken>` : "";
  const lines = page.map((name) => `<Bucket><Name>${name}</Name></Bucket>`);
  return xml("ListAllMyBucketsResult", `<Buckets>${lines.join("")}</Buckets>${token}`);
}

function listObjects({ query }: FakeRequest, bucket: FakeBucket, { pageSize }: Buckets): FakeAnswer {
  const prefix = query.get("prefix") ?? "";
  const delimiter = query.get("delimiter");
  const after = Buffer.from(query.get("continuation-token") ?? "", "base64url").toString();
  const encode = (text: string) => (query.get("encoding-type") === "url" ? encodeURIComponent(text) : escapeXml(text));
  const lines = new Map<string, string>();
  for (const key of [...bucket.objects.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) {
    const version = bucket.current(key);
    if (version === undefined || !key.startsWith(prefix)) continue;
    const end = delimiter === null ? -1 : key.indexOf(delimiter, prefix.length);
    if (end >= 0) {
      const folder = key.slice(0, end + 1);
      lines.set(folder, `<CommonPrefixes><Prefix>${encode(folder)}</Prefix></CommonPrefixes>`);
      continue;
    }
    const date = `<LastModified>${version.modifiedAt.toISOString()}</LastModified>`;
    const facts = `${date}<ETag>${escapeXml(version.etag)}</ETag><Size>${version.body.byteLength}</Size>`;
    lines.set(key, `<Contents><Key>${encode(key)}</Key>${facts}</Contents>`);
  }
  const rest = [...lines].filter(([key]) => key > after);
  const page = rest.slice(0, pageSize);
  const last = page.at(-1)?.[0];
  const more = rest.length > page.length && last !== undefined;
  const token = more ? `<NextContinuationToken>${Buffer.from(last).toString("base64url")}</NextContinuationToken>` : "";
  const head = `<KeyCount>${page.length}</KeyCount><IsTruncated>${more}</IsTruncated>${token}`;
  return xml("ListBucketResult", head + page.map(([, line]) => line).join(""));
}

function listUploads({ query }: FakeRequest, bucket: FakeBucket, { pageSize }: Buckets): FakeAnswer {
  const marker = query.get("key-marker") ?? "";
  const idMarker = query.get("upload-id-marker") ?? "";
  const rest = [...bucket.uploads.values()]
    .filter(({ key }) => key.startsWith(query.get("prefix") ?? ""))
    .sort((a, b) => (a.key === b.key ? (a.id < b.id ? -1 : 1) : a.key < b.key ? -1 : 1))
    .filter(({ key, id }) => key > marker || (key === marker && idMarker !== "" && id > idMarker));
  const page = rest.slice(0, pageSize);
  const last = page.at(-1);
  const more = rest.length > page.length && last !== undefined;
  const next = more
    ? `<NextKeyMarker>${escapeXml(last.key)}</NextKeyMarker><NextUploadIdMarker>${last.id}</NextUploadIdMarker>`
    : "";
  const lines = page.map(
    ({ key, id, startedAt }) =>
      `<Upload><Key>${escapeXml(key)}</Key><UploadId>${id}</UploadId><Initiated>${startedAt.toISOString()}</Initiated></Upload>`,
  );
  return xml("ListMultipartUploadsResult", `<IsTruncated>${more}</IsTruncated>${next}${lines.join("")}`);
}

export function xml(root: string, fields: string): FakeAnswer {
  return {
    status: 200,
    body: `<?xml version="1.0" encoding="UTF-8"?>\n<${root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${fields}</${root}>`,
  };
}

export function errorDocument(code: string, message: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${escapeXml(message)}</Message></Error>`;
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

function versionId(id: string): string | undefined {
  return id === "null" ? undefined : id;
}

function defined(headers: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const entries = Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return Object.fromEntries(entries);
}
