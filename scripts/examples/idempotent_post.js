// Makes an order only once, even where the message is delivered again: the key stays the same.
const answer = await http.post(
  `${context.config["api.url"]}/orders`,
  { item: context.Data.payload.item },
  { headers: { "Idempotency-Key": context.deliveryId } },
);
if (answer.status === 409) {
  reject("the order is not possible", { code: "conflict", details: answer.data });
}
context.Data.payload.order = answer.raiseForStatus().data.id;
setData(context.Data);
