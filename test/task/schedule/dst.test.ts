import { describe, expect, it } from "vitest";
import { cronTimes } from "../../../src/task/schedule/cron.js";
import { localTime } from "../../../src/api/convert-schedule.js";

/** P11 where clocks change: local times of the ticks of a span, as people there read them. */
function ticks(cron: string, timeZone: string, from: string, until: string): string[] {
  const times = cronTimes(cron, timeZone);
  const end = Date.parse(until);
  const shown: string[] = [];
  let at = times.after(Date.parse(from) - 1);
  while (at !== undefined && at <= end) {
    shown.push(localTime(at, timeZone).slice(5));
    at = times.after(at);
  }
  return shown;
}

interface Change {
  readonly zone: string;
  readonly what: string;
  /** A day and a half around the change. */
  readonly from: string;
  readonly until: string;
  /** Cron of a time that is skipped or repeated, and its ticks. */
  readonly fixed: readonly [string, readonly string[]];
  /** Cron with a wildcard hour, and its ticks from an hour before to an hour after. */
  readonly wild: readonly [string, readonly string[]];
}

const skipped: readonly Change[] = [
  {
    zone: "Europe/Berlin",
    what: "north of the equator, an hour at 02:00",
    from: "2026-03-28T00:00:00+01:00",
    until: "2026-03-30T12:00:00+02:00",
    fixed: ["30 2 * * *", ["03-28T02:30:00+01:00", "03-29T03:00:00+02:00", "03-30T02:30:00+02:00"]],
    wild: ["30 * * * *", ["03-29T01:30:00+01:00", "03-29T03:30:00+02:00"]],
  },
  {
    zone: "America/New_York",
    what: "west of Greenwich",
    from: "2026-03-07T00:00:00-05:00",
    until: "2026-03-09T12:00:00-04:00",
    fixed: [
      "15,45 2 * * *",
      [
        "03-07T02:15:00-05:00",
        "03-07T02:45:00-05:00",
        "03-08T03:00:00-04:00",
        "03-09T02:15:00-04:00",
        "03-09T02:45:00-04:00",
      ],
    ],
    wild: ["30 * * * *", ["03-08T01:30:00-05:00", "03-08T03:30:00-04:00"]],
  },
  {
    zone: "Australia/Lord_Howe",
    what: "half an hour",
    from: "2026-10-03T00:00:00+10:30",
    until: "2026-10-05T12:00:00+11:00",
    fixed: ["15 2 * * *", ["10-03T02:15:00+10:30", "10-04T02:30:00+11:00", "10-05T02:15:00+11:00"]],
    wild: ["15,45 * * * *", ["10-04T01:45:00+10:30", "10-04T02:45:00+11:00"]],
  },
  {
    zone: "Pacific/Auckland",
    what: "south of the equator",
    from: "2026-09-26T00:00:00+12:00",
    until: "2026-09-28T12:00:00+13:00",
    fixed: [
      "0 2,3 * * *",
      [
        "09-26T02:00:00+12:00",
        "09-26T03:00:00+12:00",
        "09-27T03:00:00+13:00",
        "09-28T02:00:00+13:00",
        "09-28T03:00:00+13:00",
      ],
    ],
    wild: ["30 * * * *", ["09-27T01:30:00+12:00", "09-27T03:30:00+13:00"]],
  },
  {
    zone: "America/Santiago",
    what: "at midnight, so that the day begins at one",
    from: "2026-09-05T00:00:00-04:00",
    until: "2026-09-07T12:00:00-03:00",
    fixed: ["@daily", ["09-05T00:00:00-04:00", "09-06T01:00:00-03:00", "09-07T00:00:00-03:00"]],
    wild: ["30 * * * *", ["09-05T23:30:00-04:00", "09-06T01:30:00-03:00"]],
  },
  {
    zone: "Africa/Casablanca",
    what: "after Ramadan",
    from: "2026-03-21T00:00:00+00:00",
    until: "2026-03-23T12:00:00+01:00",
    fixed: [
      "0 30 2 * * *",
      ["03-21T02:30:00+00:00", "03-22T03:00:00+01:00", "03-23T02:30:00+01:00"],
    ],
    wild: ["30 * * * *", ["03-22T01:30:00+00:00", "03-22T03:30:00+01:00"]],
  },
];

const repeated: readonly Change[] = [
  {
    zone: "Europe/Berlin",
    what: "an hour at 03:00",
    from: "2026-10-24T00:00:00+02:00",
    until: "2026-10-26T12:00:00+01:00",
    fixed: ["30 2 * * *", ["10-24T02:30:00+02:00", "10-25T02:30:00+02:00", "10-26T02:30:00+01:00"]],
    wild: ["30 * * * *", ["10-25T01:30:00+02:00", "10-25T02:30:00+02:00", "10-25T02:30:00+01:00"]],
  },
  {
    zone: "America/New_York",
    what: "west of Greenwich",
    from: "2026-10-31T00:00:00-04:00",
    until: "2026-11-02T12:00:00-05:00",
    fixed: ["0 1 * * *", ["10-31T01:00:00-04:00", "11-01T01:00:00-04:00", "11-02T01:00:00-05:00"]],
    wild: ["30 * * * *", ["11-01T00:30:00-04:00", "11-01T01:30:00-04:00", "11-01T01:30:00-05:00"]],
  },
  {
    zone: "Australia/Lord_Howe",
    what: "half an hour",
    from: "2026-04-04T00:00:00+11:00",
    until: "2026-04-06T12:00:00+10:30",
    fixed: ["45 1 * * *", ["04-04T01:45:00+11:00", "04-05T01:45:00+11:00", "04-06T01:45:00+10:30"]],
    wild: ["45 * * * *", ["04-05T00:45:00+11:00", "04-05T01:45:00+11:00", "04-05T01:45:00+10:30"]],
  },
  {
    zone: "Pacific/Auckland",
    what: "south of the equator",
    from: "2026-04-04T00:00:00+13:00",
    until: "2026-04-06T12:00:00+12:00",
    fixed: ["30 2 * * *", ["04-04T02:30:00+13:00", "04-05T02:30:00+13:00", "04-06T02:30:00+12:00"]],
    wild: ["30 * * * *", ["04-05T01:30:00+13:00", "04-05T02:30:00+13:00", "04-05T02:30:00+12:00"]],
  },
  {
    zone: "America/Santiago",
    what: "at midnight, so that an hour of the day before comes twice",
    from: "2026-04-03T00:00:00-03:00",
    until: "2026-04-05T12:00:00-04:00",
    fixed: ["30 23 * * *", ["04-03T23:30:00-03:00", "04-04T23:30:00-03:00"]],
    wild: ["30 * * * *", ["04-04T22:30:00-03:00", "04-04T23:30:00-03:00", "04-04T23:30:00-04:00"]],
  },
];

describe("where clocks go forward", () => {
  it.each(skipped)("$zone ($what): a fixed time runs once, right after the gap", (change) => {
    const [cron, expected] = change.fixed;
    expect(ticks(cron, change.zone, change.from, change.until)).toEqual(expected);
  });

  it.each(skipped)("$zone ($what): a wildcard hour runs at the times there are", (change) => {
    const [cron, [first, ...rest]] = change.wild;
    const all = ticks(cron, change.zone, change.from, change.until);
    const start = all.indexOf(first!);
    expect(all.slice(start, start + 1 + rest.length)).toEqual([first, ...rest]);
  });
});

describe("where clocks go back", () => {
  it.each(repeated)("$zone ($what): a fixed time runs once, the first time round", (change) => {
    const [cron, expected] = change.fixed;
    expect(ticks(cron, change.zone, change.from, change.until)).toEqual(expected);
  });

  it.each(repeated)("$zone ($what): a wildcard hour runs both times round", (change) => {
    const [cron, [first, ...rest]] = change.wild;
    const all = ticks(cron, change.zone, change.from, change.until);
    const start = all.indexOf(first!);
    expect(all.slice(start, start + 1 + rest.length)).toEqual([first, ...rest]);
  });
});

describe("where clocks do not change, or whole days do", () => {
  it.each(["UTC", "Asia/Kolkata", "Asia/Kathmandu", "America/Phoenix"])(
    "%s: every day has the tick",
    (zone) => {
      const all = ticks("30 2 * * *", zone, "2026-01-01T00:00:00Z", "2026-12-31T23:59:00Z");
      expect(all).toHaveLength(365);
      expect(new Set(all.map((time) => time.slice(6, 11)))).toEqual(new Set(["02:30"]));
    },
  );

  it("a day that Apia left out has no tick, the days around it have theirs", () => {
    const zone = "Pacific/Apia";
    expect(ticks("0 12 * * *", zone, "2011-12-29T00:00:00Z", "2012-01-01T00:00:00Z")).toEqual([
      "12-29T12:00:00-10:00",
      "12-31T12:00:00+14:00",
      "01-01T12:00:00+14:00",
    ]);
    expect(ticks("0 12 30 12 *", zone, "2011-01-01T00:00:00Z", "2012-11-01T00:00:00Z")).toEqual([]);
    const hourly = ticks("0 * * * *", zone, "2011-12-30T09:00:00Z", "2011-12-30T11:00:00Z");
    expect(hourly).toEqual([
      "12-29T23:00:00-10:00",
      "12-31T00:00:00+14:00",
      "12-31T01:00:00+14:00",
    ]);
  });

  it("an interval takes no notice of clocks, a step of hours keeps its own hours", () => {
    const zone = "Europe/Berlin";
    const from = "2026-10-25T00:00:00+02:00";
    const until = "2026-10-25T06:00:00+01:00";
    expect(ticks("0 */2 * * *", zone, from, until)).toEqual([
      "10-25T00:00:00+02:00",
      "10-25T02:00:00+02:00",
      "10-25T02:00:00+01:00",
      "10-25T04:00:00+01:00",
      "10-25T06:00:00+01:00",
    ]);
  });
});
