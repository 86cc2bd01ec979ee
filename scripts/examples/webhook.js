// Verifies that a webhook comes from a partner: an HMAC of its time and its body, not too old.
const { timestamp, received, body, signature } = context.Data.payload;
const hmac = crypto.createHmac("sha256", context.secrets["webhook.key"]);
const expected = hmac.update(`${timestamp}.${body}`).digest();
const given = Uint8Array.fromHex(signature);
if (given.length !== expected.length || !crypto.timingSafeEqual(given, expected)) {
  reject("the signature does not fit", { code: "signature" });
}
if (received - timestamp > 300) reject("the call is too old", { code: "replay" });
context.Data.payload = { accepted: body };
setData(context.Data);
