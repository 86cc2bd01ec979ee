// Keeps numbers and keys that JavaScript would write in another way than they came: 1.0, 1.50, 1e5,
// -0, 1234567890123456.78, and "2" before "1", which JavaScript sorts. A script gets ordinary
// numbers and objects; the writing is kept by the object that they are in. Integers that a number
// cannot hold become BigInts.
(function (shared) {
  "use strict";
  const { parse, rawJSON } = JSON;
  const { hasOwn, is } = Object;
  const { isSafeInteger } = Number;
  const { isArray } = Array;
  const { apply, ownKeys } = Reflect;
  const { get, set } = Map.prototype;
  const { includes } = String.prototype;
  const [text, bigint, number, proxy] = [String, BigInt, Number, globalThis.Proxy];
  // An object or array of the text -> { key: the writing of the number that is there }.
  const writings = new Map();
  // A number that was copied to another object is found by its value, an integer also by its key,
  // if all such numbers were written alike; null: they were not.
  const writingOfValue = { __proto__: null };
  // An object -> its keys in the order of the text.
  const orders = new Map();

  return { parsed, written, ordered };

  function parsed(body, found) {
    const value = parse(body, revive);
    // [the way to an object, its keys], ...
    for (const [way, names] of found === undefined ? [] : parse(found)) {
      let object = value;
      for (let i = 0; i < way.length; i++) {
        object = object[way[i]];
      }
      apply(set, orders, [object, names]);
    }
    return value;
  }

  function revive(key, value, { source }) {
    if (typeof value !== "number") {
      return value;
    }
    if (!isSafeInteger(value) && isInteger(source)) {
      return bigint(source);
    }
    remember(this, key, value, source);
    return value;
  }

  function isInteger(source) {
    return !apply(includes, source, ["."]) && !apply(includes, source, ["e"]) &&
      !apply(includes, source, ["E"]);
  }

  function remember(holder, key, value, source) {
    const name = nameOf(holder, key, value);
    if (name !== undefined) {
      const known = writingOfValue[name];
      writingOfValue[name] = known === undefined || known === source ? source : null;
    }
    if (is(value, -0) || text(value) !== source) {
      let own = apply(get, writings, [holder]);
      if (own === undefined) {
        own = { __proto__: null };
        apply(set, writings, [holder, own]);
      }
      own[key] = source;
    }
  }

  // An index is no name: in arrays only numbers that are no integers are found.
  function nameOf(holder, key, value) {
    if (!isSafeInteger(value)) {
      return "=" + value;
    }
    return isArray(holder) ? undefined : value + (is(value, -0) ? "-=" : "=") + key;
  }

  function written(holder, key, value) {
    const own = apply(get, writings, [holder]);
    if (own !== undefined && own[key] !== undefined && is(number(own[key]), value)) {
      return rawJSON(own[key]);
    }
    const name = nameOf(holder, key, value);
    const source = name === undefined ? undefined : writingOfValue[name];
    return source === undefined || source === null ? value : rawJSON(source);
  }

  // JSON.stringify reads the keys of a proxy in the order in which the proxy returns them.
  function ordered(object) {
    const names = apply(get, orders, [object]);
    if (names === undefined) {
      return object;
    }
    const known = { __proto__: null };
    const order = [];
    for (const list of [names, ownKeys(object)]) {
      for (let i = 0; i < list.length; i++) {
        const name = list[i];
        if (known[name] === undefined && hasOwn(object, name)) {
          known[name] = true;
          order[order.length] = name;
        }
      }
    }
    const view = new proxy(object, { __proto__: null, ownKeys: () => order });
    const own = apply(get, writings, [object]);
    if (own !== undefined) {
      apply(set, writings, [view, own]);
    }
    return view;
  }
})
