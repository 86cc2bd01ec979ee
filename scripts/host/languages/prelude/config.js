// context.config: the values of the installation by name, fetched before the script began. One that
// was not there then is looked up once more, by the messenger of log.js.
(function (shared, context, facts) {
  "use strict";
  const { values, error: said } = facts[8];
  const { hasOwn, keys } = Object;
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
        shared.given = undefined;
        shared.tell("config", name);
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
      throw new error("context.config cannot be changed");
    },
  });
})
