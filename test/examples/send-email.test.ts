import { createServer, type AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { createSendEmail } from "../../examples/handlers/send-email.js";
import { start } from "../../examples/servers/mail-catcher.js";
import { afterTest, contextOf, failureOf, taskId } from "./example-context.js";

const mail = {
  recipient: "user@example.com",
  subject: "Hello World",
  body: "This is a test email",
};

async function catcher(options: Parameters<typeof start>[0] = {}) {
  const running = await start(options);
  afterTest(() => running.stop());
  return { ...running, smtpUrl: `smtp://127.0.0.1:${running.smtpPort}` };
}

test("the sample task's mail is caught as it was asked for", async () => {
  const { smtpUrl, mails } = await catcher();
  const result = await createSendEmail({ smtpUrl }).handle(mail, contextOf());
  expect(result).toMatchObject({
    message_id: `<${taskId}@drover.local>`,
    accepted: ["user@example.com"],
  });
  expect(mails()).toMatchObject([
    { to: ["user@example.com"], subject: "Hello World", task_id: taskId, from: "drover@localhost" },
  ]);
  expect(mails()[0]?.text.trim()).toBe("This is a test email");
});

test("text in any script, long lines and dots arrive unchanged", async () => {
  const { smtpUrl, mails } = await catcher();
  const subject = `Grüße aus Köln 🐑 ${"und noch mehr ".repeat(12)}?= =?utf-8?q?x?=`;
  const body = `.\n..dots\n${"lange Zeile mit Ümläuten ".repeat(100)}\n=3D 🐑`;
  await createSendEmail({ smtpUrl }).handle({ ...mail, subject, body }, contextOf());
  expect(mails()[0]?.subject).toBe(subject);
  expect(mails()[0]?.text.replaceAll("\r\n", "\n").trimEnd()).toBe(body);
});

test("every attempt of a task has the same message id", async () => {
  const { smtpUrl, mails } = await catcher();
  const { handle } = createSendEmail({ smtpUrl });
  await handle(mail, contextOf());
  await handle(mail, contextOf({ fencingToken: 2 }));
  expect(new Set(mails().map(({ message_id }) => message_id)).size).toBe(1);
});

test.each([
  ["recipient", { ...mail, recipient: undefined }],
  ["recipient", { ...mail, recipient: "nobody" }],
  ["recipient", { ...mail, recipient: "a@example.com, b@example.com" }],
  ["recipient", { ...mail, recipient: "Eve <eve@example.com>" }],
  ["recipient", { ...mail, recipient: "a@example.com\r\nBcc: b@example.com" }],
  ["recipient", { ...mail, recipient: `${"a".repeat(250)}@example.com` }],
  ["recipient", { ...mail, recipient: ["a@example.com"] }],
  ["subject", { ...mail, subject: "" }],
  ["subject", { ...mail, subject: "Hello\r\nBcc: everyone@example.com" }],
  ["subject", { ...mail, subject: "Hello\nBcc: everyone@example.com" }],
  ["subject", { ...mail, subject: "Hello\u2028World" }],
  ["subject", { ...mail, subject: "x".repeat(501) }],
  ["body", { ...mail, body: { path: "/etc/passwd" } }],
  ["body", { recipient: mail.recipient, subject: mail.subject }],
])("a bad %s is refused for good, by name, and nothing is sent", async (field, payload) => {
  const { smtpUrl, mails } = await catcher();
  const work = createSendEmail({ smtpUrl }).handle(payload, contextOf());
  const { message } = await failureOf(work, "invalid_payload", false);
  expect(message).toContain(`payload.${field}: `);
  expect(mails()).toEqual([]);
});

test.each([undefined, null, "text", 7, []])("%j is no payload", async (payload) => {
  const work = createSendEmail({ smtpUrl: "smtp://127.0.0.1:1" }).handle(payload, contextOf());
  const { message } = await failureOf(work, "invalid_payload", false);
  expect(message).toMatch(/^payload: /);
});

test("a mail server that cannot be reached is worth another attempt", async () => {
  const work = createSendEmail({ smtpUrl: "smtp://127.0.0.1:1" }).handle(mail, contextOf());
  await failureOf(work, "mail_failed", true);
});

/** Speaks just enough SMTP to answer RCPT TO in its own way; undefined: never greets. */
async function smtpThatSays(answer: string | undefined, onConnect = () => undefined as void) {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    onConnect();
    if (answer === undefined) return;
    socket.write("220 test\r\n");
    socket.on("data", (data) => {
      const line = data.toString();
      socket.write(line.startsWith("RCPT") ? `${answer}\r\n` : "250 ok\r\n");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  afterTest(() => server.close());
  return `smtp://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test.each([
  ["550 no such user", "mail_refused", false],
  ["451 try later", "mail_failed", true],
])("the server's %s is %s", async (answer, code, retryable) => {
  const smtpUrl = await smtpThatSays(answer);
  await failureOf(createSendEmail({ smtpUrl }).handle(mail, contextOf()), code, retryable);
});

test("the task's signal ends a send that hangs", async () => {
  const stop = new AbortController();
  const smtpUrl = await smtpThatSays(undefined, () => stop.abort(new Error("lease lost")));
  const work = createSendEmail({ smtpUrl }).handle(mail, contextOf({ signal: stop.signal }));
  await expect(work).rejects.toThrow("lease lost");
});

test("the catcher keeps the latest mails only and shows them escaped", async () => {
  const { smtpUrl, mails, url } = await catcher({ keep: 2 });
  const { handle } = createSendEmail({ smtpUrl });
  for (const subject of ["first", "second", "<script>alert(1)</script>"]) {
    await handle({ ...mail, subject, body: "<img src=x onerror=alert(1)>" }, contextOf());
  }
  expect(mails().map(({ subject }) => subject)).toEqual(["second", "<script>alert(1)</script>"]);
  const html = await (await fetch(url)).text();
  expect(html).toContain("&#60;script&#62;");
  expect(html).not.toMatch(/<script|<img/);
  const listed = (await (await fetch(`${url}/mails`)).json()) as { mails: unknown[] };
  expect(listed.mails).toHaveLength(2);
});
