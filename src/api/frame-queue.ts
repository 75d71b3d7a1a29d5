import type { Lease } from "../broker/broker.js";
import type { Command, CoordinatorFrame, Kept, ResultAck } from "../coordinator/frames.js";

interface Merged {
  welcome?: CoordinatorFrame["welcome"];
  leases: Lease[];
  acks: ResultAck[];
  commands: Command[];
  heartbeatAck?: CoordinatorFrame["heartbeatAck"];
  goAway?: CoordinatorFrame["goAway"];
  kept: Kept[];
}

/** Parts on their way to one stream, merged into frames as they come. */
export class FrameQueue {
  readonly #frames: Merged[] = [];

  add(part: CoordinatorFrame): void {
    let frame = this.#frames.at(-1);
    if (!frame || collides(frame, part)) {
      frame = { leases: [], acks: [], commands: [], kept: [] };
      this.#frames.push(frame);
    }
    const { welcome, leases, acks, commands, heartbeatAck, goAway, kept } = part;
    if (welcome) frame.welcome = welcome;
    if (leases) for (const lease of leases) frame.leases.push(lease);
    if (acks) for (const ack of acks) frame.acks.push(ack);
    if (commands) for (const command of commands) frame.commands.push(command);
    if (heartbeatAck) frame.heartbeatAck = heartbeatAck;
    if (goAway) frame.goAway = goAway;
    if (kept) for (const one of kept) frame.kept.push(one);
  }

  /** The oldest; it may be too large for one message, see `writeFrame`. */
  take(): CoordinatorFrame | undefined {
    return this.#frames.shift() as CoordinatorFrame | undefined;
  }
}

/** Single parts cannot ride twice in a frame. */
const collides = (a: Merged, b: CoordinatorFrame): boolean =>
  (a.welcome !== undefined && b.welcome !== undefined) ||
  (a.heartbeatAck !== undefined && b.heartbeatAck !== undefined) ||
  (a.goAway !== undefined && b.goAway !== undefined);

/** Upper bounds of encoded sizes: cheap, and never below the truth. */
export function sizeOf(frame: CoordinatorFrame): number {
  let size = 64;
  if (frame.welcome) size += 512 + 48 * frame.welcome.revokedTokens.length;
  for (const lease of frame.leases ?? []) size += leaseSize(lease);
  for (const ack of frame.acks ?? []) size += 64 + 3 * ack.message.length;
  for (const command of frame.commands ?? []) {
    size += 80 + (command.kind === "revoke" ? 3 * command.reason.length : 0);
  }
  size += 64 * (frame.kept?.length ?? 0);
  if (frame.heartbeatAck) size += 64 + 48 * frame.heartbeatAck.unknownTokens.length;
  return size;
}

function leaseSize({ task, traceContext = task.traceContext }: Lease): number {
  let texts = task.type.length + task.queue.length + task.groupKey.length;
  texts += task.idempotencyKey.length;
  for (const tag of task.tags) texts += tag.length + 4;
  for (const [name, value] of Object.entries(traceContext)) {
    texts += name.length + value.length + 8;
  }
  const { error, payload, checkpoint } = task;
  if (checkpoint) texts += checkpoint.data.length + checkpoint.contentType.length;
  if (error) texts += error.code.length + error.message.length + (error.stack?.length ?? 0);
  return 512 + 3 * texts + (payload ? payload.data.length + 3 * payload.contentType.length : 0);
}
