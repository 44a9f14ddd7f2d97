/** Which proxy the environment names for an address, as kubectl reads it (golang.org/x/net/http/httpproxy); neither Node nor
 *  the Kubernetes client library does. */
import { BlockList, isIP } from "node:net";

type Environment = Readonly<Record<string, string | undefined>>;

/** @param server URL of the API server. @returns the proxy's URL, or undefined for none. */
export function environmentProxy(server: string, environment: Environment): string | undefined {
  const { protocol, hostname, port } = new URL(server);
  const named = (name: string) => environment[name.toUpperCase()] || environment[name.toLowerCase()];
  const proxy = named(protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY");
  const host = hostname.replace(/^\[(.*)\]$/, "$1").toLowerCase();
  if (!proxy || isLoopback(host)) return undefined;
  const shownPort = port || (protocol === "https:" ? "443" : "80");
  const excluded = (named("NO_PROXY") ?? "").split(",").map((each) => each.trim().toLowerCase());
  if (excluded.some((each) => matches(each, host, shownPort))) return undefined;
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(proxy) ? proxy : `http://${proxy}`;
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

/** One entry of NO_PROXY: "*", an address, a network, a domain (with its subdomains; with a dot in front only these), each
 *  but the network with or without a port. */
function matches(entry: string, host: string, port: string): boolean {
  if (entry === "") return false;
  if (entry === "*") return true;
  const [network = "", prefix] = entry.split("/");
  if (prefix !== undefined) return isIP(host) !== 0 && isIP(network) !== 0 && isWithin(network, Number(prefix), host);
  const [name, wantedPort] = withoutPort(entry);
  if (wantedPort !== "" && wantedPort !== port) return false;
  if (isIP(name) !== 0) return name === host;
  if (isIP(host) !== 0 || name === "") return false;
  const domain = name.replace(/^\*\./, ".");
  return domain.startsWith(".") ? host.endsWith(domain) : host === domain || host.endsWith(`.${domain}`);
}

function withoutPort(entry: string): readonly [name: string, port: string] {
  if (isIP(entry) === 6) return [entry, ""];
  const [, name = entry, port = ""] = /^\[(.*)\](?::(\d+))?$/.exec(entry) ?? /^(.*):(\d+)$/.exec(entry) ?? [];
  return [name, port];
}

function isWithin(network: string, prefix: number, host: string): boolean {
  const family = isIP(network) === 6 ? "ipv6" : "ipv4";
  if (!Number.isInteger(prefix) || prefix < 0 || prefix > (family === "ipv6" ? 128 : 32)) return false;
  const list = new BlockList();
  list.addSubnet(network, prefix, family);
  return list.check(host, isIP(host) === 6 ? "ipv6" : "ipv4");
}
