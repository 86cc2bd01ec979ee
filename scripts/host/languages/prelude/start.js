// context.start: a run of another flow, which is started with the output of this message.
(function (shared, context) {
  "use strict";
  const { apply } = Reflect;
  const { toISOString } = Date.prototype;
  const { defineProperty } = Object;
  const [error, date] = [Error, Date];
  const OPTIONS = ["key", "priority", "startAt", "labels", "deadline"];
  const written = (at) => (at instanceof date ? apply(toISOString, at, []) : at);
  let last = 0;

  context.start = shared.taking("context.start", ["flow", "payload", "options"], (...given) =>
    shared.answer("context.start()", start(...given)));

  async function start(flow, payload, options) {
    const refused = new error("");
    const given = shared.optionsOf("context.start()", options, OPTIONS);
    const { key = null, priority = null, startAt = null, labels = null, deadline = null } = given;
    const text = shared.copied(payload === undefined ? {} : payload, "payload", shared.maxRequest);
    const ordinal = last++;
    const request = {
      what: "context.start", flow, payload: text, key, priority, ordinal,
      startAt: written(startAt), deadline: written(deadline),
      labels: labels === null ? null : shared.copied(labels, "labels", shared.maxRequest),
    };
    const reply = await shared.ask("start", request);
    if (reply.error !== undefined) {
      refused.message = reply.error;
      defineProperty(refused, "name", { value: "StartRefused", configurable: true });
      defineProperty(refused, "kind", { value: reply.kind, configurable: true });
      throw reply.kind === "start-refused" ? shared.never(refused) : refused;
    }
    return reply.id;
  }
})
