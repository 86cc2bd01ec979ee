// context.cached: values that the hosts of a script share for some time.
(function (shared, context) {
  "use strict";
  // As in services.py.
  const MAX_CACHED = 64 * 1024;
  const { isFinite } = Number;
  const { wrong } = shared;
  const [error, rangeError, typeError] = [Error, RangeError, TypeError];

  context.cached = shared.taking("context.cached", ["key", "seconds", "make"], (...given) =>
    shared.question("context.cached()", cached(...given)));

  async function cached(key, seconds, make) {
    if (typeof key !== "string" || typeof make !== "function") {
      throw wrong(new typeError("cached(key, seconds, make) takes a text, a number and a function"));
    }
    if (!isFinite(seconds) || seconds <= 0) {
      throw wrong(new rangeError(`cached() keeps a value for more than 0 seconds, not ${seconds}`));
    }
    const found = await ask({ what: "get", key });
    if (found.text !== undefined) {
      return found.value;
    }
    const text = shared.copied(await make(), "the cached value", MAX_CACHED);
    // The reply has the text again, so that it is read as the messages read it that find it.
    return (await ask({ what: "put", key, seconds, text })).value;
  }

  async function ask(request) {
    const refused = new error("");
    const reply = await shared.ask("cache", request);
    if (reply.error !== undefined) {
      refused.message = reply.error;
      throw reply.kind === "invalid" ? wrong(refused) : refused;
    }
    return reply;
  }
})
