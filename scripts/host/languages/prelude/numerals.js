// Keeps numbers and keys that JavaScript would write in another way than they came: 1.0, 1.50, 1e5,
// -0, 1234567890123456.78, and "2" before "1", which JavaScript sorts. A script gets ordinary
// numbers and objects; the writings are kept with the object or array that they are in. Integers
// that a number cannot hold become BigInts.
//
// A copy of an object has its writings, too: they are a property of it, whose key is a symbol, which
// hidden.js keeps from the script. Other copies are found by what is in them.
(function (shared) {
  "use strict";
  const { parse, rawJSON } = JSON;
  const { hasOwn, is } = Object;
  const { isSafeInteger } = Number;
  const { isArray } = Array;
  const { apply } = Reflect;
  const { get, set } = Map.prototype;
  const { includes } = String.prototype;
  const [text, bigint, number, map, proxy] = [String, BigInt, Number, Map, globalThis.Proxy];
  // The characters of texts that are kept.
  const MOST = 4 * 1024 * 1024;
  const { ownKeys, writings: WRITINGS } = shared;
  // The object or array that was asked for last, and its writings.
  let last, lastWritings;
  // An array of the text -> { index: the writing of the number that is there }.
  let writingsOfArrays;
  // A number that was copied to another object is found by its value, an integer also by its key,
  // if all such numbers were written alike; null: they were not.
  const writingOfValue = { __proto__: null };
  // An object -> its keys in the order of the text.
  const orders = new map();
  // The texts, for copies.js, which is made where a value has several writings.
  let texts = [], room = MOST, copies;

  return { parsed, written, ordered, copy };

  function parsed(body, found) {
    const value = parse(body, revive);
    room -= body.length;
    if (room < 0) {
      texts = undefined;
    } else {
      texts[texts.length] = body;
    }
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

  function revived(value, source) {
    return !isSafeInteger(value) && isInteger(source) ? bigint(source) : value;
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
      let own = writingsOf(holder);
      if (own === undefined) {
        own = { __proto__: null };
        keep(holder, own);
      }
      own[key] = source;
    }
  }

  function writingsOf(holder) {
    if (holder !== last) {
      last = holder;
      lastWritings = isArray(holder) ?
        writingsOfArrays && apply(get, writingsOfArrays, [holder]) :
        hasOwn(holder, WRITINGS) ? holder[WRITINGS] : undefined;
    }
    return lastWritings;
  }

  function keep(holder, own) {
    if (isArray(holder)) {
      apply(set, writingsOfArrays ??= new map(), [holder, own]);
    } else {
      // An enumerable property, which copies take.
      holder[WRITINGS] = own;
    }
    last = holder;
    lastWritings = own;
  }

  // What a copy that is made property by property would lose.
  function copy(from, to) {
    const own = writingsOf(from), names = apply(get, orders, [from]);
    if (own !== undefined) {
      keep(to, own);
    }
    if (names !== undefined) {
      apply(set, orders, [to, names]);
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
    const own = writingsOf(holder)?.[key];
    if (own !== undefined && is(number(own), value)) {
      return rawJSON(own);
    }
    const name = nameOf(holder, key, value);
    let source = name === undefined ? undefined : writingOfValue[name];
    if (source === null && texts !== undefined) {
      copies ??= shared.copies()(nameOf, revived);
      for (let i = 0; i < texts.length; i++) {
        copies.read(texts[i]);
      }
      texts = [];
      source = isArray(holder) ? copies.ofArray(holder, key) : copies.ofMember(name, key);
    }
    const isKnown = source !== undefined && source !== null && is(number(source), value);
    return isKnown ? rawJSON(source) : value;
  }

  // JSON.stringify reads the keys of a proxy in the order in which the proxy returns them.
  function ordered(object) {
    // The script may have changed it since.
    last = undefined;
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
    return new proxy(object, { __proto__: null, ownKeys: () => order });
  }
})
