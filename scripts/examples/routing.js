// Sends large orders to another step. Its own step lists "approve" in goesTo.
const { payload } = context.Data;
payload.total = payload.items.reduce((sum, item) => sum + item.price, 0);
setData(context.Data);
if (payload.total > 1000) {
  context.go("approve");
}
