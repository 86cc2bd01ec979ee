// context.table: look-ups in reference tables, which Python makes at once while the script waits.
(function (shared, context) {
  "use strict";
  const { parse, stringify } = JSON;
  const { defineProperty, hasOwn } = Object;
  const { iterator } = Symbol;
  const { apply } = Reflect;
  const { slice } = String.prototype;
  const [text, error, typeError, proxy] = [String, Error, TypeError, Proxy];

  const { taking, wrong } = shared;

  context.table = taking("context.table", ["name"], (name) => {
    const { size, columns } = parse(asked("open", named(name)));
    const made = {
      __proto__: null, name, size, columns,
      get: taking("table.get", ["key", "otherwise"], (key, otherwise) => {
        const found = asked("get", name, keyOf(key));
        return found === undefined ? otherwise : valueOf(found, columns);
      }),
      has: taking("table.has", ["key"], (key) => asked("has", name, keyOf(key)) !== undefined),
      keys: () => keysOf(name),
      entries: () => entriesOf(name, columns),
    };
    made[iterator] = made.entries;
    return new proxy(made, handlerOf(name, columns));
  });

  // table[key] is a row, key in table says whether there is one; a missing row is an error, as all
  // that would be silently undefined or of no effect.
  function handlerOf(name, columns) {
    const fixed = () => {
      throw wrong(new typeError("a table cannot be changed"));
    };
    return {
      __proto__: null, set: fixed, defineProperty: fixed, deleteProperty: fixed,
      setPrototypeOf: fixed, preventExtensions: fixed,
      get(made, key) {
        if (typeof key === "symbol" || hasOwn(made, key)) {
          return made[key];
        }
        const found = asked("get", name, key);
        if (found !== undefined) {
          return valueOf(found, columns);
        }
        if (key === "then" || key === "toJSON") {
          // The language itself looks for them.
          return undefined;
        }
        const shown = apply(slice, key, [0, 100]);
        throw new error(`There is no key '${shown}' in the table '${name}': ` +
          "table.get(key) gives undefined then");
      },
      has: (made, key) =>
        typeof key === "symbol" ? key in made : asked("has", name, key) !== undefined,
      ownKeys() {
        throw wrong(new typeError("the keys of a table are in table.keys(), its rows in table.entries()"));
      },
    };
  }

  // Some keys at once: a table may have millions.
  function* keysOf(name) {
    let keys, place = 0;
    do {
      [keys, place] = parse(asked("keys", name, place));
      for (let i = 0; i < keys.length; i++) {
        yield keys[i];
      }
    } while (place !== 0);
  }

  function* entriesOf(name, columns) {
    for (const key of keysOf(name)) {
      yield [key, valueOf(asked("get", name, key), columns)];
    }
  }

  function valueOf(given, columns) {
    if (columns === null) {
      return shared.read(given, shared.givenNumerals);
    }
    const values = parse(given);
    const row = {};
    for (let i = 0; i < columns.length; i++) {
      defineProperty(row, columns[i], {
        value: values[i], writable: true, enumerable: true, configurable: true,
      });
    }
    return row;
  }

  function asked(what, name, argument) {
    shared.given = null;
    shared.problem = undefined;
    const request = [what, name, argument];
    request.toJSON = undefined;
    shared.tell("table", stringify(request));
    const { given, problem } = shared;
    if (given === null) {
      throw new error(`The table '${name}' could not be read.`);
    }
    if (problem !== undefined) {
      const [told, isLasting] = parse(problem);
      const refused = new error(told);
      throw isLasting ? shared.never(refused) : refused;
    }
    return given;
  }

  function named(name) {
    if (typeof name !== "string") {
      throw wrong(new typeError("table(name) takes a text"));
    }
    return apply(slice, name, [0, 200]);
  }

  function keyOf(key) {
    if (typeof key === "string") {
      return key;
    }
    if (typeof key === "bigint" || (typeof key === "number" && key % 1 === 0)) {
      return text(key);
    }
    throw wrong(new typeError(`The key of a table is a text, not ${typeof key}.`));
  }
})
