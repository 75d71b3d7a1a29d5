/**
 * As much MIME as the sample mail needs: one text part, encoded words in headers. Nothing here is
 * for real mail.
 */
export interface ReadMail {
  /** By lower-case name, the first of each, unfolded and decoded. */
  headers: Map<string, string>;
  text: string;
}

export function readMail(raw: Buffer): ReadMail {
  const source = raw.toString("latin1");
  const end = /\r?\n\r?\n/.exec(source);
  const head = end ? source.slice(0, end.index) : source;
  const body = end ? source.slice(end.index + end[0].length) : "";
  const headers = new Map<string, string>();
  for (const line of head.replaceAll(/\r?\n[ \t]+/g, " ").split(/\r?\n/)) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).trim().toLowerCase();
    if (colon > 0 && !headers.has(name)) headers.set(name, decodeWords(line.slice(colon + 1)));
  }
  return { headers, text: decodeBody(body, headers.get("content-transfer-encoding") ?? "7bit") };
}

function decodeBody(body: string, encoding: string): string {
  switch (encoding.toLowerCase()) {
    case "base64":
      return Buffer.from(body, "base64").toString("utf8");
    case "quoted-printable":
      return quotedBytes(body.replaceAll(/=\r?\n/g, "")).toString("utf8");
    default:
      return Buffer.from(body, "latin1").toString("utf8");
  }
}

/** RFC 2047. Adjacent words are one text: a character may be split between them. */
function decodeWords(value: string): string {
  const word = String.raw`=\?utf-8\?([bq])\?([^?\s]*)\?=`;
  const run = new RegExp(String.raw`${word}(?:\s+${word})*`, "gi");
  const plain = Buffer.from(value.trim(), "latin1").toString("utf8");
  return plain.replaceAll(run, (words) => {
    const parts = [...words.matchAll(new RegExp(word, "gi"))].map(([, kind = "", text = ""]) =>
      kind.toLowerCase() === "b"
        ? Buffer.from(text, "base64")
        : quotedBytes(text.replaceAll("_", " ")),
    );
    return Buffer.concat(parts).toString("utf8");
  });
}

const quotedBytes = (text: string): Buffer =>
  Buffer.from(
    text.replaceAll(/=([0-9a-f]{2})/gi, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    ),
    "latin1",
  );
