// context.sign, verify, jwt and verifyJwt: signatures that the worker makes, with keys from secrets.
(function (shared, context) {
  "use strict";
  const { isArray } = Array;
  const { optionsOf, taking, wrong } = shared;
  const { apply } = Reflect;
  const [error, typeError] = [Error, TypeError];
  // Only there where the code names typed arrays.
  const { ArrayBuffer: buffer, Uint8Array: byteArray } = globalThis;
  const toBase64 = byteArray?.prototype.toBase64;

  context.sign = taking("context.sign", ["algorithm", "secret", "data", "options"], sign);
  context.verify = taking(
    "context.verify", ["algorithm", "secret", "data", "signature", "options"], verify);
  context.jwt = taking("context.jwt", ["claims", "secret", "options"], jwt);
  context.verifyJwt = context.verify_jwt = taking(
    "context.verifyJwt", ["token", "secret", "options"], verifyJwt);

  function sign(algorithm, secret, data, options) {
    const { der = false } = optionsOf("context.sign()", options, ["der"]);
    if (typeof der !== "boolean") {
      throw wrong(new typeError("der must be true or false"));
    }
    return ask({ what: "sign", algorithm, secret, der, ...written("data", data) },
      "context.sign()", "signature");
  }

  function verify(algorithm, secret, data, signature, options) {
    const { publicKey } = optionsOf("context.verify()", options, ["publicKey"]);
    return ask({
      what: "verify", algorithm, secret, publicKey, ...written("data", data),
      ...(typeof signature === "string" ? { signatureBase64: signature } :
        written("signature", signature)),
    }, "context.verify()", "valid");
  }

  function jwt(claims, secret, options) {
    const { algorithm = "RS256", headers, expires } = optionsOf(
      "context.jwt()", options, ["algorithm", "headers", "expires"], ["algorithm", "expires"]);
    // As text: the claims keep their digits.
    const text = claimsText(claims);
    return ask({ what: "jwt", claims: text, secret, algorithm, headers, expires },
      "context.jwt()", "token");
  }

  // A check that is left empty would be none.
  function verifyJwt(token, secret, options) {
    const checks = ["algorithms", "audience", "issuer"];
    const { publicKey, algorithms, audience, issuer, leeway } = optionsOf(
      "context.verifyJwt()", options, [...checks, "leeway", "publicKey"], checks);
    const names = algorithms === undefined || isArray(algorithms) ? algorithms : [algorithms];
    const key = { secret, publicKey, algorithms: names };
    return ask({ what: "verifyJwt", token, ...key, audience, issuer, leeway },
      "context.verifyJwt()", "value");
  }

  function ask(request, call, wanted) {
    return shared.question(call, answered(request, wanted));
  }

  async function answered(request, wanted) {
    const refused = new error("");
    const reply = await shared.ask("sign", request);
    if (reply.error === undefined) {
      return reply[wanted];
    }
    throw signatureError(refused, reply.error, reply.kind);
  }

  function claimsText(claims) {
    try {
      return shared.copied(claims, "claims", shared.maxRequest);
    } catch (thrown) {
      const isTooLarge = shared.isTooLarge(thrown);
      throw isTooLarge ? signatureError(new error(""), shared.tooLarge, "too-large") : thrown;
    }
  }

  function signatureError(refused, message, kind) {
    refused.name = "SignatureError";
    refused.message = message;
    refused.kind = kind;
    return refused;
  }

  function written(name, data) {
    if (typeof data === "string") {
      return { [name]: data };
    }
    if (buffer === undefined || !(data instanceof buffer || buffer.isView(data))) {
      throw wrong(new typeError(`${name} must be a text or bytes`));
    }
    const bytes = data instanceof buffer ? new byteArray(data) :
      new byteArray(data.buffer, data.byteOffset, data.byteLength);
    return { [`${name}Base64`]: apply(toBase64, bytes, []) };
  }
})
