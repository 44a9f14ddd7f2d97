/** The fake S3 server as a process of its own: `s3-main.ts [bytes per second]` prints its URL and serves until killed. */
import { FakeS3 } from "./s3-server.ts";

const [rate] = process.argv.slice(2);
const server = await new FakeS3(rate === undefined ? {} : { bytesPerSecond: Number(rate) }).start();
process.stdout.write(`${server.url}\n`);
