import { expect, test } from "vitest";
import { environmentProxy } from "../../src/cluster/proxy.ts";

const proxy = "http://proxy:3128";

test.each([
  ["no variable", "https://api.example.com", {}, undefined],
  ["HTTPS_PROXY", "https://api.example.com", { HTTPS_PROXY: proxy }, proxy],
  ["lower case", "https://api.example.com", { https_proxy: proxy }, proxy],
  ["upper case before lower", "https://api.example.com", { HTTPS_PROXY: proxy, https_proxy: "http://b" }, proxy],
  ["an empty one is none", "https://api.example.com", { HTTPS_PROXY: "", https_proxy: proxy }, proxy],
  ["HTTP_PROXY is not for https", "https://api.example.com", { HTTP_PROXY: proxy }, undefined],
  ["HTTP_PROXY", "http://api.example.com", { HTTP_PROXY: proxy, HTTPS_PROXY: "http://b" }, proxy],
  ["without a scheme", "https://api.example.com", { HTTPS_PROXY: "proxy:3128" }, proxy],
  ["socks5", "https://api.example.com", { HTTPS_PROXY: "socks5://proxy:1080" }, "socks5://proxy:1080"],
  ["localhost", "https://localhost:6443", { HTTPS_PROXY: proxy }, undefined],
  ["loopback", "https://127.1.2.3:6443", { HTTPS_PROXY: proxy }, undefined],
  ["loopback of IPv6", "https://[::1]:6443", { HTTPS_PROXY: proxy }, undefined],
])("%s", (_, server, environment, expected) => {
  expect(environmentProxy(server, environment)).toBe(expected);
});

test.each([
  ["*", "https://api.example.com", true],
  ["example.com", "https://api.example.com", true],
  ["example.com", "https://example.com", true],
  ["example.com", "https://badexample.com", false],
  [".example.com", "https://api.example.com", true],
  [".example.com", "https://example.com", false],
  ["*.example.com", "https://api.example.com", true],
  ["*.example.com", "https://example.com", false],
  ["EXAMPLE.com", "https://API.Example.COM", true],
  ["a.b, example.com ,,", "https://api.example.com", true],
  ["example.com:6443", "https://api.example.com:6443", true],
  ["example.com:6443", "https://api.example.com", false],
  ["example.com:443", "https://api.example.com", true],
  ["10.0.0.1", "https://10.0.0.1:6443", true],
  ["10.0.0.1:443", "https://10.0.0.1:6443", false],
  ["10.0.0.0/8", "https://10.200.3.4:6443", true],
  ["10.0.0.0/8", "https://11.0.0.1:6443", false],
  ["10.0.0.0/8", "https://ten.example.com", false],
  ["10.0.0.0/40", "https://10.0.0.1", false],
  ["fd00::/8", "https://[fd12::1]:6443", true],
  ["fd00::/8", "https://10.0.0.1", false],
  ["[fd12::1]:6443", "https://[fd12::1]:6443", true],
  ["[fd12::1]:443", "https://[fd12::1]:6443", false],
  ["[fd12::1]", "https://[fd12::1]:6443", true],
  ["fd12::1", "https://[fd12::1]:6443", true],
  ["0.0.1", "https://10.0.0.1", false],
])("NO_PROXY=%s and %s: excluded is %s", (NO_PROXY, server, isExcluded) => {
  expect(environmentProxy(server, { HTTPS_PROXY: proxy, NO_PROXY }) === undefined).toBe(isExcluded);
});
