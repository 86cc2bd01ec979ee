// context.table: look-ups in reference tables, which Python makes at once while the script waits.
(function (shared, context) {
  "use strict";
  const { parse, stringify } = JSON;
  const { defineProperty, freeze } = Object;
  const { iterator } = Symbol;
  const { apply } = Reflect;
  const { slice } = String.prototype;
  const [text, error, typeError] = [String, Error, TypeError];

  const { taking } = shared;

  context.table = taking("context.table", ["name"], (name) => {
    const { size, columns } = parse(asked("open", named(name)));
    const made = {
      name, size, columns,
      get: taking("table.get", ["key", "otherwise"], (key, otherwise) => {
        const found = asked("get", name, keyOf(key));
        return found === undefined ? otherwise : valueOf(found, columns);
      }),
      has: taking("table.has", ["key"], (key) => asked("has", name, keyOf(key)) !== undefined),
      keys: () => keysOf(name),
      entries: () => entriesOf(name, columns),
    };
    defineProperty(made, iterator, { value: made.entries });
    return freeze(made);
  });

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
      const [told, isNotListed] = parse(problem);
      const refused = new error(told);
      if (isNotListed) {
        shared.notAllowed[shared.notAllowed.length] = refused;
      }
      throw refused;
    }
    return given;
  }

  function named(name) {
    if (typeof name !== "string") {
      throw new typeError("table(name) takes a text");
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
    throw new typeError(`The key of a table is a text, not ${typeof key}.`);
  }
})
