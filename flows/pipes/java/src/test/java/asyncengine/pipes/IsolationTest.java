package asyncengine.pipes;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import asyncengine.pipes.StubEngine.Fault;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.camel.Exchange;
import org.apache.camel.builder.RouteBuilder;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** A call before whatever makes copies of an exchange or goes on after a failure. */
class IsolationTest extends ComponentContract {

    private static final String CALL = "direct:callAsyncEngine";
    private static final String AWAIT = "direct:awaitAsyncEngine";

    private static Exchange send(Application application, Object body) {
        return application.send("direct:in", exchange -> {
            exchange.setProperty("flowName", "f");
            exchange.getMessage().setBody(body);
        });
    }

    private List<String> payloads() {
        return engine.runs.values().stream().map(StubEngine.Run::payload).sorted().toList();
    }

    @ParameterizedTest
    @MethodSource("forms")
    void theExchangeIsTheSameButForWhatIsDocumented(Form form) throws Exception {
        try (Application application = application(form, null)) {
            for (String body : List.of("{\"n\":1}", "fails")) {
                if (body.equals("fails")) {
                    engine.refused = seen -> true;
                }
                Map<String, Object> headers = new HashMap<>(Map.of(
                        "who", "main", "Content-Type", "text/plain", "CamelCharsetName", "UTF-8", "Authorization", "x"));
                Map<String, Object> properties = new HashMap<>();
                Exception caught = new IllegalStateException("of the caller");

                Exchange called = application.send(CALL, exchange -> {
                    exchange.setProperty("flowName", "f");
                    exchange.setProperty("mine", 1);
                    exchange.setProperty(Exchange.LOOP_INDEX, 7);
                    exchange.setProperty(Exchange.EXCEPTION_CAUGHT, caught);
                    exchange.setVariable("variable", "mine");
                    exchange.getMessage().setHeaders(new HashMap<>(headers));
                    exchange.getMessage().setBody(body);
                    properties.putAll(exchange.getAllProperties());
                });

                Map<String, Object> headersAfter = new HashMap<>(called.getMessage().getHeaders());
                Map<String, Object> propertiesAfter = new HashMap<>(called.getAllProperties());
                boolean isGood = called.getException() == null;
                assertEquals(!body.equals("fails"), isGood);
                assertEquals(isGood, headersAfter.remove(Engine.CORRELATION_ID) != null);
                assertEquals(isGood, propertiesAfter.remove(Engine.CORRELATION_ID) != null);
                // Camel itself notes the last endpoint of a route, and where a failure was.
                propertiesAfter.keySet().removeAll(Set.of(Exchange.TO_ENDPOINT, Exchange.FAILURE_ENDPOINT, Exchange.FAILURE_ROUTE_ID));
                properties.keySet().removeAll(Set.of(Exchange.TO_ENDPOINT));
                assertEquals(headers, headersAfter);
                assertEquals(properties, propertiesAfter);
                assertEquals(Map.of("variable", "mine"), called.getVariables());
            }
        }
    }

    @ParameterizedTest
    @MethodSource("forms")
    void aWireTapAfterACallHasItsOwnMessage(Form form) throws Exception {
        Map<String, Object> audits = new ConcurrentHashMap<>();
        CountDownLatch audited = new CountDownLatch(20);
        RouteBuilder routes = routes(route -> {
            route.from("direct:in").setHeader("who", route.constant("main")).to(CALL).wireTap("direct:audit").to(AWAIT);
            route.from("direct:audit").setHeader("who", route.constant("audit"))
                    .setBody(route.simple("{\"audit\":\"${header.CamelAsyncEngineCorrelationId}\"}"))
                    .to(CALL, AWAIT)
                    .process(exchange -> {
                        audits.put(exchange.getMessage().getBody(String.class), exchange.getMessage().getHeader("who"));
                        audited.countDown();
                    });
        });
        try (Application application = application(form, routes)) {
            for (int n = 0; n < 20; n++) {
                Exchange called = send(application, "{\"n\":" + n + "}");

                assertNull(called.getException());
                assertEquals("main", called.getMessage().getHeader("who"));
                assertEquals("{\"n\":" + n + "}", called.getMessage().getBody());
            }
            assertTrue(audited.await(120, TimeUnit.SECONDS));
            assertEquals(Set.of("audit"), new HashSet<>(audits.values()));
            assertEquals(40, engine.runs.size());
        }
    }

    @ParameterizedTest
    @MethodSource("forms")
    void aParallelMulticastAfterACallMixesNothingUp(Form form) throws Exception {
        List<String> wrong = Collections.synchronizedList(new java.util.ArrayList<>());
        RouteBuilder routes = routes(route -> {
            String[] targets = IntStream.range(0, 40).mapToObj(n -> "direct:m" + n).toArray(String[]::new);
            route.from("direct:in").to(CALL).multicast().parallelProcessing().to(targets);
            for (int n = 0; n < targets.length; n++) {
                String body = "{\"m\":" + n + "}";
                route.from(targets[n]).setBody(route.constant(body)).to(CALL).to(AWAIT).process(exchange -> {
                    if (!body.equals(exchange.getMessage().getBody())) {
                        wrong.add(body + " got " + exchange.getMessage().getBody());
                    }
                });
            }
        });
        try (Application application = application(form, routes)) {
            Exchange called = send(application, "{\"n\":0}");

            assertNull(called.getException());
            assertEquals(List.of(), wrong);
            assertEquals(41, engine.runs.size());
        }
    }

    @ParameterizedTest
    @MethodSource("forms")
    void aParallelSplitWithRefusalsAndRedeliveriesStartsEachLineOnce(Form form) throws Exception {
        int lines = 3000;
        Map<String, String> dead = new ConcurrentHashMap<>();
        Set<String> lost = ConcurrentHashMap.newKeySet();
        Map<String, String> done = new ConcurrentHashMap<>();
        RouteBuilder routes = routes(route -> {
            route.errorHandler(route.deadLetterChannel("direct:dead").maximumRedeliveries(2).redeliveryDelay(1));
            route.from("direct:in").to(CALL).setBody(route.exchangeProperty("lines"))
                    .split(route.body()).parallelProcessing().setHeader("line", route.body())
                    .to(CALL).to(AWAIT)
                    .process(exchange -> done.put(
                            exchange.getMessage().getHeader("line", String.class), exchange.getMessage().getBody(String.class)))
                    .end();
            route.from("direct:dead").process(exchange -> dead.put(
                    exchange.getMessage().getHeader("line", String.class), exchange.getMessage().getBody(String.class)));
        });
        // Every tenth line is refused; of every seventh the first answer is lost.
        engine.refused = seen -> number(seen.body()) % 10 == 9;
        List<String> all = IntStream.range(0, lines).mapToObj(n -> "{\"n\":" + n + "}").toList();
        try (Application application = application(form, routes, "asyncengine.retries", "0")) {
            IntStream.range(0, 100_000).forEach(n -> engine.faults.add((engine, exchange, seen) -> {
                boolean isLost = seen.path().endsWith("/start") && number(seen.body()) % 7 == 3
                        && number(seen.body()) % 10 != 9 && lost.add(seen.body());
                return isLost && Fault.lost().happens(engine, exchange, seen);
            }));
            Exchange called = application.send("direct:in", exchange -> {
                exchange.setProperty("flowName", "f");
                exchange.setProperty("lines", all);
                exchange.getMessage().setBody("{\"n\":-1}");
            });

            assertNull(called.getException());
            assertEquals(lines - lines / 10 + 1, engine.runs.size());
            assertEquals(lines / 10, dead.size());
            dead.forEach((line, body) -> assertEquals(line, body));
            assertEquals(lines - lines / 10, done.size());
            done.forEach((line, body) -> assertEquals(line, body));
            assertTrue(lost.size() > 300);
            assertEquals(lost.size(), engine.replayed.get());
        }
    }

    private static int number(String body) {
        return Integer.parseInt(body.replaceAll("[^0-9]", ""));
    }

    @ParameterizedTest
    @MethodSource("forms")
    void sedaWithEightConsumersMixesNothingUp(Form form) throws Exception {
        Map<String, String> done = new ConcurrentHashMap<>();
        CountDownLatch all = new CountDownLatch(200);
        RouteBuilder routes = routes(route -> {
            route.from("direct:in").to(CALL).split(route.exchangeProperty("lines")).to("seda:work").end();
            route.from("seda:work?concurrentConsumers=8").setHeader("line", route.body()).to(CALL, AWAIT).process(exchange -> {
                done.put(exchange.getMessage().getHeader("line", String.class), exchange.getMessage().getBody(String.class));
                all.countDown();
            });
        });
        try (Application application = application(form, routes)) {
            application.send("direct:in", exchange -> {
                exchange.setProperty("flowName", "f");
                exchange.setProperty("lines", IntStream.range(0, 200).mapToObj(n -> "{\"n\":" + n + "}").toList());
                exchange.getMessage().setBody("{}");
            });

            assertTrue(all.await(120, TimeUnit.SECONDS));
            assertEquals(200, done.size());
            done.forEach((line, body) -> assertEquals(line, body));
            assertEquals(201, engine.runs.size());
        }
    }

    @ParameterizedTest
    @MethodSource("forms")
    void aLoopCountsOn(Form form) throws Exception {
        List<Object> indexes = Collections.synchronizedList(new java.util.ArrayList<>());
        RouteBuilder routes = routes(route -> {
            route.from("direct:in").to(CALL)
                    .loop(3).setBody(route.simple("{\"n\":\"${exchangeProperty.CamelLoopIndex}\"}")).to(CALL)
                    .process(exchange -> indexes.add(exchange.getProperty(Exchange.LOOP_INDEX))).end()
                    .loopDoWhile(route.simple("${exchangeProperty.CamelLoopIndex} < 2"))
                    .setBody(route.constant("{}")).to(CALL).end();
        });
        try (Application application = application(form, routes)) {
            assertNull(send(application, "{}").getException());

            assertEquals(List.of(0, 1, 2), indexes);
            assertEquals(List.of("{\"n\":\"0\"}", "{\"n\":\"1\"}", "{\"n\":\"2\"}"),
                    payloads().stream().filter(payload -> payload.contains("n")).toList());
        }
    }

    @ParameterizedTest
    @MethodSource("forms")
    void afterALostAnswerTheNextItemsStartToo(Form form) throws Exception {
        for (boolean areEqual : new boolean[] {false, true}) {
            engine.runs.clear();
            RouteBuilder with = routes(route -> route.from("direct:in")
                    .loop(3)
                    .setBody(areEqual ? route.constant("{\"n\":1}") : route.simple("{\"n\":${exchangeProperty.CamelLoopIndex}}"))
                    .doTry().to(CALL).doCatch(Exception.class).end());
            try (Application application = application(form, with, "asyncengine.retries", "0")) {
                engine.faults.add(Fault.lost());

                assertNull(send(application, "{}").getException());

                assertEquals(3, engine.runs.size());
            }
        }
    }

    @ParameterizedTest
    @MethodSource("forms")
    void aRefusedCallAndThenASplitAreThreeRuns(Form form) throws Exception {
        RouteBuilder routes = routes(route -> route.from("direct:in")
                .doTry().to(CALL).doCatch(Exception.class).end()
                .split(route.constant(List.of("{\"p\":1}", "{\"p\":1}", "{\"p\":2}"))).to(CALL).end());
        try (Application application = application(form, routes, "asyncengine.retries", "0")) {
            engine.faults.add(Fault.answer(503, ""));

            assertNull(send(application, "{\"p\":1}").getException());

            assertEquals(List.of("{\"p\":1}", "{\"p\":1}", "{\"p\":2}"), payloads());
        }
    }

    @ParameterizedTest
    @MethodSource("forms")
    void anIncomingHeaderGovernsNothingUnlessItIsWanted(Form form) throws Exception {
        RouteBuilder routes = routes(route -> route.from("direct:in").to(CALL)
                .split(route.constant(List.of("{\"p\":1}", "{\"p\":1}", "{\"p\":2}"))).to(CALL).end());
        for (String isWanted : List.of("false", "true")) {
            engine.runs.clear();
            Set<String> keys = null;
            for (int times = 0; times < 2; times++) {
                engine.seen.clear();
                try (Application application = application(form, routes, "asyncengine.keyFromHeader", isWanted)) {
                    Exchange called = application.send("direct:in", exchange -> {
                        exchange.setProperty("flowName", "f");
                        exchange.getMessage().setHeader("Idempotency-Key", "from outside");
                        exchange.getMessage().setBody("{}");
                    });

                    assertNull(called.getException());
                    Set<String> now = engine.keys().stream().collect(Collectors.toSet());
                    assertEquals(4, now.size());
                    if (keys != null) {
                        assertEquals(isWanted.equals("true"), keys.equals(now));
                    }
                    keys = now;
                }
            }
            assertEquals(isWanted.equals("true") ? 4 : 8, engine.runs.size());
        }
    }

    @ParameterizedTest
    @MethodSource("forms")
    void aRedeliveryOfTheCallerStartsTheSameRun(Form form) throws Exception {
        RouteBuilder routes = routes(route -> {
            route.errorHandler(route.defaultErrorHandler().maximumRedeliveries(5).redeliveryDelay(1));
            route.from("direct:in").to(CALL).to(CALL);
        });
        try (Application application = application(form, routes, "asyncengine.retries", "0")) {
            engine.faults.addAll(List.of(Fault.lost(), Fault.lost(), (engine, exchange, seen) -> false,
                    Fault.lost(), Fault.answer(503, "")));

            assertNull(send(application, "{}").getException());

            List<String> keys = engine.keys();
            assertEquals(6, keys.size());
            assertEquals(1, new HashSet<>(keys.subList(0, 3)).size());
            assertEquals(1, new HashSet<>(keys.subList(3, 6)).size());
            assertNotEquals(keys.get(0), keys.get(3));
            assertEquals(2, engine.runs.size());
        }
    }

    @ParameterizedTest
    @MethodSource("forms")
    void enrichAndRecipientListMakeRunsOfTheirOwn(Form form) throws Exception {
        RouteBuilder routes = routes(route -> {
            route.from("direct:in").setHeader("who", route.constant("main")).to(CALL)
                    .enrich("direct:other", (original, other) -> {
                        original.setProperty("enriched", other.getMessage().getBody(String.class));
                        return original;
                    })
                    .setProperty("before", route.body())
                    .recipientList(route.constant("direct:a,direct:b")).parallelProcessing().end();
            route.from("direct:other").setHeader("who", route.constant("other"))
                    .setBody(route.constant("{\"other\":1}")).to(CALL, AWAIT);
            route.from("direct:a").setBody(route.constant("{\"a\":1}")).to(CALL, AWAIT);
            route.from("direct:b").setBody(route.constant("{\"b\":1}")).to(CALL, AWAIT);
        });
        try (Application application = application(form, routes)) {
            Exchange called = send(application, "{}");

            assertNull(called.getException());
            assertEquals("main", called.getMessage().getHeader("who"));
            assertEquals("{\"other\":1}", called.getProperty("enriched"));
            assertEquals(List.of("{\"a\":1}", "{\"b\":1}", "{\"other\":1}", "{}"), payloads());
        }
    }
}
