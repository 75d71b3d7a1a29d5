import { DroverError } from "../../errors.js";
import { limits } from "../../limits.js";
import type {
  CoordinatorInfo,
  Lease,
  RenewVerdict,
  SessionInfo,
  SessionOpen,
  SessionOpenReply,
  SessionRenewal,
} from "../broker.js";
import type { Argument } from "./connection.js";
import { namespaceText } from "./keys.js";
import { readOffered } from "./lease.js";
import { asList, asNumber, asText, type Reply } from "./scripts.js";
import { inChunks, splitToken, type SplitToken, type Store } from "./store.js";

interface Held {
  readonly token: Uint8Array;
  readonly split: SplitToken;
}

export async function openSession(store: Store, open: SessionOpen): Promise<SessionOpenReply> {
  const held = new Map<number, Held[]>(open.partitions.map((partition) => [partition, []]));
  const opened = { kept: [] as Lease[], revoked: [] as Uint8Array[], missing: [] as Uint8Array[] };
  const lostInTransit: Lease[] = [];
  for (const token of open.heldTokens) {
    const split = splitToken(store, token);
    if (!split) opened.revoked.push(token);
    else held.set(split.partition, [...(held.get(split.partition) ?? []), { token, split }]);
  }
  const answers = await Promise.allSettled(
    Array.from(held, async ([partition, tokens]) => {
      const base = store.base(partition);
      return asList(await store.scripts.run("open_session", base, openArguments(open, tokens)));
    }),
  );
  const unreached = unreachedOf(answers, [...held.keys()]);
  let resumed = false;
  for (const [i, tokens] of Array.from(held.values()).entries()) {
    const answer = answers[i]!;
    if (answer.status === "rejected") continue;
    const [kind, first, time, kept, revoked, missing, inTransit] = answer.value;
    if (asText(kind) === "superseded") return { kind: "superseded", generation: asNumber(first) };
    resumed ||= asNumber(first) === 1;
    opened.kept.push(...readOffered(kept, asNumber(time)));
    opened.revoked.push(...tokensAt(tokens, revoked));
    opened.missing.push(...tokensAt(tokens, missing));
    lostInTransit.push(...readOffered(inTransit, asNumber(time)));
  }
  return { kind: "opened", resumed, ...opened, lostInTransit, unreached };
}

/** Throws unless some partition has answered, or if one refused for another reason. */
function unreachedOf(
  answers: readonly PromiseSettledResult<unknown>[],
  partitions: readonly number[],
): number[] {
  const unreached: number[] = [];
  for (const [i, answer] of answers.entries()) {
    if (answer.status === "fulfilled") continue;
    unreached.push(partitions[i]!);
    const away = DroverError.from(answer.reason).id === "broker_unavailable";
    if (!away || unreached.length === answers.length) throw answer.reason;
  }
  return unreached;
}

const tokensAt = (tokens: readonly Held[], indexes: Reply | undefined): Uint8Array[] =>
  asList(indexes).map((index) => tokens[asNumber(index)]!.token);

function openArguments(open: SessionOpen, tokens: readonly Held[]): Argument[] {
  const { sessionId, generation, leaseMs, info } = open;
  const args: Argument[] = [
    sessionId,
    String(generation),
    String(leaseMs),
    JSON.stringify(info),
    info.workerId,
    namespaceText(info.namespace),
  ];
  for (const { split } of tokens) args.push(split.id, split.proof);
  return args;
}

export async function renewSessions(
  store: Store,
  partition: number,
  sessions: readonly SessionRenewal[],
): Promise<RenewVerdict[]> {
  // Nobody can lease there meanwhile, and whoever sweeps there next gives everybody time to renew.
  if (store.nodes.isMoving(store.base(partition))) return sessions.map(() => "renewed" as const);
  const calls = Array.from(inChunks(sessions, limits.leaseBatch), async (chunk) => {
    const args = chunk.flatMap(({ sessionId, generation, leaseMs, info }) => [
      sessionId,
      String(generation),
      String(leaseMs),
      info ? JSON.stringify(info) : "",
    ]);
    const verdicts = asList(await store.scripts.run("renew_sessions", store.base(partition), args));
    return verdicts.map((verdict) => asText(verdict) as RenewVerdict);
  });
  return (await Promise.all(calls)).flat();
}

const goodbye = -1;

/** In every partition: which ones know the session is not kept anywhere else. */
async function endSession(
  store: Store,
  sessionId: string,
  generation: number,
  leftMs: number,
): Promise<void> {
  const args = [sessionId, String(generation), String(leftMs)];
  await Promise.all(
    allPartitions(store).map((partition) =>
      store.scripts.run("end_session", store.base(partition), args),
    ),
  );
}

export const cutSession = (
  store: Store,
  sessionId: string,
  generation: number,
  leaseMs: number,
): Promise<void> => endSession(store, sessionId, generation, Math.max(0, leaseMs));

export const closeSession = (store: Store, sessionId: string, generation: number): Promise<void> =>
  endSession(store, sessionId, generation, goodbye);

export async function listSessions(store: Store): Promise<SessionInfo[]> {
  const found = new Map<string, { generation: number; info: SessionInfo }>();
  const replies = await Promise.all(
    allPartitions(store).map((partition) =>
      store.scripts.run("list_sessions", store.base(partition), []),
    ),
  );
  for (const row of replies.flatMap(asList)) {
    const [generation, info] = asList(row);
    const session = {
      generation: asNumber(generation),
      info: JSON.parse(asText(info)) as SessionInfo,
    };
    const known = found.get(session.info.sessionId);
    if (!known || known.generation <= session.generation) {
      found.set(session.info.sessionId, session);
    }
  }
  return Array.from(found.values(), ({ info }) => info);
}

export const allPartitions = (store: Store): number[] =>
  Array.from({ length: store.partitions }, (_, partition) => partition);

export async function announce(
  store: Store,
  coordinator: CoordinatorInfo,
): Promise<CoordinatorInfo[]> {
  const args = [coordinator.coordinatorId, JSON.stringify(coordinator)];
  const infos = asList(await store.scripts.run("announce", store.base(0), args));
  return infos.map((info) => JSON.parse(asText(info)) as CoordinatorInfo);
}
