import { testStoreContract } from "./conformance.ts";
import { directoryUnderTest, fakeS3UnderTest } from "./places.ts";

testStoreContract("a directory", directoryUnderTest);
testStoreContract("an S3 bucket", fakeS3UnderTest);
testStoreContract("an S3 bucket that keeps versions", () => fakeS3UnderTest({ server: { versions: true } }));
testStoreContract("an S3 bucket without checksums of whole objects", () =>
  fakeS3UnderTest({ server: { checksums: "parts" } }),
);
testStoreContract("an S3 bucket that refuses checksums", () => fakeS3UnderTest({ server: { checksums: "refuse" } }));
