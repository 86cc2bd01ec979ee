// Asks for the state of a job until it is done. A wait uses up no delivery and holds no worker.
const { job } = context.Data.payload;
const answer = (await http.get(`${context.config["api.url"]}/jobs/${job}`)).raiseForStatus().data;
if (answer.state === "running") wait(30, `job ${job} is running`);
if (answer.state !== "done") reject(`job ${job} is ${answer.state}`, { code: "job-failed" });
context.Data.payload.file = answer.file;
setData(context.Data);
