package asyncengine.pipes;

import com.sun.net.httpserver.Headers;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Predicate;

/** An engine that keeps the contract of starts and waits, except where a test scripts a fault. */
final class StubEngine implements AutoCloseable {

    /** A request that came. */
    record Seen(long atNanos, String method, String path, Map<String, String> query, Headers headers, String body) {
        String key() {
            return headers.getFirst("Idempotency-Key");
        }
    }

    /** A run that was started. */
    record Run(String id, String flow, String key, String payload, long atNanos) {}

    /** What happens to one request instead of what should; false: it goes on to the engine. */
    interface Fault {
        boolean happens(StubEngine engine, HttpExchange exchange, Seen seen) throws Exception;

        static Fault answer(int status, String body, String... headers) {
            return (engine, exchange, seen) -> {
                for (int i = 0; i < headers.length; i += 2) {
                    exchange.getResponseHeaders().set(headers[i], headers[i + 1]);
                }
                engine.answer(exchange, status, body);
                return true;
            };
        }

        /** The run is stored, and its answer is lost. */
        static Fault lost() {
            return (engine, exchange, seen) -> {
                engine.start(seen);
                throw new IOException("lost on purpose");
            };
        }

        /** The headers of an answer, and then nothing. */
        static Fault stalled() {
            return (engine, exchange, seen) -> {
                engine.start(seen);
                exchange.sendResponseHeaders(202, 1000);
                exchange.getResponseBody().write("{\"correl".getBytes());
                exchange.getResponseBody().flush();
                engine.closing.await();
                return true;
            };
        }

        /** No answer at all. */
        static Fault silent() {
            return (engine, exchange, seen) -> {
                engine.closing.await();
                return true;
            };
        }
    }

    final List<Seen> seen = Collections.synchronizedList(new ArrayList<>());
    final Queue<Fault> faults = new ConcurrentLinkedQueue<>();
    final Map<String, Run> runs = new ConcurrentHashMap<>();
    final AtomicInteger waiting = new AtomicInteger();
    final AtomicInteger replayed = new AtomicInteger();
    /** A fault for every start that it is for, as long as it is true. */
    volatile Predicate<Seen> refused = one -> false;
    volatile long runMillis;
    volatile String failingFlow = "bad";

    private final Map<String, Run> byKey = new HashMap<>();
    private final CountDownLatch closing = new CountDownLatch(1);
    private final HttpServer server;
    private final ExecutorService threads = Executors.newCachedThreadPool();

    StubEngine() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 1000);
        server.createContext("/", this::handle);
        server.setExecutor(threads);
        server.start();
    }

    String url() {
        return "http://127.0.0.1:" + server.getAddress().getPort();
    }

    List<Seen> starts() {
        return List.copyOf(seen).stream().filter(one -> one.path().equals("/async/api/start")).toList();
    }

    List<String> keys() {
        return starts().stream().map(Seen::key).toList();
    }

    @Override
    public void close() {
        closing.countDown();
        server.stop(0);
        threads.shutdownNow();
    }

    private void handle(HttpExchange exchange) throws IOException {
        try {
            String path = exchange.getRequestURI().getPath();
            String body = path.endsWith("/batch")
                    ? batchBody(exchange)
                    : new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
            Seen one = new Seen(System.nanoTime(), exchange.getRequestMethod(), path,
                    query(exchange.getRequestURI().getRawQuery()), exchange.getRequestHeaders(), body);
            seen.add(one);
            Fault fault = faults.poll();
            if (fault == null || !fault.happens(this, exchange, one)) {
                serve(exchange, one);
            }
            exchange.close();
        } catch (IOException error) {
            throw error;
        } catch (Exception error) {
            throw new IOException(error);
        }
    }

    volatile java.util.function.Consumer<String> onLine = line -> {};

    private String batchBody(HttpExchange exchange) throws IOException {
        StringBuilder all = new StringBuilder();
        var reader = new java.io.BufferedReader(
                new java.io.InputStreamReader(exchange.getRequestBody(), StandardCharsets.UTF_8));
        for (String line = reader.readLine(); line != null; line = reader.readLine()) {
            onLine.accept(line);
            all.append(line).append('\n');
        }
        return all.toString();
    }

    private void serve(HttpExchange exchange, Seen one) throws Exception {
        if (one.path().equals("/async/health/ready")) {
            answer(exchange, 200, "{}");
        } else if (one.path().equals("/async/api/auth/token")) {
            answer(exchange, 200, "{\"accessToken\":\"t" + seen.size() + "\",\"tokenType\":\"Bearer\",\"expiresIn\":3600}");
        } else if (one.path().equals("/async/api/start/batch")) {
            List<String> ids = new ArrayList<>();
            for (String line : one.body().split("\n")) {
                ids.add('"' + put(new Seen(0, "POST", "", one.query(), new Headers(), line)).id() + '"');
            }
            answer(exchange, 202, "{\"accepted\":" + ids.size() + ",\"rejected\":[],\"correlationIds\":" + ids + "}");
        } else if (one.path().equals("/async/api/start")) {
            if (refused.test(one)) {
                answer(exchange, 409, "{\"type\":\"/async/problems/flow-inactive\",\"detail\":\"refused\",\"status\":409}");
                return;
            }
            Run run = start(one);
            if (run == null) {
                answer(exchange, 409, "{\"type\":\"/async/problems/idempotency-conflict\",\"detail\":\"used\",\"status\":409}");
            } else {
                answer(exchange, 202, "{\"correlationId\":\"" + run.id() + "\",\"flowName\":\"f\",\"status\":\"QUEUED\"}");
            }
        } else {
            answer(exchange, 200, waited(one));
        }
    }

    private Run start(Seen one) {
        return put(one);
    }

    private synchronized Run put(Seen one) {
        String flow = one.query().get("flowName");
        Run before = one.key() == null ? null : byKey.get(flow + " " + one.key());
        if (before != null) {
            replayed.incrementAndGet();
            return before.payload().equals(one.body()) ? before : null;
        }
        Run run = new Run(UUID.randomUUID().toString(), flow, one.key(), one.body(), System.nanoTime());
        runs.put(run.id(), run);
        if (one.key() != null) {
            byKey.put(flow + " " + one.key(), run);
        }
        return run;
    }

    private String waited(Seen one) throws InterruptedException {
        Run run = runs.get(one.path().substring(one.path().lastIndexOf('/') + 1));
        long wait = (long) (1000 * Double.parseDouble(one.query().getOrDefault("wait", "0")));
        long left = runMillis - (System.nanoTime() - run.atNanos()) / 1_000_000;
        waiting.incrementAndGet();
        closing.await(Math.max(0, Math.min(wait, left)), TimeUnit.MILLISECONDS);
        waiting.decrementAndGet();
        if (left > wait) {
            return "{\"correlationId\":\"" + run.id() + "\",\"status\":\"RUNNING\"}";
        }
        return run.flow().equals(failingFlow)
                ? "{\"correlationId\":\"" + run.id() + "\",\"status\":\"FAILED\",\"error\":\"no luck\"}"
                : "{\"correlationId\":\"" + run.id() + "\",\"status\":\"COMPLETED\",\"result\":" + run.payload() + "}";
    }

    private void answer(HttpExchange exchange, int status, String body) throws IOException {
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        exchange.sendResponseHeaders(status, bytes.length == 0 ? -1 : bytes.length);
        exchange.getResponseBody().write(bytes);
        exchange.close();
    }

    private static Map<String, String> query(String raw) {
        Map<String, String> query = new HashMap<>();
        for (String pair : raw == null ? new String[0] : raw.split("&")) {
            String[] parts = pair.split("=", 2);
            query.put(parts[0], URLDecoder.decode(parts[1], StandardCharsets.UTF_8));
        }
        return query;
    }
}
