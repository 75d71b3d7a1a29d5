import { BlockList, isIPv4, isIPv6 } from "node:net";

const refused: [name: string, subnet: string, prefix: number, family: "ipv4" | "ipv6"][] = [
  ["unspecified", "0.0.0.0", 8, "ipv4"],
  ["private", "10.0.0.0", 8, "ipv4"],
  ["carrier-grade NAT", "100.64.0.0", 10, "ipv4"],
  ["loopback", "127.0.0.0", 8, "ipv4"],
  ["link-local", "169.254.0.0", 16, "ipv4"],
  ["private", "172.16.0.0", 12, "ipv4"],
  ["special-purpose", "192.0.0.0", 24, "ipv4"],
  ["documentation", "192.0.2.0", 24, "ipv4"],
  ["6to4 relay", "192.88.99.0", 24, "ipv4"],
  ["private", "192.168.0.0", 16, "ipv4"],
  ["benchmarking", "198.18.0.0", 15, "ipv4"],
  ["documentation", "198.51.100.0", 24, "ipv4"],
  ["documentation", "203.0.113.0", 24, "ipv4"],
  ["multicast", "224.0.0.0", 4, "ipv4"],
  ["reserved", "240.0.0.0", 4, "ipv4"],
  ["special-purpose", "2001::", 23, "ipv6"],
  ["documentation", "2001:db8::", 32, "ipv6"],
  ["6to4", "2002::", 16, "ipv6"],
  ["documentation", "3fff::", 20, "ipv6"],
  // What stands outside 2000::/3 is refused anyhow; these only give the refusal its name.
  ["loopback", "::1", 128, "ipv6"],
  ["unspecified", "::", 128, "ipv6"],
  ["IPv4-mapped", "::ffff:0:0", 96, "ipv6"],
  ["NAT64", "64:ff9b::", 96, "ipv6"],
  ["unique local", "fc00::", 7, "ipv6"],
  ["link-local", "fe80::", 10, "ipv6"],
  ["multicast", "ff00::", 8, "ipv6"],
];

const subnet = (address: string, prefix: number, family: "ipv4" | "ipv6") => {
  const list = new BlockList();
  list.addSubnet(address, prefix, family);
  return list;
};
const lists = refused.map(([name, address, prefix, family]) => ({
  name,
  family,
  list: subnet(address, prefix, family),
}));
const globalUnicast = subnet("2000::", 3, "ipv6");

/**
 * Why an address must not be connected to, or undefined if it is an ordinary public one. IPv6 is an
 * allow list (global unicast, less its special blocks): forms that carry an IPv4 address inside are
 * refused whatever they carry.
 */
export function refusalOf(address: string): string | undefined {
  const family = isIPv4(address) ? "ipv4" : isIPv6(address) ? "ipv6" : undefined;
  if (!family) return "not an address";
  // A zone names an interface of this host, which makes no sense for a public address.
  if (address.includes("%")) return "link-local";
  const hit = lists.find((entry) => entry.family === family && entry.list.check(address, family));
  if (hit) return hit.name;
  if (family === "ipv6" && !globalUnicast.check(address, "ipv6")) return "not global unicast";
  return undefined;
}
