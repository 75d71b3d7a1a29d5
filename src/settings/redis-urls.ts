/**
 * The addresses in one redis_url: one Redis, or some nodes of one Redis Cluster, separated by
 * commas. Scheme, user and password may stand at the first only; they hold for all. A comma in a
 * password is one of the password.
 */
export function redisUrlsOf(text: string): string[] {
  const urls: string[] = [];
  for (const part of text.split(/,\s*(?=rediss?:\/\/)/)) {
    const start = /^rediss?:\/\/(?:.*@)?/.exec(part)?.[0] ?? "";
    for (const rest of part.slice(start.length).split(",")) urls.push(start + rest.trim());
  }
  return urls;
}

/** Undefined: they are addresses of Redis. Otherwise what is wrong with them. */
export function redisUrlsTrouble(text: string): string | undefined {
  const urls = redisUrlsOf(text);
  for (const url of urls) {
    if (!/^rediss?:\/\//.test(url)) return "expected redis:// or rediss://";
    if (!URL.canParse(url) || (urls.length > 1 && new URL(url).hostname === "")) {
      return "expected URLs, separated by commas";
    }
  }
  if (urls.length === 1) return undefined;
  const parsed = urls.map((url) => new URL(url));
  if (new Set(parsed.map(loginOf)).size > 1) {
    return "the nodes of a Cluster share scheme, user and password";
  }
  // A Cluster has database 0 only.
  return parsed.every(({ pathname }) => /^\/?0?$/.test(pathname))
    ? undefined
    : "a Cluster has no databases: leave out what follows the port";
}

const loginOf = ({ protocol, username, password }: URL): string =>
  JSON.stringify([protocol, username, password]);

export const joinRedisUrls = (urls: readonly string[]): string => urls.join(",");
