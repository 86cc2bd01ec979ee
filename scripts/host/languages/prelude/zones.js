// zoned(date, timeZone): the date and the time of day at a place; zoned.instant(text, timeZone): the
// Date of a time there. Fourth argument: the zones, as time_zones.py writes them.
(function (shared, context, facts, zones) {
  "use strict";
  const { apply } = Reflect;
  const { exec } = RegExp.prototype;
  const { getTime } = Date.prototype;
  const { charCodeAt, indexOf, padEnd, padStart, slice, split } = String.prototype;
  const { abs, floor, trunc } = Math;
  const { defineProperty } = Object;
  const [text, number, date, toInteger] = [String, Number, Date, parseInt];
  const [rangeError, typeError] = [RangeError, TypeError];
  const NAME = /^[A-Za-z][A-Za-z0-9_+\/-]*$/;
  const LOCAL = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,3})\d*)?)?)?$/;
  const DATE = /^\s*([+-]?\d{4,6})-(\d\d)-(\d\d)/;
  const DAY = 86400;
  const known = { __proto__: null };

  globalThis.zoned = function zoned(instant, timeZone) {
    const zone = zoneOf("zoned", timeZone);
    const milliseconds = instantOf(instant);
    const seconds = floor(milliseconds / 1000);
    const offset = offsetAt(zone, seconds);
    const local = new date(milliseconds + offset * 1000);
    const fields = {
      year: local.getUTCFullYear(), month: local.getUTCMonth() + 1, day: local.getUTCDate(),
      hour: local.getUTCHours(), minute: local.getUTCMinutes(), second: local.getUTCSeconds(),
      millisecond: local.getUTCMilliseconds(), weekday: local.getUTCDay() || 7,
      offsetMinutes: offset / 60, timeZone,
    };
    const iso = local.toISOString();
    const end = iso.length - 1;
    fields.date = apply(slice, iso, [0, end - 13]);
    fields.time = apply(slice, iso, [end - 12, end - 4]);
    const fraction = fields.millisecond ? apply(slice, iso, [end - 4, end]) : "";
    fields.text = `${fields.date}T${fields.time}${fraction}${written(offset)}`;
    defineProperty(fields, "toString", { value: () => fields.text });
    return fields;
  };

  // Of a time that is there twice the first, of one that is left out the one as much later.
  defineProperty(zoned, "instant", { value: function instant(local, timeZone) {
    const zone = zoneOf("zoned.instant", timeZone);
    const found = apply(exec, LOCAL, [text(local)]);
    const [, year, month, day, hour = 0, minute = 0, second = 0, fraction = ""] = found ?? [];
    if (!found || hour > 23 || minute > 59 || second > 59 || !isDay(year, month, day)) {
      throw new rangeError("zoned.instant() takes a time such as 2026-12-31T23:59:00, not " +
        text(local));
    }
    const seconds = midnight(year, month, day) / 1000 +
      number(hour) * 3600 + number(minute) * 60 + number(second);
    const before = offsetAt(zone, seconds - DAY), behind = offsetAt(zone, seconds + DAY);
    const both = [seconds - before, seconds - behind];
    const valid = both.find((each) => offsetAt(zone, each) === seconds - each);
    const instant = (valid ?? both[0]) * 1000 + number(apply(padEnd, fraction, [3, "0"]));
    return new date(instant);
  } });

  function instantOf(instant) {
    let milliseconds = NaN;
    if (instant instanceof date) {
      milliseconds = apply(getTime, instant, []);
    } else if (typeof instant === "number") {
      milliseconds = instant;
    } else if (typeof instant === "string") {
      if (apply(exec, LOCAL, [instant])) {
        throw new typeError("zoned() takes a Date or a text with an offset or Z, not " + instant +
          ": use zoned.instant() for a time at a place");
      }
      const [, year, month, day] = apply(exec, DATE, [instant]) ?? [];
      milliseconds = year === undefined || isDay(year, month, day) ? date.parse(instant) : NaN;
    }
    if (!(abs(milliseconds) <= 8.64e15)) {
      throw new rangeError("zoned() takes a Date, milliseconds or an ISO text, not " +
        text(instant));
    }
    return trunc(milliseconds);
  }

  // Date.UTC would take years below 100 for those of the last century.
  function midnight(year, month, day) {
    return new date(0).setUTCFullYear(year, month - 1, day);
  }

  function isDay(year, month, day) {
    const isMonth = month >= 1 && month <= 12;
    return isMonth && new date(midnight(year, month, day)).getUTCDate() === number(day);
  }

  function written(offset) {
    const size = abs(offset);
    const seconds = size % 60 ? ":" + two(size % 60) : "";
    return (offset < 0 ? "-" : "+") + two(trunc(size / 3600)) + ":" + two(trunc(size / 60) % 60) +
      seconds;
  }

  function two(value) {
    return apply(padStart, text(value), [2, "0"]);
  }

  function zoneOf(caller, name) {
    if (name === undefined) {
      throw new typeError(`${caller}() takes a time zone, such as "Europe/Berlin"`);
    }
    return known[name] ??= read(text(name));
  }

  // A line is: name, number of its data. A line of data: number, offsets, times and their offsets,
  // the rule for all later years.
  function read(name) {
    const key = apply(exec, NAME, [name]) && line(name);
    if (!key) {
      throw new rangeError(`there is no time zone ${name}`);
    }
    const [offsets, steps, order, rule] = apply(split, line("#" + key), [" "]);
    const times = [];
    let time = 0;
    for (const step of steps ? apply(split, steps, [","]) : []) {
      time += toInteger(step, 36);
      times[times.length] = time;
    }
    const numbers = (list) => list ? apply(split, list, [","]).map(number) : [];
    return { offsets: numbers(offsets), times, order, rule: numbers(rule) };
  }

  function line(head) {
    const at = apply(indexOf, zones, [`\n${head} `]);
    if (at < 0) {
      return undefined;
    }
    const from = at + head.length + 2;
    return apply(slice, zones, [from, apply(indexOf, zones, ["\n", from])]);
  }

  function offsetAt(zone, seconds) {
    const { offsets, times, order, rule } = zone;
    const last = times.length - 1;
    if (rule.length && (last < 0 || seconds >= times[last])) {
      return byRule(rule, seconds);
    }
    let low = 0, high = times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      [low, high] = times[middle] <= seconds ? [middle + 1, high] : [low, middle];
    }
    return offsets[low ? apply(charCodeAt, order, [low - 1]) - 48 : 0];
  }

  function byRule(rule, seconds) {
    const [standard, summer] = rule;
    if (summer === undefined) {
      return standard;
    }
    const year = new date((seconds + standard) * 1000).getUTCFullYear();
    const start = dayOf(year, rule[2], rule[3], rule[4]) + rule[5] - standard;
    const end = dayOf(year, rule[6], rule[7], rule[8]) + rule[9] - summer;
    const isSummer = start < end ? start <= seconds && seconds < end :
      !(end <= seconds && seconds < start);
    return isSummer ? summer : standard;
  }

  // The seconds at the beginning of a weekday in a week of a month; week 5 is the last.
  function dayOf(year, month, week, weekday) {
    const first = new date(0);
    first.setUTCFullYear(year, month - 1, 1);
    const last = new date(0);
    last.setUTCFullYear(year, month, 0);
    let day = 1 + (weekday - first.getUTCDay() + 7) % 7 + (week - 1) * 7;
    if (day > last.getUTCDate()) {
      day -= 7;
    }
    return first.getTime() / 1000 + (day - 1) * DAY;
  }
})
