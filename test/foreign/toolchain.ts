import { execFileSync } from "node:child_process";
import * as path from "node:path";

/** Debian's Python, whatever other Python stands first on PATH: only it knows Debian's packages. */
export const python = "/usr/bin/python3";

/** What finds each thing that is needed, and the Debian packages that bring them all. */
const needed: readonly (readonly string[])[] = [
  [python, "-c", "import grpc, google.protobuf"],
  ["protoc", "--version"],
  ["sh", "-c", "command -v grpc_python_plugin"],
];
const packages = ["python3-grpcio", "python3-protobuf", "protobuf-compiler-grpc"];

/**
 * Installs the tools where they are missing and can be, as root on Debian; else throws one line.
 */
export function ensureToolchain(): void {
  if (needed.every(works)) return;
  const line = `make test-foreign needs ${packages.join(", ")}`;
  if (process.getuid?.() !== 0 || !works(["apt-get", "--version"])) {
    throw new Error(`${line}: as root, apt-get install --no-install-recommends those`);
  }
  console.log(`${line}: installing Debian's`);
  const apt = (...args: string[]) =>
    execFileSync("apt-get", ["-qq", ...args], {
      // What it says on stderr is shown where it fails.
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    });
  apt("update");
  apt("install", "-y", "--no-install-recommends", ...packages);
  const missing = needed.find((command) => !works(command));
  if (missing) throw new Error(`${line}; installed, but this fails: ${missing.join(" ")}`);
}

/** Python from the contract, into a folder. */
export function generatePython(root: string, folder: string): void {
  const template = path.join("test", "foreign", "buf.gen.py.yaml");
  const buf = path.join(root, "node_modules", ".bin", "buf");
  execFileSync(buf, ["generate", "--template", template, "-o", folder], {
    cwd: root,
    stdio: "inherit",
  });
}

function works([program = "", ...args]: readonly string[]): boolean {
  try {
    execFileSync(program, args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
