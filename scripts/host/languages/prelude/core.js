// What every script finds: context, setData and a world that can be driven from Python.
//
// Evaluated before libraries and script in the realm of each message. Its value is the function by
// which javascript.py drives the realm: engine(what, ...). The other files here are parts, of which
// a script gets those that it names: (function (shared, context, facts) {...}). Nothing in here calls
// into Python: logs and requests are collected, and fetched between the jobs.
//
// A script may change every built-in, so what is needed later is taken now. It harms only itself:
// the host believes nothing that comes out.
(function () {
  "use strict";
  const START = 0, PART = 1, RUN = 2, TAKE = 3, SETTLE = 4, FAIL = 5, DESCRIBE = 6;
  const MAX_DEPTH = 1000;
  const { parse, stringify, rawJSON } = JSON;
  const { isArray } = Array;
  const { getPrototypeOf, prototype: plain } = Object;
  const { apply } = Reflect;
  const { includes } = String.prototype;
  const [text, date, evaluate] = [String, Date, eval];

  const shared = {
    hasNews: false, logs: [], requests: [], refusals: [], throttled: [],
    decision: undefined, decisionError: undefined, settle: undefined,
    stopIfDecided, copied, withShownNumbers,
  };
  let output, thrown, hasThrown = false, isSettled = false, containers = 0;

  // Only there where a text has numbers or keys that would not come out as they went in.
  let numerals;
  let context, facts, unserializable;

  function engine(what, first, second, third, fourth, fifth) {
    switch (what) {
      case START: return start(first, second, third, fourth, fifth);
      case PART: return first(shared, context, facts);
      case RUN: return run(first);
      case TAKE: return take();
      case SETTLE: return shared.settle(first, second, third);
      case FAIL: return fail(first);
      case DESCRIBE: return stringify(first(shared, thrown));
    }
  }

  // What names unserializable values is needed in the middle of setData, and seldom: it comes as a text.
  function start(body, told, unserializableSource, makeNumerals, orders) {
    facts = parse(told);
    unserializable = unserializableSource;
    const [correlationId, flow, step, queue, attempt, deliveryId] = facts;
    context = {
      Data: shared.read(body, makeNumerals, orders),
      correlationId, correlation_id: correlationId, flow, step, queue, attempt,
      deliveryId, delivery_id: deliveryId,
    };
    globalThis.context = context;
    globalThis.setData = setData;
  }

  async function run(script) {
    try {
      await script();
    } catch (error) {
      fail(error);
    }
    isSettled = true;
  }

  function fail(error) {
    if (!hasThrown) {
      hasThrown = true;
      thrown = error;
    }
  }

  // The output, or " " and all that Python has to know or to do before the script can go on.
  function take() {
    const hasOutput = output !== undefined;
    if (isSettled && hasOutput && !hasThrown && !shared.hasNews) {
      return output;
    }
    const { logs, requests, decision } = shared;
    shared.hasNews = decision !== undefined;
    shared.logs = [];
    shared.requests = [];
    return " " + stringify({ isSettled, hasOutput, hasThrown, decision, logs, requests });
  }

  // The last call counts. Copies at once: what is done to the value later is not seen.
  function setData(value) {
    stopIfDecided();
    output = undefined;
    output = copied(value, "$");
  }

  // As JSON text. What JSON cannot hold is refused with its place, which begins with this one.
  function copied(value, place) {
    containers = 0;
    let copy, problem;
    try {
      copy = stringify(value, checked);
    } catch (error) {
      problem = { error };
    }
    if (copy === undefined || containers > MAX_DEPTH ||
        apply(includes, copy, ["\\u0000"]) || apply(includes, copy, ["\\ud"])) {
      evaluate(unserializable)(shared, value, MAX_DEPTH, place);
      if (problem) {
        throw problem.error;
      }
    }
    return copy;
  }

  // Passes what JSON has and refuses what it would leave out or change without a word.
  function checked(key, value) {
    switch (typeof value) {
      case "string": case "boolean": case "undefined":
        return value;
      case "number":
        if (value - value === 0) {
          return numerals === undefined ? value : numerals.written(this, key, value);
        }
        break;
      case "bigint":
        return rawJSON(text(value));
      case "object":
        if (value === null) {
          if (!(this[key] instanceof date)) {
            return value;
          }
          break;
        }
        containers++;
        if (isArray(value)) {
          return value;
        }
        const prototype = getPrototypeOf(value);
        if (prototype === plain || prototype === null || isPlain(value)) {
          return numerals === undefined ? value : numerals.ordered(value);
        }
    }
    // Which one it is and where is found out by unserializable.js.
    throw undefined;
  }

  function isPlain(value) {
    switch (apply(plain.toString, value, [])) {
      case "[object Object]": case "[object Number]":
      case "[object String]": case "[object Boolean]":
        return true;
    }
    return false;
  }

  function stopIfDecided() {
    if (shared.decision !== undefined) {
      throw shared.decisionError;
    }
  }

  // makeNumerals is the part of that name, for a text with numbers or keys at risk.
  shared.read = function (body, makeNumerals, orders) {
    if (makeNumerals === undefined) {
      return parse(body);
    }
    numerals ??= makeNumerals(shared);
    return numerals.parsed(body, orders);
  };

  // For people: JSON would refuse a BigInt and write NaN as null.
  function withShownNumbers(key, value) {
    switch (typeof value) {
      case "bigint":
        return rawJSON(text(value));
      case "number":
        return value - value === 0 ? value : text(value);
    }
    return value;
  }

  return engine;
})()
