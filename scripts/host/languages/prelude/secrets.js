// context.secrets: the secrets that the script may read, by name, fetched before it began.
(function (shared, context, facts) {
  "use strict";
  const replies = facts[7];
  const [error, proxy] = [Error, Proxy];
  const missing = ["unknown", "not-granted", "not-readable"];

  context.secrets = new proxy({}, {
    get(target, name) {
      if (typeof name !== "string" || name === "toJSON") {
        return undefined;
      }
      const reply = replies[name] ??
        { error: `The script was not given a secret '${name}'.`, kind: "not-granted" };
      if (reply.error === undefined) {
        return reply.value;
      }
      const refused = new error(reply.error);
      throw missing.includes(reply.kind) ? shared.never(refused) : refused;
    },
    set() {
      throw shared.wrong(new error("context.secrets cannot be changed"));
    },
    has: (target, name) => name in replies && !missing.includes(replies[name].kind),
  });
})
