import { defaultNamespace } from "../task/task.js";

/** Who calls. The namespace comes from here and from nowhere else. */
export interface Principal {
  readonly namespace: string;
}

/** The metadata of a call, whatever its door keeps it in. */
export type CallHeaders = Pick<Headers, "get">;

/**
 * Every door asks this once per call or stream. Rejects with a DroverError if the caller may not
 * enter.
 */
export type Authenticate = (headers: CallHeaders) => Promise<Principal>;

/** Without authentication everybody is in the namespace `default`. */
export const openAccess: Authenticate = async () => ({ namespace: defaultNamespace });
