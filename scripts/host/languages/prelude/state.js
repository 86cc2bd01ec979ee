// context.state: what the messages of a flow leave for each other. Python keeps the changes, and
// sends them with the output.
(function (shared, context) {
  "use strict";
  // As in flow_state.py.
  const MAX_VALUE = 64 * 1024;
  const { optionsOf, taking, wrong } = shared;
  const [error, typeError, text] = [Error, TypeError, String];
  const { slice } = String.prototype;
  const { apply } = Reflect;

  const functions = {
    get: taking("state.get", ["key", "otherwise"], (key, otherwise) =>
      shared.question("context.state.get()", get(key, otherwise))),
    set: taking("state.set", ["key", "value", "options"], async (key, value, options) => {
      const copy = shared.copied(value, "the value of the state", MAX_VALUE);
      if (copy === undefined) {
        throw wrong(new typeError("state.set(key, value, {expires}) takes a value"));
      }
      await ask({ what: "set", key, text: copy, expires: expiresOf(options) });
    }),
    increment: taking("state.increment", ["key", "by", "options"], async (key, by = 1, options) => {
      if (options === undefined && typeof by === "object" && by !== null) {
        [by, options] = [1, by];
      }
      if (typeof by !== "bigint" && !(typeof by === "number" && by - by === 0)) {
        throw wrong(new typeError("state.increment(key, by, {expires}) adds a finite number"));
      }
      await ask({ what: "increment", key, by: text(by), expires: expiresOf(options) });
    }),
    delete: taking("state.delete", ["key"], async (key) => {
      await ask({ what: "delete", key });
    }),
  };

  // What would be of no effect, or silently undefined, is an error.
  context.state = new Proxy(functions, {
    get(target, name) {
      // The language itself looks for the last two.
      if (typeof name === "symbol" || name in target || name === "then" || name === "toJSON") {
        return target[name];
      }
      throw wrong(new typeError(`context.state has no ${shown(name)}: use state.get(key)`));
    },
    set(target, name) {
      throw wrong(new typeError(`context.state.${shown(name)} keeps no value: use state.set(key, value)`));
    },
    deleteProperty(target, name) {
      throw wrong(new typeError(`context.state has no ${shown(name)}: use state.delete(key)`));
    },
  });

  function shown(name) {
    return apply(slice, text(name), [0, 100]);
  }

  async function get(key, otherwise = null) {
    const found = await ask({ what: "get", key });
    return found.text === undefined ? otherwise : found.value;
  }

  function expiresOf(options) {
    return optionsOf("context.state", options, ["expires"]).expires ?? null;
  }

  async function ask(request) {
    const refused = new error("");
    const reply = await shared.ask("state", request);
    if (reply.error !== undefined) {
      refused.message = reply.error;
      throw reply.kind === "invalid" ? wrong(refused) : refused;
    }
    return reply;
  }
})
