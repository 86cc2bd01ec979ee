// Signs an order. The key is a secret that never enters the script; with RSA it is an RS256.
const { amount, order } = context.Data.payload;
const text = JSON.stringify({ amount, order });
context.Data.payload.signature = await context.sign("HS256", "partner.key", text);
setData(context.Data);
