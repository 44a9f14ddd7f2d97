import { expect, test } from "vitest";
import { compileTemplate } from "../../src/cli/jsonpath.ts";

const value = {
  snapshots: [
    { name: "b", partial: true, sizeBytes: 2 },
    { name: "a", partial: false, sizeBytes: 1, "with.dot": "x" },
  ],
};

test.each([
  ["{.snapshots[0].name}", "b"],
  ["{$.snapshots[0].name}", "b"],
  ["{snapshots[0].name}", "b"],
  ["{.snapshots[*].name}", "b a"],
  ["{..name}", "b a"],
  ["{.snapshots[-1:].name}", "a"],
  ["{.snapshots[*]['name','sizeBytes']}", "b 2 a 1"],
  ["{.snapshots[?(@.partial==true)].name}", "b"],
  ['{.snapshots[?(@.name=="a")].sizeBytes}', "1"],
  ["{.snapshots[?(@.name=='}')].name}", ""],
  ["{.snapshots[1]['with.dot']}", "x"],
  ["{.nothing.here}", ""],
  ["{.snapshots[0].partial}", "true"],
  ["{.snapshots[0]}", '{"name":"b","partial":true,"sizeBytes":2}'],
  ["newest: {.snapshots[0].name}\n", "newest: b\n"],
  ['{range .snapshots[*]}{.name}{"\\t"}{@.sizeBytes}{"\\n"}{end}', "b\t2\na\t1\n"],
  ["{range .snapshots[*]}[{range @['name','sizeBytes']}<{@}>{end}]{end}", "[<b><2>][<a><1>]"],
  ["{'it\\'s {fine}'}{.nothing}", "it's {fine}"],
])("%j prints %j", async (template, expected) => {
  expect((await compileTemplate(template))(value)).toBe(expected);
});

test.each([
  ["{.snapshots[}", /bracket/],
  ["{.a b}", /found 'b'/],
  ["{.snapshots", /brace at 0 is not closed/],
  ["{.snapshots['a}", /brace at 0 is not closed/],
  ["{range .snapshots[*]}{.name}", /without \{end\}/],
  ["{.name}{end}", /without \{range/],
  [".snapshots[0].name", /in braces/],
  ["", /in braces/],
  ["{'a' 'b}", /not closed/],
  ["{'a'.b}", /neither text nor a path/],
])("%j is a usage error", async (template, reason) => {
  await expect(compileTemplate(template)).rejects.toMatchObject({
    outcome: "usage",
    message: expect.stringMatching(reason),
  });
});
