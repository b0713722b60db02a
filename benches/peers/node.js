// Node's own HTTP server, with the job as a timer that is set when the response has ended.
const http = require("node:http");

const jobMs = Number(process.env.JOB_MS);

const server = http.createServer((_request, response) => {
  response.setHeader("content-type", "text/plain");
  response.end("hello");
  setTimeout(() => {}, jobMs);
});
server.listen(0, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
