// The objects of every script: context, setData, and the engine function that Python calls.
//
// Evaluated before libraries, script and message are there. Its value is the function that world.py
// and execution.py call: engine(what, ...). The other files here are parts; a script gets those that
// it names: (function (shared, context, facts) {...}), where only those that are made with the
// message have facts. Nothing here but log.js calls into Python: requests are collected, and Python
// fetches them between the jobs.
//
// A script may change every built-in, so those needed later are bound now. A script that changes
// them harms only itself: the host does not trust the output.
(function () {
  "use strict";
  const START = 0, PART = 1, RUN = 2, TAKE = 3, SETTLE = 4, FAIL = 5, DESCRIBE = 6, GIVE = 7,
    SOURCE = 8, END = 9, SCRIPT = 10, BEGIN = 11;
  // What Python knows of a message besides its text.
  const FACTS = 12;
  const MAX_DEPTH = 1000;
  // Errors that are known by what they were refused for. A script may catch millions.
  const MAX_NOTED = 100;
  // As in envelope.py and wire.py.
  const MAX_OUTPUT = 8 * 1024 * 1024, MAX_REQUEST = 1024 * 1024, MAX_SENT = 2 * 1024 * 1024;
  // Where the script does not catch it, what JSON cannot hold there is a fault of its output.
  const OUTPUTS = {
    __proto__: null, $: true, payload: true, state: true, code: true, details: true,
  };
  const { parse, stringify, rawJSON } = JSON;
  const { isArray } = Array;
  const { getOwnPropertySymbols: symbols, getPrototypeOf, keys, prototype: plain } = Object;
  const { hasOwn } = Object;
  const { apply } = Reflect;
  const { includes } = String.prototype;
  const { shift, some } = Array.prototype;
  const [text, date, evaluate, failure, rangeError] = [String, Date, eval, Error, RangeError];
  const typeError = TypeError;

  // The key of what numerals.js keeps with an object.
  const writings = Symbol("writings");
  const shared = {
    hasNews: false, requests: [], refusals: [], throttled: [], notAllowed: [], mistakes: [],
    decision: undefined, decisionError: undefined, settle: undefined,
    isFinished: false, stopIfDecided, copied, isTooLarge, refuse, withShownNumbers, setOutput, wrong,
    never, note,
    maxRequest: MAX_REQUEST, maxSent: MAX_SENT,
    tooLarge: `A request may have ${MAX_SENT} bytes as JSON, with bytes as base64.`,
    given: undefined, problem: undefined, givenNumerals: undefined, seed: undefined,
    writings, ownKeys: Reflect.ownKeys,
  };
  const context = {
    Data: undefined, correlationId: undefined, correlation_id: undefined, flow: undefined,
    step: undefined, queue: undefined, attempt: undefined, deliveryId: undefined,
    delivery_id: undefined, waits: 0, waitedSeconds: 0, waitState: null,
  };
  globalThis.context = context;
  globalThis.setData = setData;
  let output, thrown, tooLarge, hasThrown = false, hasReturned = false, isSettled = false, containers = 0, room = 0;

  // Only set where a text has numbers or keys that would be written in another way.
  let numerals;
  // Two parts are needed seldom, in setData: they come as source.
  let facts, unserializable;
  // The function that is the script.
  let script;

  function engine(what, first, second, third, fourth) {
    switch (what) {
      case START: return start(parse(second), shared.read(first, third, fourth), third);
      case PART: return first(shared, context, facts, second);
      case RUN: return run();
      case TAKE: return take();
      case SETTLE: return shared.settle(first, second, third);
      case FAIL: return fail(first);
      case GIVE: return give(first, second, third);
      case END: return shared.requireAwait();
      case BEGIN: return begin(first);
      case SCRIPT: script = first; return;
      case DESCRIBE: return stringify(first(shared, thrown));
      case SOURCE:
        unserializable = first;
        shared.copies = () => evaluate(second);
    }
  }

  // The answer to what the script has just told: a text or nothing, or the error.
  function give(given, problem, makeNumerals) {
    shared.given = given;
    shared.problem = problem;
    shared.givenNumerals = makeNumerals;
  }

  // Starts and runs where nothing comes between, given the facts and then the message. Returns the
  // output, if there is one already.
  function begin(given) {
    const all = parse(given);
    if (all.length !== FACTS + 1) {
      throw new failure("the message is no JSON");
    }
    start(all, all[FACTS]);
    run();
    return isComplete() ? output : undefined;
  }

  function start(given, data, makeNumerals) {
    facts = given;
    context.Data = data;
    context.correlationId = context.correlation_id = facts[0];
    context.flow = facts[1];
    context.step = facts[2];
    context.queue = facts[3];
    context.attempt = facts[4];
    context.deliveryId = context.delivery_id = facts[5];
    shared.seed = facts[6];
    if (facts[9] !== null) {
      [context.waits, context.waitedSeconds] = facts[9];
      context.waitState = facts[9][2] === "" ? null : shared.read(facts[9][2], makeNumerals);
    }
  }

  // A script that awaits nothing is no async function, which would take longer.
  function run() {
    // Code that finds this function in a stack does not run itself again.
    const once = script;
    let returned;
    script = undefined;
    try {
      returned = once();
    } catch (error) {
      fail(error);
    }
    if (returned === undefined) {
      isSettled = true;
    } else {
      settle(returned);
    }
  }

  async function settle(returned) {
    try {
      hasReturned = await returned !== undefined;
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

  // Returns the output, or " " and the state, with requests for Python to carry out.
  function take() {
    if (isComplete()) {
      return output;
    }
    const hasOutput = output !== undefined;
    const { requests, decision } = shared;
    shared.hasNews = decision !== undefined;
    shared.requests = [];
    return " " + stringify({ isSettled, hasOutput, hasThrown, hasReturned, decision, requests });
  }

  function isComplete() {
    return isSettled && output !== undefined && !hasThrown && !shared.hasNews;
  }

  // The last call counts. Copies at once: later changes of the value have no effect.
  function setData(value) {
    if (arguments.length > 1) {
      throw wrong(new typeError(`setData(output) takes 1 argument, not ${arguments.length}`));
    }
    if (shared.isFinished) {
      throw wrong(new failure("setData() after context.finish(), whose output is the result"));
    }
    setOutput(value);
  }

  function setOutput(value) {
    stopIfDecided();
    output = undefined;
    output = copied(value, "$");
  }

  // Returns JSON text. Throws for what JSON cannot hold, with a place that begins with this one, and
  // for what has far more than `most` bytes. The text may have somewhat more.
  function copied(value, place, most = MAX_OUTPUT) {
    containers = 0;
    room = most;
    let copy, problem;
    try {
      copy = stringify(value, checked);
    } catch (error) {
      problem = { error };
    }
    if (room < 0) {
      const reason = `has too many bytes as JSON; at most ${most} are allowed.`;
      throw tooLarge = refuse(rangeError, place, reason);
    }
    if (copy === undefined || containers > MAX_DEPTH || apply(includes, copy, ["\\u"]) &&
        (apply(includes, copy, ["\\u0000"]) || apply(includes, copy, ["\\ud"]))) {
      evaluate(unserializable)(shared, value, MAX_DEPTH, place);
      if (problem) {
        throw problem.error;
      }
    }
    return copy;
  }

  // Whether this is the error of a value that was too large to be copied.
  function isTooLarge(error) {
    return error !== undefined && error === tooLarge;
  }

  // Returns the error for a value that JSON cannot hold.
  function refuse(kind, place, reason, below = "") {
    const refusal = new kind(`${place}${below} ${reason}`);
    if (OUTPUTS[place]) {
      note(shared.refusals, { refusal, place: place + below, reason });
      return refusal;
    }
    return wrong(refusal);
  }

  // Passes what JSON can hold, and throws for what it would leave out or change silently, and where
  // the text grows too large: what an object holds many times takes no memory until then.
  function checked(key, value) {
    if (value === undefined) {
      if (isArray(this)) {
        throw undefined;
      }
      return value;
    }
    // With a comma; and for a key, which begins with no digit as a position does, quotes and a colon.
    room -= typeof value === "string" ? value.length + 3 : typeof value === "object" ? 3 : 2;
    if (key >= ":" || key.length > 20) {
      room -= key.length + 3;
    }
    if (room < 0) {
      throw undefined;
    }
    switch (typeof value) {
      case "string": case "boolean":
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
          const given = this[key];
          if (given === null || !(given instanceof date || isInvalid(given))) {
            return value;
          }
          break;
        }
        containers++;
        // A hidden one may be left out.
        const hidden = symbols(value);
        if (hidden.length > 0 && !(hidden.length === 1 && hidden[0] === writings) &&
            apply(some, hidden, [isLeftOut, value])) {
          break;
        }
        if (isArray(value)) {
          if (hasMore(value)) {
            break;
          }
          return value;
        }
        const prototype = getPrototypeOf(value);
        if (prototype === plain || prototype === null || isPlain(value)) {
          return numerals === undefined ? value : numerals.ordered(value);
        }
    }
    // unserializable.js finds out which value it is, and where.
    throw undefined;
  }

  // Whether a symbol, as a key of `this`, would be left out without a word.
  function isLeftOut(symbol) {
    return apply(plain.propertyIsEnumerable, this, [symbol]) && symbol !== writings;
  }

  // Whether an array has properties beside its items. Counting takes no memory, and counts those of a
  // changed prototype, too. A match with a pattern has some beside its texts, and may go out.
  function hasMore(array) {
    let count = 0;
    for (const _ in array) {
      count++;
    }
    return count > array.length && keys(array).length > array.length &&
      !(hasOwn(array, "index") && hasOwn(array, "input") && hasOwn(array, "groups"));
  }

  // Of Day.js, whose invalid dates become null as those of the language do.
  function isInvalid(value) {
    return typeof value.isValid === "function" && value.isValid() === false;
  }

  function isPlain(value) {
    switch (apply(plain.toString, value, [])) {
      case "[object Object]": case "[object Number]":
      case "[object String]": case "[object Boolean]":
        return true;
    }
    return false;
  }

  // Returns the error of a wrong call.
  function wrong(error) {
    return note(shared.mistakes, error);
  }

  // Returns the error of what is not allowed or not there.
  function never(error) {
    return note(shared.notAllowed, error);
  }

  // Adds to a list, which keeps the last ones, and returns what was added.
  function note(list, item) {
    if (list.length === MAX_NOTED) {
      apply(shift, list, []);
    }
    return list[list.length] = item;
  }

  function stopIfDecided() {
    if (shared.decision !== undefined) {
      throw shared.decisionError;
    }
  }

  // makeNumerals is the part numerals.js, given for a text whose numbers or keys would change.
  shared.read = function (body, makeNumerals, orders) {
    if (makeNumerals === undefined) {
      return parse(body);
    }
    numerals ??= makeNumerals(shared);
    return numerals.parsed(body, orders);
  };

  // How the numbers of an object or array were written, for a copy of it.
  shared.copyWritings = function (from, to) {
    numerals?.copy(from, to);
  };

  // For texts that people read: JSON would refuse a BigInt and write NaN as null.
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
