// A counter that expires guards a partner who takes 100 calls a minute, over all workers.
const MOST = 100;
if (await context.state.get("calls", 0) >= MOST) {
  wait(10, "the partner takes no more calls in this minute");
}
// The minute begins with the first of its calls.
await context.state.increment("calls", { expires: 60 });
const answer = await http.get(`${context.config["api.url"]}/quote`);
context.Data.payload.quote = answer.raiseForStatus().data.quote;
setData(context.Data);
