// context.config: the values of the installation by name, fetched before the script began. One that
// was not there then is looked up once more, by the messenger of log.js.
(function (shared, context, facts) {
  "use strict";
  const { values, error: said } = facts[8];
  // Longer ones than there can be.
  const MAX_NAME = 200;
  const { hasOwn, keys } = Object;
  const { apply } = Reflect;
  const { slice } = String.prototype;
  const [error, proxy] = [Error, Proxy];

  context.config = new proxy({ ...values }, {
    get(target, name) {
      if (typeof name !== "string" || name === "toJSON") {
        return undefined;
      }
      if (said !== undefined) {
        throw new error(said);
      }
      if (!hasOwn(target, name)) {
        shared.given = shared.problem = undefined;
        shared.tell("config", apply(slice, name, [0, MAX_NAME]));
        if (shared.problem !== undefined) {
          throw new error(shared.problem);
        }
        if (shared.given === undefined) {
          throw shared.never(new error(`There is no value '${name}' in this installation.`));
        }
        target[name] = shared.given;
      }
      return target[name];
    },
    has: (target, name) => hasOwn(target, name),
    ownKeys: (target) => keys(target),
    set() {
      throw shared.wrong(new error("context.config cannot be changed"));
    },
  });
})
