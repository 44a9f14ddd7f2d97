/** Ceilings that every snapshot of format version 1 keeps: the writer refuses to go past them, and the reader refuses to
 *  believe a file that claims more. They bound what a hostile file can cost before it is found out. FORMAT.md lists them. */

const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;

/** Content of one segment. The unit of memory: one is buffered for each open stream. */
export const segmentBytes = 8 * mebibyte;

/** One gzip member that holds a segment. Deflate's worst case adds five bytes to each 16 KiB; the rest is the tar header. */
export const maxMemberBytes = segmentBytes + mebibyte;

/** Entries before the manifest: 8 TB of segments, and six digits number them all, so that a shell's `*` sorts them. */
export const maxEntries = 1_000_000;

export const maxHeaderBytes = 64 * kibibyte;
export const maxManifestBytes = 256 * mebibyte;

/** Nesting of a manifest; `facts` are the only part whose depth the format does not fix. */
export const maxJsonDepth = 64;

/** Values in a manifest: `maxEntries` times the five of a segment, and room for the rest. */
export const maxJsonValues = 8_000_000;

/** A stream's name: 1024 bytes (the longest key of an object store), each written as %XX. */
export const maxStreamNameLength = 3 * 1024;

/** A storage's and an instance's name, each. Kubernetes allows 253. */
export const maxFolderPartLength = 253;

/** Streams of which a reader of the whole file has seen a beginning and no end yet. Each costs it a hash and, when it is
 *  encoded, a decompressor. */
export const maxOpenStreams = 64;
