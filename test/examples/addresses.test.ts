import { expect, test } from "vitest";
import { refusalOf } from "../../examples/fetch/addresses.js";

test.each([
  ["0.0.0.0", "unspecified"],
  ["0.1.2.3", "unspecified"],
  ["10.0.0.1", "private"],
  ["100.64.0.1", "carrier-grade NAT"],
  ["100.127.255.255", "carrier-grade NAT"],
  ["127.0.0.1", "loopback"],
  ["127.255.255.254", "loopback"],
  ["169.254.169.254", "link-local"],
  ["172.16.0.1", "private"],
  ["172.31.255.255", "private"],
  ["192.0.0.192", "special-purpose"],
  ["192.168.1.1", "private"],
  ["198.18.0.1", "benchmarking"],
  ["224.0.0.1", "multicast"],
  ["240.0.0.1", "reserved"],
  ["255.255.255.255", "reserved"],
  ["::", "unspecified"],
  ["::1", "loopback"],
  ["::ffff:127.0.0.1", "IPv4-mapped"],
  ["::ffff:8.8.8.8", "IPv4-mapped"],
  ["::ffff:a9fe:a9fe", "IPv4-mapped"],
  ["::127.0.0.1", "not global unicast"],
  ["64:ff9b::7f00:1", "NAT64"],
  ["64:ff9b:1::a00:1", "not global unicast"],
  ["100::1", "not global unicast"],
  ["2001::1", "special-purpose"],
  ["2001:db8::1", "documentation"],
  ["2002:7f00:1::", "6to4"],
  ["fc00::1", "unique local"],
  ["fd00:ec2::254", "unique local"],
  ["fe80::1", "link-local"],
  ["fe80::1%eth0", "link-local"],
  ["2606:4700::1111%eth0", "link-local"],
  ["fec0::1", "not global unicast"],
  ["ff02::1", "multicast"],
  ["example.com", "not an address"],
  ["", "not an address"],
  ["127.1", "not an address"],
])("%s is refused as %s", (address, refusal) => {
  expect(refusalOf(address)).toBe(refusal);
});

test.each(["1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "192.169.0.1", "2606:4700::1111"])(
  "%s is an ordinary public address",
  (address) => {
    expect(refusalOf(address)).toBeUndefined();
  },
);
