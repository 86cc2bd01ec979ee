// context.state: what the messages of a flow leave for each other. Python keeps the changes, and
// sends them with the output.
(function (shared, context) {
  "use strict";
  // As in flow_state.py.
  const MAX_VALUE = 64 * 1024;
  const { optionsOf, taking, wrong } = shared;
  const [error, typeError, text] = [Error, TypeError, String];

  context.state = {
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
