// Functions that depend on a locale. Without Intl the engine ignores the locale. Where its result
// would be wrong, these throw an error that names what to use instead.
(function () {
  "use strict";
  const { defineProperty } = Object;
  const { apply } = Reflect;
  const { isArray } = Array;
  const { toLowerCase, toUpperCase, trim } = String.prototype;
  const { test } = RegExp.prototype;
  const [text, typeError] = [String, TypeError];
  // The alphabets of these locales have the letters in the order of these characters; capitals have
  // the same place as small letters.
  const SIMPLE = /^[0-9A-Za-z ]*$/;
  const SIMPLE_LANGUAGE = /^(en|de)(-|$)/i;
  const SPECIAL_LANGUAGE = /^(az|el|hy|lt|tr)(-|$)/i;

  refuse(Number.prototype, ["toLocaleString"], "use toFixed() or String()");
  refuse(BigInt.prototype, ["toLocaleString"], "use String()");
  refuse(Date.prototype, ["toLocaleString", "toLocaleDateString", "toLocaleTimeString"],
    'use zoned(date, "Europe/Berlin"), toISOString() or getUTCHours() and its like');

  // `typeof Intl` stays an object, as libraries that ask for it would do without it silently.
  const intl = {};
  for (const name of ["Collator", "DateTimeFormat", "DisplayNames", "DurationFormat", "ListFormat",
    "Locale", "NumberFormat", "PluralRules", "RelativeTimeFormat", "Segmenter",
    "getCanonicalLocales", "supportedValuesOf"]) {
    defineProperty(intl, name, { get() {
      throw new typeError(`Intl.${name} is not there, as there is no Intl: use ` +
        'zoned(date, "Europe/Berlin") for time zones, and toFixed() for numbers');
    } });
  }
  give(globalThis, "Intl", intl);

  function refuse(prototype, names, instead) {
    for (const name of names) {
      give(prototype, name, function () {
        throw new typeError(`${name}() is not there, as there is no Intl: ${instead}`);
      });
    }
  }

  function give(prototype, name, value) {
    defineProperty(prototype, name, { value, writable: true, configurable: true });
  }

  give(String.prototype, "toLocaleUpperCase", function toLocaleUpperCase(locales) {
    requireCommonLetters("toLocaleUpperCase", locales);
    return apply(toUpperCase, this, []);
  });

  give(String.prototype, "toLocaleLowerCase", function toLocaleLowerCase(locales) {
    requireCommonLetters("toLocaleLowerCase", locales);
    return apply(toLowerCase, this, []);
  });

  function requireCommonLetters(name, locales) {
    if (listed(locales).some((each) => apply(test, SPECIAL_LANGUAGE, [each]))) {
      throw new typeError(`${name}() knows no letters of a language's own, as there is no Intl`);
    }
  }

  give(String.prototype, "localeCompare", function localeCompare(other, locales, options) {
    const [one, two] = [text(this), text(other)];
    if (one === two) {
      return 0;
    }
    const isSimple = options === undefined && apply(test, SIMPLE, [one]) &&
      apply(test, SIMPLE, [two]) &&
      listed(locales).every((each) => apply(test, SIMPLE_LANGUAGE, [each]));
    if (!isSimple) {
      throw new typeError("localeCompare() compares letters from A to Z, digits and blanks alone," +
        " as there is no Intl: use < and >");
    }
    const [first, second] = [apply(toLowerCase, one, []), apply(toLowerCase, two, [])];
    if (first !== second) {
      return first < second ? -1 : 1;
    }
    // Of letters that differ only in case the small one comes first.
    return one > two ? -1 : 1;
  });

  function listed(locales) {
    const list = locales === undefined ? [] : isArray(locales) ? locales : [locales];
    return list.map((each) => apply(trim, text(each), []));
  }
})
