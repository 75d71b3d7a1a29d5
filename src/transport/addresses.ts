import type { Random } from "../clock.js";

const fallbackAddress = "localhost:50051";
const hostPort = /^(?:[a-z][a-z0-9+.-]*:)?\S+:\d{1,5}$/i;

/**
 * The coordinators to dial: as given, else the comma list in DROVER_ADDR, else localhost:50051.
 * Throws on a malformed one.
 */
export function parseAddresses(given: string | readonly string[] | undefined): readonly string[] {
  const listed: readonly unknown[] = Array.isArray(given)
    ? given
    : [given ?? process.env["DROVER_ADDR"] ?? ""];
  const addresses = listed
    .flatMap((entry) => String(entry).split(","))
    .map((entry) => entry.trim())
    .filter((entry) => entry !== "");
  if (addresses.length === 0) return [fallbackAddress];
  for (const address of addresses) {
    if (hostPort.test(address)) continue;
    throw new TypeError(
      `address: expected host:port such as ${fallbackAddress}, got "${address}"; ` +
        "give the option address or set DROVER_ADDR",
    );
  }
  return addresses;
}

/**
 * Addresses in a circle. The first is chosen by chance, so that clients spread over the
 * coordinators.
 */
export interface AddressRing {
  readonly current: string;
  readonly size: number;
  /** Goes on to the next one. */
  next(): string;
}

export function createAddressRing(addresses: readonly string[], random: Random): AddressRing {
  let index = Math.floor(random.next() * addresses.length);
  return {
    get current() {
      return addresses[index]!;
    },
    size: addresses.length,
    next() {
      index = (index + 1) % addresses.length;
      return addresses[index]!;
    },
  };
}
