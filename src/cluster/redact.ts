/** Takes secrets out of what a pod says, where it enters: tools repeat what they were given, and addresses with passwords. */

const removed = "<removed>";

/** @param secrets what the command was given; shorter ones than three characters would tear words apart. */
export function redact(words: string, secrets: readonly string[]): string {
  let text = words.replaceAll(/(:\/\/[^\s:@/]*:)[^\n]*@/g, `$1${removed}@`);
  for (const form of secrets.filter((each) => each.length >= 3).flatMap(formsOf)) text = text.replaceAll(form, removed);
  return text;
}

function formsOf(secret: string): readonly string[] {
  const bytes = Buffer.from(secret);
  const base64 = bytes.toString("base64");
  return [
    ...[secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret)],
    ...[base64, base64.replace(/=+$/, ""), bytes.toString("base64url"), bytes.toString("hex")],
  ];
}
