// context.go: the message goes on at a later step. Told by the messenger of log.js.
(function (shared, context, facts) {
  "use strict";
  const { stringify } = JSON;
  const { includes } = Array.prototype;
  const { apply } = Reflect;
  const { defineProperty } = Object;
  const [error, text] = [Error, String];
  const [, , , , , , , , , , steps, allowed] = facts;

  context.go = shared.taking("context.go", ["step", "output"], go);

  function go(step, output) {
    if (typeof step !== "string" || !step || steps && !apply(includes, steps, [step])) {
      const shown = typeof step === "string" ? `'${step}'` : text(step);
      const refused = new error(`context.go(${shown}): ${allowed}`);
      defineProperty(refused, "name", { value: "StepNotAllowed", configurable: true });
      throw shared.never(refused);
    }
    shared.isFinished = false;
    if (output !== undefined) {
      shared.setOutput(output);
    }
    shared.tell("go", stringify(step));
  }
})
