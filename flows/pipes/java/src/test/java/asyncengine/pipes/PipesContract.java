package asyncengine.pipes;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import asyncengine.pipes.Gateway.Fault;
import asyncengine.pipes.Gateway.Seen;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.apache.camel.Exchange;
import org.apache.camel.builder.RouteBuilder;
import org.apache.camel.main.Main;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;

/**
 * What the pipes do in each language, with a real Camel and a running engine.
 *
 * <p>tests/pipes/test_pipes.py starts the engine, configures it and says where it is: its flows
 * {@code full-…} have a queue for one message, {@code rated-…} may be started once in ten seconds,
 * {@code restart-…} are for one test each.
 */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
abstract class PipesContract {

    private static final int CALLS = 500;
    private static final int RESTART_AFTER = 150;

    private Application application;

    /** The form of the contract routes. */
    abstract Form form();

    /** The language, as in the names of flows and files that are made for it. */
    String language() {
        return form().name().toLowerCase();
    }

    void addPipes(Main main) {
        form().addTo(main);
    }

    private static int statusOf(Exception refusal) {
        return assertInstanceOf(AsyncEngineException.class, refusal).getStatusCode();
    }

    private static String problemOf(Exception refusal) {
        return assertInstanceOf(AsyncEngineException.class, refusal).getResponseBody();
    }

    /** Adds the route of {@code from("direct:in")} with the snippet of the flow's page. */
    void addSnippet(Main main) throws Exception {
        String pipes = main.configure().getRoutesIncludePattern();
        Path snippet = Engine.DIRECTORY.resolve("snippet." + language());
        main.configure().withRoutesIncludePattern(pipes + ",file:" + snippet);
    }

    @BeforeAll
    void start() throws Exception {
        assumeTrue(System.getProperty("engine.directory") != null, "tests/pipes/test_pipes.py starts an engine");
        application = application(Map.of());
    }

    @AfterAll
    void stop() {
        if (application != null) {
            application.close();
        }
    }

    private Application application(Map<String, String> properties, RouteBuilder... routes)
            throws Exception {
        Map<String, String> all = new HashMap<>(Map.of(
                "asyncengine.url", Engine.URL,
                "asyncengine.username", "clerk",
                "asyncengine.password", Engine.property("clerk.password"),
                "asyncengine.retryDelay", "100"));
        all.putAll(properties);
        return new Application(this::addPipes, all, routes);
    }

    private Application before(Gateway gateway, Map<String, String> properties) throws Exception {
        Map<String, String> all = new HashMap<>(properties);
        all.put("asyncengine.url", gateway.url());
        return application(all);
    }

    private static JsonNode payload(Exchange called) throws Exception {
        assertNull(called.getException());
        return Engine.run(called.getMessage().getHeader(Engine.CORRELATION_ID, String.class))
                .at("/result/payload");
    }

    private void requireRefusal(Exchange called, int status, String word) throws Exception {
        Exception refusal = called.getException();
        assertNotNull(refusal);
        assertEquals(status, statusOf(refusal));
        JsonNode problem = Engine.read(problemOf(refusal));
        assertEquals("/async/problems/" + word, problem.get("type").asText());
        assertEquals(status, problem.get("status").asInt());
        assertNull(called.getMessage().getHeader(Engine.CORRELATION_ID));
        assertNull(called.getProperty(Engine.CORRELATION_ID));
    }

    // --- starting ------------------------------------------------------------------------------

    @Test
    void theSnippetOfAFlowsPageStartsThatFlow() throws Exception {
        String flowName = Files.readString(Engine.DIRECTORY.resolve("flow-name"));
        Map<String, Object> map = Map.of("a", List.of(1, 2.5, "größe", true), "b", Map.of("c", "\"\\"));
        String json = "{\"a\":[1,2.5,\"größe\",true],\"b\":{\"c\":\"\\\"\\\\\"}}";
        List<Object> bodies = List.of(json, map, json.getBytes(StandardCharsets.UTF_8));

        try (Application callers = new Application(this::addPipesAndSnippet, Map.of(
                "asyncengine.url", Engine.URL,
                "asyncengine.username", "clerk",
                "asyncengine.password", Engine.property("clerk.password")))) {
            for (Object body : bodies) {
                Exchange called = callers.send("direct:in", exchange -> exchange.getMessage().setBody(body));

                assertEquals(Engine.read(json), payload(called));
                String id = called.getMessage().getHeader(Engine.CORRELATION_ID, String.class);
                assertEquals(id, called.getProperty(Engine.CORRELATION_ID));
                JsonNode answer = Engine.read(called.getMessage().getBody(String.class));
                assertEquals(id, answer.get("correlationId").asText());
                assertEquals(flowName, answer.get("flowName").asText());
            }
        }
    }

    private void addPipesAndSnippet(Main main) {
        try {
            addPipes(main);
            addSnippet(main);
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    @Test
    void aStreamAJsonTreeAndNoBodyAreStartedToo() throws Exception {
        byte[] json = "{\"a\":\"ü\"}".getBytes(StandardCharsets.UTF_8);

        Exchange stream = application.call("echo", new ByteArrayInputStream(json));
        Exchange tree = application.call("echo", Engine.read("{\"a\":\"ü\"}"));
        Exchange nothing = application.call("echo", null);

        assertEquals(Engine.read("{\"a\":\"ü\"}"), payload(stream));
        assertEquals(Engine.read("{\"a\":\"ü\"}"), payload(tree));
        assertEquals(Engine.read("{}"), payload(nothing));
    }

    @Test
    void theMessageKeepsItsHeadersAndNoneOfThemReachesTheEngine() throws Exception {
        try (Gateway gateway = new Gateway();
                Application application = before(gateway, Map.of())) {
            Map<String, Object> headers = Map.of(
                    "Authorization", "Bearer of-another-user",
                    "Cookie", "sessionid=of-another-user",
                    "CamelHttpPath", "/elsewhere",
                    "CamelHttpQuery", "a=b",
                    "CamelHttpMethod", "DELETE",
                    "CamelHttpUri", "http://127.0.0.1:1/",
                    "Content-Type", "text/plain",
                    "order", 7);

            Exchange called = application.send("direct:callAsyncEngine", exchange -> {
                exchange.setProperty("flowName", "echo");
                exchange.getMessage().setHeaders(new HashMap<>(headers));
                exchange.getMessage().setBody("{}");
            });

            assertNull(called.getException());
            Map<String, Object> after = new HashMap<>(called.getMessage().getHeaders());
            assertNotNull(after.remove(Engine.CORRELATION_ID));
            assertEquals(headers, after);
            Seen request = gateway.seen.get(0);
            assertTrue(request.header("Authorization").startsWith("Basic "));
            assertNull(request.header("Cookie"));
            assertNull(request.header("order"));
            assertEquals("application/json", request.header("Content-Type"));
        }
    }

    // --- refusals ------------------------------------------------------------------------------

    @Test
    void aMissingFlowNameIsNamedAndNothingIsSent() throws Exception {
        try (Gateway gateway = new Gateway();
                Application application = before(gateway, Map.of())) {
            for (Object flowName : new Object[] {null, ""}) {
                Exchange called = application.send("direct:callAsyncEngine", exchange -> {
                    exchange.setProperty("flowName", flowName);
                    exchange.getMessage().setBody("{}");
                });

                Exception error = assertInstanceOf(IllegalArgumentException.class, called.getException());
                assertTrue(error.getMessage().contains("flowName"), error.getMessage());
            }
            assertEquals(List.of(), gateway.seen);
        }
    }

    @Test
    void anUnknownFlowIsRefusedAtOnce() throws Exception {
        try (Gateway gateway = new Gateway();
                Application application = before(gateway, Map.of())) {
            requireRefusal(application.call("nowhere", "{}"), 404, "unknown-flow");

            assertEquals(1, gateway.seen.size());
        }
    }

    @Test
    void aCallerWithoutARoleIsRefused() throws Exception {
        Map<String, String> stranger = Map.of(
                "asyncengine.username", "stranger",
                "asyncengine.password", Engine.property("stranger.password"));
        try (Application application = application(stranger)) {
            requireRefusal(application.call("echo", "{}"), 403, "no-role");
        }
    }

    @Test
    void aBodyThatIsNoJsonIsRefusedAndStays() throws Exception {
        Exchange called = application.call("echo", "{\"a\":");

        requireRefusal(called, 400, "payload-invalid");
        assertEquals("{\"a\":", called.getMessage().getBody());
    }

    @Test
    void wrongCredentialsAreRefused() throws Exception {
        for (String authentication : List.of("basic", "login")) {
            Map<String, String> wrong =
                    Map.of("asyncengine.password", "wrong", "asyncengine.authentication", authentication);
            try (Application application = application(wrong)) {
                requireRefusal(application.call("echo", "{}"), 401, "not-authenticated");
            }
        }
    }

    @Test
    void aRefusalReachesTheCallersOnException() throws Exception {
        RouteBuilder caller = new RouteBuilder() {
            @Override
            public void configure() {
                onException(Exception.class)
                        .handled(true)
                        .setProperty("caught", exceptionMessage())
                        .setBody(constant("handled"));
                from("direct:careful").setProperty("flowName", constant("nowhere")).to("direct:callAsyncEngine");
            }
        };
        try (Application application = application(Map.of(), caller)) {
            Exchange called = application.send("direct:careful", exchange -> exchange.getMessage().setBody("{}"));

            assertNull(called.getException());
            assertEquals("handled", called.getMessage().getBody());
            assertTrue(called.getProperty("caught", String.class).contains("404"));
        }
    }

    @Test
    void aRedeliveryOfTheCallerStartsTheSameRun() throws Exception {
        RouteBuilder caller = new RouteBuilder() {
            @Override
            public void configure() {
                errorHandler(defaultErrorHandler().maximumRedeliveries(2).redeliveryDelay(1));
                from("direct:stubborn").setProperty("flowName", constant("echo")).to("direct:callAsyncEngine");
            }
        };
        try (Gateway gateway = new Gateway()) {
            Map<String, String> properties = Map.of("asyncengine.url", gateway.url(), "asyncengine.retries", "0");
            try (Application application = application(properties, caller)) {
                gateway.faults.add(Fault.ANSWER_LOST);

                Exchange called =
                        application.send("direct:stubborn", exchange -> exchange.getMessage().setBody("{\"n\":1}"));

                assertEquals(Engine.read("{\"n\":1}"), payload(called));
                assertEquals(List.of(0, 202), gateway.seen.stream().map(Seen::status).toList());
                assertEquals(key(gateway, 0), key(gateway, 1));
            }
        }
    }

    // --- several starts of one message ---------------------------------------------------------

    private static final RouteBuilder SEVERAL = new RouteBuilder() {
        @Override
        public void configure() {
            from("direct:split").setProperty("flowName", constant("echo"))
                    .split(body().tokenize(" ")).to("direct:callAsyncEngine");
            from("direct:parallel").setProperty("flowName", constant("echo"))
                    .split(body().tokenize(" ")).parallelProcessing().to("direct:callAsyncEngine");
            from("direct:nested").setProperty("flowName", constant("echo"))
                    .split(body().tokenize(";")).split(body().tokenize(" ")).to("direct:callAsyncEngine");
            from("direct:loop").setProperty("flowName", constant("echo"))
                    .loop(5).copy().to("direct:callAsyncEngine");
            from("direct:multicast").setProperty("flowName", constant("echo"))
                    .multicast().to("direct:callAsyncEngine", "direct:again");
            from("direct:again").to("direct:callAsyncEngine");
            from("direct:recipients").setProperty("flowName", constant("echo"))
                    .recipientList(constant("direct:callAsyncEngine,direct:again"));
            from("direct:after-failure").setProperty("flowName", constant("echo"))
                    .doTry().to("direct:callAsyncEngine").doCatch(Exception.class).end()
                    .split(body().tokenize(" ")).to("direct:callAsyncEngine");
            from("direct:own-keys").setProperty("flowName", constant("echo"))
                    .split(body().tokenize(" "))
                    .setProperty(
                            "idempotencyKey",
                            simple("${header.Idempotency-Key}-${exchangeProperty.CamelSplitIndex}"))
                    .to("direct:callAsyncEngine");
        }
    };

    private static Exchange sendWithKey(Application application, String uri, String body, String key) {
        return application.send(uri, exchange -> {
            exchange.getMessage().setHeader("Idempotency-Key", key);
            exchange.getMessage().setBody(body);
        });
    }

    private static void requireStarts(Gateway gateway, int count) {
        List<Seen> good = gateway.seen.stream().filter(seen -> seen.status() == 202).toList();
        assertEquals(count, good.size());
        assertEquals(count, good.stream().map(seen -> seen.header("Idempotency-Key")).distinct().count());
    }

    @Test
    void anIncomingKeyDoesNotMakeOneRunOfTheParts() throws Exception {
        Map<String, Integer> startsByBody = Map.of("{} {} {} {} {}", 5, "{} {\"a\":1} {\"a\":2}", 3);
        for (String route : List.of("direct:split", "direct:parallel", "direct:nested")) {
            for (Map.Entry<String, Integer> each : startsByBody.entrySet()) {
                try (Gateway gateway = new Gateway();
                        Application application =
                                new Application(this::addPipes, clerk(gateway, Map.of()), SEVERAL)) {
                    assertNull(sendWithKey(application, route, each.getKey(), "from outside").getException());

                    requireStarts(gateway, each.getValue());
                }
            }
        }
    }

    @Test
    void anIncomingKeyDoesNotMakeOneRunOfTheSamePartsOfSeveralParts() throws Exception {
        try (Gateway gateway = new Gateway();
                Application application = new Application(this::addPipes, clerk(gateway, Map.of()), SEVERAL)) {
            Exchange called = sendWithKey(application, "direct:nested", "{} {};{} {};{\"a\":1}", "from outside");

            assertNull(called.getException());
            requireStarts(gateway, 5);
        }
    }

    @Test
    void anIncomingKeyDoesNotMakeOneRunOfRepeatedSteps() throws Exception {
        Map<String, Integer> startsByRoute =
                Map.of("direct:loop", 5, "direct:multicast", 2, "direct:recipients", 2);
        for (Map.Entry<String, Integer> each : startsByRoute.entrySet()) {
            try (Gateway gateway = new Gateway();
                    Application application =
                            new Application(this::addPipes, clerk(gateway, Map.of()), SEVERAL)) {
                assertNull(sendWithKey(application, each.getKey(), "{}", "from outside").getException());

                requireStarts(gateway, each.getValue());
            }
        }
    }

    @Test
    void aKeyThatWasMadeForAStartThatFailedIsNotThatOfTheParts() throws Exception {
        try (Gateway gateway = new Gateway();
                Application application = new Application(
                        this::addPipes, clerk(gateway, Map.of("asyncengine.retries", "0")), SEVERAL)) {
            gateway.faults.add(Fault.answering(503, null));

            Exchange called = application.send(
                    "direct:after-failure", exchange -> exchange.getMessage().setBody("{} {} {}"));

            assertNull(called.getException());
            requireStarts(gateway, 3);
        }
    }

    @Test
    void theHeaderNamesEachFlowsStartOfAnExchange() throws Exception {
        RouteBuilder caller = new RouteBuilder() {
            @Override
            public void configure() {
                from("direct:twice")
                        .setProperty("flowName", constant("echo"))
                        .to("direct:callAsyncEngine")
                        .to("direct:awaitAsyncEngine")
                        .setProperty("flowName", constant("result"))
                        .setBody(constant("{\"result\":1}"))
                        .to("direct:callAsyncEngine");
            }
        };
        try (Gateway gateway = new Gateway();
                Application application = new Application(this::addPipes,
                        clerk(gateway, Map.of("asyncengine.keyFromHeader", "true")), caller)) {
            String key = "twice of " + language() + " " + System.nanoTime();

            assertNull(sendWithKey(application, "direct:twice", "{}", key).getException());

            List<String> keys = gateway.seen.stream()
                    .filter(seen -> seen.status() == 202)
                    .map(seen -> seen.header("Idempotency-Key"))
                    .toList();
            assertEquals(List.of(key + " > echo", key + " > result"), keys);
        }
    }

    @Test
    void partsWithKeysOfTheirOwnAreSafeToRepeat() throws Exception {
        try (Gateway gateway = new Gateway();
                Application application = new Application(this::addPipes, clerk(gateway, Map.of()), SEVERAL)) {
            String key = "own keys of " + language() + " " + System.nanoTime();
            for (int times = 0; times < 2; times++) {
                Exchange called = sendWithKey(application, "direct:own-keys", "{} {} {\"a\":1}", key);
                assertNull(called.getException());
            }

            List<String> keys = gateway.seen.stream().map(seen -> seen.header("Idempotency-Key")).toList();
            assertEquals(6, keys.size());
            assertEquals(List.of(key + "-0", key + "-1", key + "-2"), keys.subList(0, 3));
            assertEquals(keys.subList(0, 3), keys.subList(3, 6));
        }
    }

    private static Map<String, String> clerk(Gateway gateway, Map<String, String> more) {
        Map<String, String> all = new HashMap<>(Map.of(
                "asyncengine.url", gateway.url(),
                "asyncengine.username", "clerk",
                "asyncengine.password", Engine.property("clerk.password"),
                "asyncengine.retryDelay", "100"));
        all.putAll(more);
        return all;
    }

    // --- trying again --------------------------------------------------------------------------

    @Test
    void aStartBeyondTheRateOfItsFlowIsTriedAgainWhenTheEngineSaysSo() throws Exception {
        String flow = "rated-" + language();
        try (Gateway gateway = new Gateway();
                Application application =
                        before(gateway, Map.of("asyncengine.retryDelay", "1", "asyncengine.retries", "1"))) {
            assertNull(application.call(flow, "{\"n\":1}").getException());

            Exchange called = application.call(flow, "{\"n\":2}");

            assertEquals(Engine.read("{\"n\":2}"), payload(called));
            assertEquals(List.of(202, 429, 202), gateway.seen.stream().map(Seen::status).toList());
            // The delay that was configured is a thousandth of the least Retry-After.
            assertTrue(gateway.between(1, 2).toMillis() >= 1000, gateway.between(1, 2).toString());
            assertEquals(key(gateway, 1), key(gateway, 2));
            assertNotEquals(key(gateway, 0), key(gateway, 1));
        }
    }

    @Test
    void aQueueThatIsFullAndPausedIsReportedAtOnceForItAsksForMoreTimeThanThereIs() throws Exception {
        String flow = "full-" + language();
        Engine.pause(flow);
        try (Gateway gateway = new Gateway();
                Application application = before(gateway, Map.of())) {
            assertNull(application.call(flow, "{}").getException());

            requireRefusal(application.call(flow, "{}"), 429, "queue-full");

            assertEquals(List.of(202, 429), gateway.seen.stream().map(Seen::status).toList());
        }
    }

    @Test
    void aLongerRetryAfterThanAllowedIsNotWaitedFor() throws Exception {
        try (Gateway gateway = new Gateway();
                Application application = before(gateway, Map.of())) {
            gateway.faults.add(Fault.answering(503, "31"));

            Exchange called = application.call("echo", "{}");

            assertEquals(503, statusOf(called.getException()));
            assertEquals(1, gateway.seen.size());
        }
    }

    @Test
    void aLostAnswerAndAGatewayWithoutEngineAreTriedAgainWithGrowingDelays() throws Exception {
        try (Gateway gateway = new Gateway();
                Application application = before(gateway, Map.of("asyncengine.retryDelay", "200"))) {
            int before = Engine.runs("restart-" + language() + "-once");
            gateway.faults.addAll(List.of(
                    Fault.ANSWER_LOST, Fault.answering(502, null), Fault.answering(503, "1"), Fault.ANSWER_LOST));

            Exchange called = application.call("restart-" + language() + "-once", "{\"n\":1}");

            assertEquals(Engine.read("{\"n\":1}"), payload(called));
            assertEquals(List.of(0, 502, 503, 0, 202), gateway.seen.stream().map(Seen::status).toList());
            assertEquals(1, gateway.seen.stream().map(seen -> seen.header("Idempotency-Key")).distinct().count());
            assertEquals(before + 1, Engine.runs("restart-" + language() + "-once"));
            assertTrue(gateway.between(0, 1).toMillis() >= 200, gateway.between(0, 1).toString());
            assertTrue(gateway.between(1, 2).toMillis() >= 400, gateway.between(1, 2).toString());
            assertTrue(gateway.between(2, 3).toMillis() >= 1000, gateway.between(2, 3).toString());
            assertTrue(gateway.between(3, 4).toMillis() >= 1600, gateway.between(3, 4).toString());
        }
    }

    @Test
    void anEngineThatIsNotThereIsAClearError() throws Exception {
        Map<String, String> nowhere = Map.of("asyncengine.url", "http://127.0.0.1:1", "asyncengine.retries", "1");
        try (Application application = application(nowhere)) {
            Exception error = application.call("echo", "{}").getException();

            assertNotNull(error);
            assertTrue(error.getMessage().contains("127.0.0.1:1"), error.getMessage());
            Throwable cause = error;
            while (cause != null && !(cause instanceof IOException)) {
                cause = cause.getCause();
            }
            assertNotNull(cause);
        }
    }

    @Test
    void fiveHundredCallsAreFiveHundredRunsThoughTheEngineIsRestarted() throws Exception {
        AtomicInteger done = new AtomicInteger();
        Set<String> ids = new HashSet<>();
        ExecutorService callers = Executors.newFixedThreadPool(8);
        try (Application application = application(Map.of("asyncengine.retryDelay", "500"))) {
            List<Callable<Exchange>> calls = IntStream.range(0, CALLS)
                    .mapToObj(n -> (Callable<Exchange>) () -> {
                        Exchange called = application.call("restart-" + language(), Map.of("n", n));
                        if (done.incrementAndGet() == RESTART_AFTER) {
                            Files.createFile(Engine.DIRECTORY.resolve("restart-" + language()));
                        }
                        return called;
                    })
                    .toList();

            for (Future<Exchange> call : callers.invokeAll(calls)) {
                assertNull(call.get().getException());
                ids.add(call.get().getMessage().getHeader(Engine.CORRELATION_ID, String.class));
            }
        } finally {
            callers.shutdownNow();
        }

        assertEquals(CALLS, ids.size());
        assertTrue(Files.exists(Engine.DIRECTORY.resolve("restarted-" + language())), "the engine was not restarted");
    }

    private static String key(Gateway gateway, int place) {
        return gateway.seen.get(place).header("Idempotency-Key");
    }

    // --- idempotency keys ----------------------------------------------------------------------

    @Test
    void theExchangesOwnKeyNamesTheStart() throws Exception {
        String key = "order-" + language() + "-" + System.nanoTime();

        Exchange first = application.send("direct:callAsyncEngine", exchange -> {
            exchange.setProperty("flowName", "echo");
            exchange.setProperty("idempotencyKey", key);
            exchange.getMessage().setBody("{\"n\":1}");
        });
        Exchange property = application.send("direct:callAsyncEngine", exchange -> {
            exchange.setProperty("flowName", "echo");
            exchange.setProperty("idempotencyKey", key);
            exchange.getMessage().setHeader("Idempotency-Key", "another");
            exchange.getMessage().setBody("{\"n\":1}");
        });
        Exchange other = application.send("direct:callAsyncEngine", exchange -> {
            exchange.setProperty("flowName", "echo");
            exchange.setProperty("idempotencyKey", key);
            exchange.getMessage().setBody("{\"n\":2}");
        });

        assertNull(first.getException());
        assertNull(property.getException());
        assertEquals(
                first.getMessage().getHeader(Engine.CORRELATION_ID),
                property.getMessage().getHeader(Engine.CORRELATION_ID));
        requireRefusal(other, 409, "idempotency-conflict");
    }

    @Test
    void twoCallsOfOneExchangeAreTwoRuns() throws Exception {
        RouteBuilder twice = new RouteBuilder() {
            @Override
            public void configure() {
                from("direct:twice")
                        .setProperty("flowName", constant("echo"))
                        .to("direct:callAsyncEngine")
                        .setProperty("first", header(Engine.CORRELATION_ID))
                        .setBody(constant("{}"))
                        .to("direct:callAsyncEngine");
            }
        };
        try (Application application = application(Map.of(), twice)) {
            Exchange called = application.send("direct:twice", exchange -> exchange.getMessage().setBody("{}"));

            assertNull(called.getException());
            assertNotEquals(called.getProperty("first"), called.getMessage().getHeader(Engine.CORRELATION_ID));
        }
    }

    // --- credentials ---------------------------------------------------------------------------

    @Test
    void aGivenTokenIsSent() throws Exception {
        String token = Engine.token();
        try (Gateway gateway = new Gateway();
                Application application = before(gateway, Map.of("asyncengine.token", token))) {
            assertNull(application.call("echo", "{}").getException());

            assertEquals("Bearer " + token, gateway.seen.get(0).header("Authorization"));
        }
    }

    @Test
    void aFetchedTokenIsKeptAndReplacedWhenItIsRefused() throws Exception {
        try (Gateway gateway = new Gateway();
                Application application = before(gateway, Map.of("asyncengine.authentication", "login"))) {
            assertNull(application.call("echo", "{}").getException());
            assertNull(application.call("echo", "{}").getException());
            Engine.revoke(gateway.seen.get(1).header("Authorization"));

            assertNull(application.call("echo", "{}").getException());

            List<String> tokens = gateway.seen.stream().map(seen -> seen.header("Authorization")).toList();
            assertEquals(List.of(200, 202, 202, 401, 200, 202), gateway.seen.stream().map(Seen::status).toList());
            assertTrue(tokens.get(0).startsWith("Basic ") && tokens.get(4).startsWith("Basic "));
            assertEquals(tokens.get(1), tokens.get(2));
            assertEquals(tokens.get(1), tokens.get(3));
            assertTrue(tokens.get(5).startsWith("Bearer "));
            assertNotEquals(tokens.get(1), tokens.get(5));
        }
    }

    // --- waiting -------------------------------------------------------------------------------

    @Test
    void theResultOfARunBecomesTheBody() throws Exception {
        RouteBuilder caller = new RouteBuilder() {
            @Override
            public void configure() {
                from("direct:patient")
                        .setProperty("flowName", simple("${header.flow}"))
                        .to("direct:callAsyncEngine", "direct:awaitAsyncEngine");
            }
        };
        try (Application application = application(Map.of(), caller)) {
            Map<String, String> results = Map.of(
                    "{\"result\":{\"a\":[1,\"ü\",null,1.5]}}", "{\"a\":[1,\"ü\",null,1.5]}",
                    "{\"result\":\"a \\\"text\\\"\"}", "\"a \\\"text\\\"\"",
                    "{\"result\":12345678901234567890}", "12345678901234567890",
                    "{\"result\":null}", "null");
            for (Map.Entry<String, String> each : results.entrySet()) {
                Exchange called = application.send("direct:patient", exchange -> {
                    exchange.getMessage().setHeader("flow", "result");
                    exchange.getMessage().setBody(each.getKey());
                });

                assertNull(called.getException());
                String body = assertInstanceOf(String.class, called.getMessage().getBody());
                assertEquals(Engine.read(each.getValue()), Engine.read(body));
                assertEquals("result", called.getMessage().getHeader("flow"));
                assertNotNull(called.getMessage().getHeader(Engine.CORRELATION_ID));
            }
        }
    }

    @Test
    void aRunThatFailsIsAnErrorThatSaysWhy() {
        Exchange called = application.call("bad", "{}");

        Exception error = assertThrows(Exception.class, () -> application.await(called));

        assertTrue(error.getMessage().contains("FAILED"), error.getMessage());
        assertTrue(error.getMessage().contains("no luck"), error.getMessage());
    }

    @Test
    void aRunThatTakesTooLongIsATimeout() throws Exception {
        try (Application application = application(Map.of("asyncengine.awaitTimeout", "1000"))) {
            Exchange called = application.call("full-" + language() + "-paused", "{}");
            assertNull(called.getException());
            long begin = System.nanoTime();

            Exception error = assertThrows(TimeoutException.class, () -> application.await(called));

            assertTrue(error.getMessage().contains("1000 ms"), error.getMessage());
            assertTrue(Duration.ofNanos(System.nanoTime() - begin).toMillis() < 20_000);
        }
    }

    @Test
    void waitingForNoRunOrAnUnknownOneIsAnError() {
        Exchange without = application.send("direct:awaitAsyncEngine", exchange -> {});
        Exchange unknown = application.send("direct:awaitAsyncEngine", exchange -> exchange.getMessage()
                .setHeader(Engine.CORRELATION_ID, "01a20d2c-0000-75af-9ef5-05e89dec2f4f"));

        Exception missing = assertInstanceOf(IllegalArgumentException.class, without.getException());
        assertTrue(missing.getMessage().contains(Engine.CORRELATION_ID), missing.getMessage());
        assertEquals(404, statusOf(unknown.getException()));
    }
}
