import type { Client } from "../client/index.js";

type Submit = Client["submit"];

/** How a handler submits: what follows from a task must be final when the task must be. */
export function submitFrom(
  client: Pick<Client, "submit"> | undefined,
  deadline: Date | undefined,
): Submit {
  if (!client) return refuse;
  if (!deadline) return (type, payload, options) => client.submit(type, payload, options);
  return (type, payload, options = {}) =>
    client.submit(type, payload, { ...options, deadline: earlier(deadline, options.deadline) });
}

const earlier = (one: Date, other: Date | undefined): Date =>
  other === undefined || one < other ? one : other;

const refuse: Submit = async () => {
  throw new TypeError("this worker has no client: give one, createWorker({ client })");
};
