// context.config: the values of the installation by name, fetched before the script began.
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
      if (said !== undefined || !hasOwn(target, name)) {
        throw new error(said ?? `There is no value '${name}' in this installation.`);
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
