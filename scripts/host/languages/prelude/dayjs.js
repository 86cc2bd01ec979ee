// What Day.js has here beside its own: times at places by zoned(), and errors for languages that are
// not there, which it would take for English.
(function () {
  "use strict";
  const { zoned, dayjs } = globalThis;
  const plain = dayjs.prototype;
  const LOCAL = "YYYY-MM-DDTHH:mm:ss.SSS";
  const ZONED_TEXT = /(?:Z|[+-]\d\d:?\d\d)$/i;
  const OF_THE_CALENDAR = ["day", "week", "month", "quarter", "year", "date"];
  const OF_THE_CLOCK = ["hour", "minute", "second", "millisecond"];
  const { locale, parse, add, startOf, set } = plain;
  const ofAll = dayjs.locale;
  let usual = "UTC";

  dayjs.locale = (preset, object, isLocal) => {
    requireLocale(object ? undefined : preset);
    return ofAll(preset, object, isLocal);
  };
  plain.locale = function (preset, object) {
    requireLocale(object ? undefined : preset);
    return locale.call(this, preset, object);
  };
  plain.parse = function (config) {
    requireLocale(config.locale);
    requireLocale(typeof config.args?.[1] === "string" ? config.args[2] : undefined);
    return parse.call(this, config);
  };

  function requireLocale(name) {
    if (typeof name !== "string") {
      return;
    }
    const known = name.toLowerCase();
    if (!(known in dayjs.Ls) && !(known.split("-")[0] in dayjs.Ls)) {
      throw new RangeError(`Day.js has no locale "${name}" here, but ` +
        `${Object.keys(dayjs.Ls).sort().join(", ")}; dayjs.locale({ name, … }) adds one`);
    }
  }

  // Names of zones, which the formats z and zzz ask for, are in no package here.
  plain.offsetName = () => {
    throw new RangeError("Day.js has no names of time zones here: use the format Z");
  };

  plain.tz = function (zone = usual, keepsTime) {
    if (!this.isValid()) {
      return this;
    }
    if (keepsTime) {
      return dayjs.tz(this.format(LOCAL), zone).locale(this.$L);
    }
    const made = this.utcOffset(zoned(this.valueOf(), zone).offsetMinutes);
    made.$x = { ...made.$x, $timezone: zone };
    return made;
  };

  dayjs.tz = (input, format, zone) => {
    const isParsed = zone !== undefined;
    const place = (isParsed ? zone : format) ?? usual;
    if (typeof input !== "string" || !isParsed && ZONED_TEXT.test(input)) {
      return dayjs(input).tz(place);
    }
    const local = isParsed ? dayjs.utc(input, format) : dayjs.utc(input);
    return local.isValid() ? dayjs(zoned.instant(local.format(LOCAL), place)).tz(place) : local;
  };
  dayjs.tz.guess = () => "UTC";
  dayjs.tz.setDefault = (zone) => {
    usual = zone ?? "UTC";
  };

  // What is moved to an offset is at no place any more. Day.js moves what has an offset wrongly.
  for (const name of ["utc", "local", "utcOffset"]) {
    const work = plain[name];
    plain[name] = function (...given) {
      if (name === "utcOffset" && given[0] === undefined) {
        return work.apply(this, given);
      }
      const keepsTime = given[name === "utcOffset" ? 1 : 0];
      return work.apply(keepsTime ? unplaced(this) : fresh(this), given);
    };
  }

  function fresh(day) {
    return dayjs(day.valueOf()).locale(day.$L);
  }

  function unplaced(day) {
    const { $timezone, ...others } = day.$x;
    const made = day.clone();
    made.$x = others;
    return made;
  }

  // At a place a day may have 23 hours: what goes by the calendar keeps the time of day there.
  plain.add = function (count, unit) {
    return atPlace(this, unit, add, [count, unit]) ??
      inZone(this, add.call(this, count, unit));
  };
  plain.startOf = function (...given) {
    const isOfTheClock = OF_THE_CLOCK.includes(this.$utils().p(given[0]));
    return (isOfTheClock ? undefined : atPlace(this, "day", startOf, given)) ??
      startOf.apply(this, given);
  };
  plain.set = function (...given) {
    return atPlace(this, "day", set, given) ?? set.apply(this, given);
  };

  function atPlace(day, unit, work, given) {
    const zone = day.$x?.$timezone;
    if (zone === undefined || !OF_THE_CALENDAR.includes(day.$utils().p(unit))) {
      return undefined;
    }
    const local = dayjs.utc(day.format(LOCAL)).locale(day.$L);
    return work.apply(local, given).tz(zone, true);
  }

  function inZone(day, made) {
    const zone = day.$x?.$timezone;
    return zone === undefined ? made : made.tz(zone);
  }
})
