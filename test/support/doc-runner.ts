import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { pathToFileURL } from "node:url";
import type { Sample } from "./doc-samples.js";

export interface DocWorld {
  readonly httpAddress: string;
  readonly grpcAddress: string;
  /** Set for samples that start coordinators on stores of their own. */
  readonly storeEnv: () => Promise<Record<string, string>>;
}

const root = process.cwd();
const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
/** The build, which starts thrice as fast as the sources. */
const drover = `exec "${process.execPath}" "${root}/dist/main.js" "$@"`;
/** A sample that takes longer than this hangs. */
const patienceMs = 40_000;

/** What a sample said. */
export interface Said {
  readonly out: string;
  readonly statuses: readonly number[];
}

/** The place where the samples of one document run, one after the other. */
export class DocRunner {
  readonly dir: string;
  readonly #world: DocWorld;
  readonly #background: Background[] = [];
  #lastTaskId: string | undefined;
  /** JSON answers of the latest shell sample. */
  answers: unknown[] = [];

  constructor(world: DocWorld) {
    if (!existsSync("dist/main.js"))
      throw new Error("samples run the build: call `make build` first");
    this.#world = world;
    this.dir = mkdtempSync(path.join(tmpdir(), `drover-test-${process.pid}-docs-`));
    writeFileSync(path.join(this.dir, "package.json"), '{"type":"module"}');
    symlinkSync(path.join(root, "deploy"), path.join(this.dir, "deploy"));
    // Samples import Drover by its package name: the build, as its users do.
    writeFileSync(path.join(this.dir, "tsconfig.json"), "{}");
    mkdirSync(path.join(this.dir, "node_modules"));
    symlinkSync(root, path.join(this.dir, "node_modules", "drover"));
    mkdirSync(path.join(this.dir, "bin"));
    this.#tool("npx", `[ "$1" = drover ] && shift\n${drover}`);
    this.#tool("curl", `exec ${which("curl")} -sS -w '\\n%{stderr}HTTP %{http_code}\\n' "$@"`);
    // Few machines have grpcurl; buf, which comes by npm, speaks the same reflection.
    if (which("grpcurl") === undefined) this.#tool("grpcurl", grpcurlByBuf);
  }

  #tool(name: string, script: string): void {
    const file = path.join(this.dir, "bin", name);
    writeFileSync(file, `#!/usr/bin/env bash\n${script}\n`);
    chmodSync(file, 0o755);
  }

  /** Keeps a sample for those after it; returns where. */
  keep({ directives, language, line, code }: Sample): string {
    const file = path.join(this.dir, directives["file"] ?? `sample-${line}.${language}`);
    mkdirSync(path.dirname(file), { recursive: true });
    const before = directives["before"];
    const text = this.#substituted(code);
    writeFileSync(file, before === undefined ? text : `${before}\n${text}`);
    return file;
  }

  async run(sample: Sample): Promise<Said> {
    const { language, directives } = sample;
    const background = directives["background"];
    if (language !== "sh") {
      const args = ["--import", tsx, this.keep(sample)];
      if (background !== undefined) return this.#start(process.execPath, args, background, {});
      return this.#finish(process.execPath, args);
    }
    const code = this.#substituted(sample.code);
    if (background === undefined) return this.#finish("bash", ["-euo", "pipefail", "-c", code]);
    const serves = code.includes("drover serve");
    const env = serves ? await this.#world.storeEnv() : {};
    for (const command of code.replaceAll("\\\n", " ").split("\n")) {
      const own = serves ? withStores(command, env) : command;
      await this.#start("bash", ["-c", own], background, env);
    }
    return { out: "", statuses: [] };
  }

  #substituted(code: string): string {
    const { httpAddress, grpcAddress } = this.#world;
    const here = code
      .replaceAll("localhost:8080", httpAddress)
      .replaceAll("localhost:50051", grpcAddress);
    const id = this.#lastTaskId;
    return id === undefined ? here : here.replaceAll(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-\w{12}/g, id);
  }

  #spawn(command: string, args: readonly string[], env: Record<string, string>): ChildProcess {
    return spawn(command, args, {
      cwd: this.dir,
      env: {
        PATH: `${path.join(this.dir, "bin")}${path.delimiter}${process.env.PATH}`,
        HOME: process.env.HOME ?? "",
        DROVER_ADDR: this.#world.grpcAddress,
        BUF: path.join(root, "node_modules/.bin/buf"),
        ...env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  async #finish(command: string, args: readonly string[]): Promise<Said> {
    const child = this.#spawn(command, args, {});
    const heard = listen(child);
    const patience = setTimeout(() => child.kill("SIGKILL"), patienceMs);
    const [code] = (await once(child, "close")) as [number | null];
    clearTimeout(patience);
    const { out, err } = heard;
    if (code !== 0) throw new Error(`ended with ${code}:\n${args.at(-1)}\n${heard.all()}`);
    this.#learn(out.text);
    const statuses = [...err.text.matchAll(/^HTTP (\d+)$/gm)].map(([, status]) => Number(status));
    return { out: out.text, statuses };
  }

  #learn(out: string): void {
    this.answers = out.split("\n").flatMap((line) => parsed(line) ?? []);
    const whole = parsed(out);
    if (this.answers.length === 0 && whole !== undefined) this.answers = [whole];
    for (const answer of this.answers) {
      const { task_id, id } = answer as { task_id?: unknown; id?: unknown };
      const found = task_id ?? id;
      if (typeof found === "string" && found !== "") this.#lastTaskId = found;
    }
  }

  async #start(
    command: string,
    args: readonly string[],
    up: string,
    env: Record<string, string>,
  ): Promise<Said> {
    const child = this.#spawn(command, args, env);
    const exited = once(child, "close").then(([code]) => code as number | null);
    const heard = listen(child);
    this.#background.push({ child, exited, heard });
    const isUp = new Promise<void>((resolve) => {
      const look = () => heard.all().includes(up) && resolve();
      child.stdout!.on("data", look);
      child.stderr!.on("data", look);
    });
    const early = exited.then((code) => {
      throw new Error(`ended with ${code} before it said "${up}":\n${heard.all()}`);
    });
    await Promise.race([isUp, early]);
    early.catch(() => undefined);
    return { out: "", statuses: [] };
  }

  /** Ends what goes on; rejects if anything of it does not end in order. */
  async stop(): Promise<void> {
    for (const { child } of this.#background) child.kill("SIGTERM");
    const patience = setTimeout(() => {
      for (const { child } of this.#background) child.kill("SIGKILL");
    }, patienceMs);
    const codes = await Promise.all(this.#background.map(({ exited }) => exited));
    clearTimeout(patience);
    rmSync(this.dir, { recursive: true, force: true });
    const bad = codes.findIndex((code) => code !== 0);
    if (bad !== -1) {
      throw new Error(`ended with ${codes[bad]}:\n${this.#background[bad]!.heard.all()}`);
    }
  }
}

interface Background {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  readonly heard: Heard;
}

interface Heard {
  readonly out: { text: string };
  readonly err: { text: string };
  all(): string;
}

function listen(child: ChildProcess): Heard {
  const out = { text: "" };
  const err = { text: "" };
  child.stdout!.on("data", (data: Buffer) => (out.text += data.toString()));
  child.stderr!.on("data", (data: Buffer) => (err.text += data.toString()));
  return { out, err, all: () => `${out.text}\n${err.text}` };
}

function parsed(text: string): unknown {
  if (!/^\s*[{[]/.test(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function which(name: string): string | undefined {
  try {
    return execFileSync("bash", ["-c", `command -v ${name}`], { encoding: "utf8" }).trim();
  } catch {
    return undefined;
  }
}

/** The stores of this run for those that the sample names, and any free port. */
const withStores = (command: string, env: Record<string, string>): string =>
  command
    .replaceAll(/\b(REDIS_URL|DATABASE_URL)=\S+/g, (_, name: string) => `${name}=${env[name]}`)
    .replaceAll(/\b(PORT|GRPC_PORT)=\d+/g, "$1=0");

const grpcurlByBuf = `
data=() words=()
while [ $# -gt 0 ]; do
  case "$1" in
    -plaintext) ;;
    -d) data=(-d "$2"); shift ;;
    *) words+=("$1") ;;
  esac
  shift
done
how=(--protocol grpc --http2-prior-knowledge)
if [ "\${words[1]}" = list ]; then
  exec "$BUF" curl "\${how[@]}" --list-services "http://\${words[0]}"
fi
exec "$BUF" curl "\${how[@]}" "\${data[@]}" "http://\${words[0]}/\${words[1]}"`;
