package asyncengine.pipes;

import static asyncengine.pipes.AsyncEngineConstants.CORRELATION_ID;
import static asyncengine.pipes.AsyncEngineConstants.FLOW_NAME;
import static asyncengine.pipes.AsyncEngineConstants.IDEMPOTENCY_KEY;
import static asyncengine.pipes.AsyncEngineConstants.IDEMPOTENCY_KEY_HEADER;

import asyncengine.pipes.AsyncEngineEndpoint.Operation;
import java.io.IOException;
import java.net.URLEncoder;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.charset.StandardCharsets;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.regex.Pattern;
import org.apache.camel.AsyncCallback;
import org.apache.camel.Exchange;
import org.apache.camel.ExchangePropertyKey;
import org.apache.camel.InvalidPayloadException;
import org.apache.camel.Message;
import org.apache.camel.support.DefaultAsyncProducer;
import org.apache.camel.util.json.JsonObject;
import org.apache.camel.util.json.Jsoner;

/** Starts flows and waits for runs. The thread that calls is free while the engine works. */
final class AsyncEngineProducer extends DefaultAsyncProducer {

    private static final Pattern ID = Pattern.compile("[0-9A-Fa-f-]{36}");

    private final AsyncEngineEndpoint endpoint;
    private EngineClient engine;

    AsyncEngineProducer(AsyncEngineEndpoint endpoint) {
        super(endpoint);
        this.endpoint = endpoint;
    }

    @Override
    protected void doStart() throws Exception {
        super.doStart();
        engine = endpoint.getComponent().client(endpoint.getConfiguration());
    }

    @Override
    public boolean process(Exchange exchange, AsyncCallback callback) {
        // Before its request goes out: the context may stop as soon as the engine has it.
        engine.work().enter();
        CompletableFuture<Runnable> work;
        try {
            work = begin(exchange);
        } catch (Exception error) {
            engine.work().leave();
            exchange.setException(error);
            callback.done(true);
            return true;
        }
        work.whenCompleteAsync((change, error) -> {
            try {
                if (error == null) {
                    change.run();
                } else {
                    exchange.setException(EngineClient.cause(error));
                }
                callback.done(false);
            } finally {
                engine.work().leave();
            }
        }, engine.work().pool());
        return false;
    }

    /** Begins what the endpoint is for. The future gives the change of the exchange. */
    private CompletableFuture<Runnable> begin(Exchange exchange) throws Exception {
        if (endpoint.getOperation() == Operation.await) {
            return await(correlationId(exchange)).thenApply(result -> () -> exchange.getMessage().setBody(result));
        }
        exchange.getMessage().removeHeader(CORRELATION_ID);
        exchange.removeProperty(CORRELATION_ID);
        if (endpoint.isBatch()) {
            return batch(exchange).thenApply(answer -> () -> exchange.getMessage().setBody(answer.body()));
        }
        return start(exchange);
    }

    private static void note(Exchange exchange, Answer answer) {
        exchange.setProperty(CORRELATION_ID, answer.text("correlationId"));
        exchange.getMessage().setHeader(CORRELATION_ID, answer.text("correlationId"));
    }

    private CompletableFuture<Runnable> start(Exchange exchange) throws IOException, InvalidPayloadException {
        String flowName = flowName(exchange);
        byte[] payload = Payload.of(exchange);
        MadeKeys madeKeys = endpoint.getComponent().madeKeys();
        String call = flowName + " " + IdempotencyKey.digest(payload);
        String given = givenKey(exchange, flowName);
        String key = given == null ? madeKeys.keyOf(exchange, call) : given;

        HttpRequest.Builder request = request(exchange, "/async/api/start?flowName=", flowName)
                .setHeader("Content-Type", "application/json")
                .setHeader(IDEMPOTENCY_KEY_HEADER, IdempotencyKey.of(key))
                .POST(BodyPublishers.ofByteArray(payload));
        CompletableFuture<Answer> started = new StartAttempts(engine, flowName, request)
                .begin()
                .whenComplete((answer, error) -> engine.counters().started(flowName, error == null));
        // A call that waits fails where its wait does: its redelivery waits for the same run.
        return changes(exchange, started).whenComplete((change, error) -> {
            if (error != null && given == null) {
                madeKeys.failed(exchange, call, key);
            }
        });
    }

    /** Returns what becomes of an exchange whose run is started, and waited for where that is wanted. */
    private CompletableFuture<Runnable> changes(Exchange exchange, CompletableFuture<Answer> started) {
        if (!endpoint.isAwait()) {
            return started.thenApply(answer -> () -> {
                note(exchange, answer);
                exchange.getMessage().setBody(answer.body());
            });
        }
        return started.thenCompose(answer -> {
            // Noted before the end: who handles a failure wants to know the run.
            note(exchange, answer);
            return await(answer.text("correlationId"));
        }).thenApply(result -> () -> exchange.getMessage().setBody(result));
    }

    private CompletableFuture<Answer> batch(Exchange exchange) {
        String flowName = flowName(exchange);
        BatchBody body = new BatchBody(exchange);
        HttpRequest.Builder request = request(exchange, "/async/api/start/batch?correlationIds=all&flowName=", flowName)
                .setHeader("Content-Type", "application/x-ndjson")
                .POST(BodyPublishers.ofInputStream(body::open));
        CompletableFuture<Answer> sent =
                new BatchAttempts(engine, "The batch for flow " + flowName + " was not taken whole", request, body).begin();
        return sent.handle((answer, error) -> {
            if (error != null && body.fault() != null) {
                throw new IllegalArgumentException(
                        body.fault().getMessage() + ". The payloads before it may have been started", body.fault());
            }
            return sent;
        }).thenCompose(same -> same);
    }

    private HttpRequest.Builder request(Exchange exchange, String path, String flowName) {
        HttpRequest.Builder request = engine.request(path + URLEncoder.encode(flowName, StandardCharsets.UTF_8));
        SentHeaders.add(request, exchange, engine.settings().headerFilter());
        return request;
    }

    private String flowName(Exchange exchange) {
        String name = endpoint.getFlowName();
        if (name == null || name.isBlank()) {
            name = exchange.getProperty(FLOW_NAME, String.class);
        }
        if (name == null || name.isBlank()) {
            throw new IllegalArgumentException("The exchange property flowName is not set");
        }
        return name;
    }

    /** Returns the key that the application gives, null where one is to be made. */
    private String givenKey(Exchange exchange, String flowName) {
        if (endpoint.keyExpression() != null) {
            String key = endpoint.keyExpression().evaluate(exchange, String.class);
            return required(key, "The expression idempotencyKey=" + endpoint.getIdempotencyKey());
        }
        if (exchange.getProperty(IDEMPOTENCY_KEY) != null) {
            return required(exchange.getProperty(IDEMPOTENCY_KEY, String.class), "The exchange property idempotencyKey");
        }
        String header = engine.settings().keyFromHeader()
                ? exchange.getMessage().getHeader(IDEMPOTENCY_KEY_HEADER, String.class)
                : null;
        return header == null ? null : keyOfPart(required(header, "The header Idempotency-Key"), flowName, exchange);
    }

    private static String required(String key, String source) {
        if (key == null || key.isEmpty()) {
            throw new IllegalArgumentException(source + " gives no key");
        }
        return key;
    }

    /** The header names a whole message. A start is one of the things that become of it. */
    private static String keyOfPart(String header, String flowName, Exchange exchange) {
        StringBuilder key = new StringBuilder(header).append(" > ").append(flowName);
        append(key, "split", exchange.getProperty(ExchangePropertyKey.SPLIT_INDEX));
        append(key, "loop", exchange.getProperty(ExchangePropertyKey.LOOP_INDEX));
        append(key, "multicast", exchange.getProperty(ExchangePropertyKey.MULTICAST_INDEX));
        return key.toString();
    }

    private static void append(StringBuilder key, String name, Object index) {
        if (index != null) {
            key.append(" > ").append(name).append(' ').append(index);
        }
    }

    private static String correlationId(Exchange exchange) {
        Message message = exchange.getMessage();
        String id = message.getHeader(CORRELATION_ID, String.class);
        if (id == null) {
            id = exchange.getProperty(CORRELATION_ID, String.class);
        }
        if (id == null || !ID.matcher(id).matches()) {
            throw new IllegalArgumentException(
                    "Neither header nor exchange property " + CORRELATION_ID + " has a run's id: " + id);
        }
        return id;
    }

    /** Waits for a run. The future gives its result as JSON. */
    private CompletableFuture<String> await(String correlationId) {
        return new AwaitAttempts(engine, correlationId)
                .begin()
                .thenCompose(answer -> result(correlationId, answer))
                .whenComplete((result, error) -> engine.counters().awaited(error == null));
    }

    private static CompletableFuture<String> result(String correlationId, Answer answer) {
        JsonObject run = answer.json();
        String status = answer.text("status");
        if (!status.equals("COMPLETED")) {
            String error = Objects.toString(run.get("error"), "");
            return CompletableFuture.failedFuture(new RunFailedException(correlationId, status, error, answer.body()));
        }
        return CompletableFuture.completedFuture(Jsoner.serialize(run.get("result")));
    }
}
