package asyncengine.pipes;

import com.sun.net.httpserver.Headers;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** Stands before the engine: notes what goes through, and fails where a test wants it. */
final class Gateway implements AutoCloseable {

    /** A request that came, and the status that it was answered with; 0 for none. */
    record Seen(long atNanos, String path, Headers headers, int status) {
        String header(String name) {
            return headers.getFirst(name);
        }
    }

    /** What happens to one request. Without a status it goes to the engine. */
    record Fault(int status, String retryAfter, boolean answerLost) {
        static final Fault ANSWER_LOST = new Fault(0, null, true);

        static Fault answering(int status, String retryAfter) {
            return new Fault(status, retryAfter, false);
        }
    }

    private static final Set<String> OF_THE_CONNECTION =
            Set.of("connection", "content-length", "expect", "host", "upgrade", "http2-settings", "transfer-encoding");

    final List<Seen> seen = Collections.synchronizedList(new ArrayList<>());
    final Queue<Fault> faults = new ConcurrentLinkedQueue<>();

    private final HttpServer server;
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final HttpClient http = HttpClient.newHttpClient();

    Gateway() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/", this::handle);
        server.setExecutor(threads);
        server.start();
    }

    String url() {
        return "http://127.0.0.1:" + server.getAddress().getPort();
    }

    Duration between(int first, int second) {
        return Duration.ofNanos(seen.get(second).atNanos() - seen.get(first).atNanos());
    }

    @Override
    public void close() {
        server.stop(0);
        threads.shutdownNow();
    }

    private void handle(HttpExchange exchange) throws IOException {
        long now = System.nanoTime();
        Fault fault = faults.poll();
        if (fault != null && fault.status() != 0) {
            note(now, exchange, fault.status());
            if (fault.retryAfter() != null) {
                exchange.getResponseHeaders().set("Retry-After", fault.retryAfter());
            }
            answer(exchange, fault.status(), "<h1>a gateway's own page</h1>".getBytes());
            return;
        }
        HttpResponse<byte[]> response = forward(exchange);
        boolean isLost = fault != null && fault.answerLost();
        note(now, exchange, isLost ? 0 : response.statusCode());
        if (isLost) {
            // Closes the connection: the caller never knows what became of the request.
            throw new IOException("lost on purpose");
        }
        response.headers().map().forEach((name, values) -> {
            if (!OF_THE_CONNECTION.contains(name.toLowerCase())) {
                exchange.getResponseHeaders().put(name, values);
            }
        });
        answer(exchange, response.statusCode(), response.body());
    }

    private HttpResponse<byte[]> forward(HttpExchange exchange) throws IOException {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(Engine.URL + exchange.getRequestURI()))
                .method(exchange.getRequestMethod(), BodyPublishers.ofByteArray(exchange.getRequestBody().readAllBytes()));
        exchange.getRequestHeaders().forEach((name, values) -> {
            if (!OF_THE_CONNECTION.contains(name.toLowerCase())) {
                values.forEach(value -> request.header(name, value));
            }
        });
        try {
            return http.send(request.build(), BodyHandlers.ofByteArray());
        } catch (InterruptedException error) {
            throw new IOException(error);
        }
    }

    private void note(long now, HttpExchange exchange, int status) {
        Seen one = new Seen(now, exchange.getRequestURI().toString(), exchange.getRequestHeaders(), status);
        seen.add(one);
    }

    private static void answer(HttpExchange exchange, int status, byte[] body) throws IOException {
        exchange.sendResponseHeaders(status, body.length == 0 ? -1 : body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }
}
