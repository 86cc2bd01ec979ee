// Spares a partner who takes about 100 calls a minute, and counts failing calls, too.
//
// Exact is the rate limit of the queue. This counter is stored with the step, so messages that run
// at the same time do not see each other's calls: leave room for as many as run at once.
const MOST = 100 - 10;
if (await context.state.get("calls", 0) >= MOST) {
  wait(10, "the partner takes no more calls in this minute");
}
// The minute begins with the first of its calls.
await context.state.increment("calls", { expires: 60 });
let answer;
try {
  answer = (await http.get(`${context.config["api.url"]}/quote`)).raiseForStatus();
} catch (error) {
  // Stored with a retry, but not with a failure.
  retry({ after: error.response?.retryAfter, reason: error.message });
}
context.Data.payload.quote = answer.data.quote;
setData(context.Data);
