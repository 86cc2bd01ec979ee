// context.sign, verify, jwt and verifyJwt: signatures that the worker makes, with keys from secrets.
(function (shared, context) {
  "use strict";
  const { isArray } = Array;
  const { apply } = Reflect;
  const [error, typeError] = [Error, TypeError];
  // Only there where the code names typed arrays.
  const { ArrayBuffer: buffer, Uint8Array: byteArray } = globalThis;
  const toBase64 = byteArray?.prototype.toBase64;

  context.sign = (algorithm, secret, data, { der = false } = {}) =>
    ask({ what: "sign", algorithm, secret, der, ...written("data", data) }, "signature");
  context.verify = (algorithm, secret, data, signature, { publicKey } = {}) => ask({
    what: "verify", algorithm, secret, publicKey, ...written("data", data),
    ...(typeof signature === "string" ? { signatureBase64: signature } :
      written("signature", signature)),
  }, "valid");
  context.jwt = (claims, secret, { algorithm = "RS256", headers, expires } = {}) =>
    // As text: the claims keep their digits.
    ask({
      what: "jwt", claims: claimsText(claims), secret, algorithm, headers, expires,
    }, "token");
  context.verifyJwt = context.verify_jwt = (token, secret, options = {}) => {
    const { publicKey, algorithms, audience, issuer, leeway } = options;
    const names = algorithms === undefined || isArray(algorithms) ? algorithms : [algorithms];
    const key = { secret, publicKey, algorithms: names };
    return ask({ what: "verifyJwt", token, ...key, audience, issuer, leeway }, "value");
  };

  async function ask(request, wanted) {
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
    } catch (error) {
      const isTooLarge = shared.isTooLarge(error);
      throw isTooLarge ? signatureError(error, shared.tooLarge, "too-large") : error;
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
      throw new typeError(`${name} must be a text or bytes`);
    }
    const bytes = data instanceof buffer ? new byteArray(data) :
      new byteArray(data.buffer, data.byteOffset, data.byteLength);
    return { [`${name}Base64`]: apply(toBase64, bytes, []) };
  }
})
