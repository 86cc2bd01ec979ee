package asyncengine.pipes;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import org.apache.camel.Exchange;
import org.apache.camel.ResolveEndpointFailedException;
import org.apache.camel.health.HealthCheck;
import org.apache.camel.health.HealthCheckRegistry;
import org.apache.camel.support.DefaultHeaderFilterStrategy;
import org.junit.jupiter.api.Test;

class ComponentTest extends ComponentContract {

    private static Exchange send(Application application, Object body) {
        return application.send("direct:in", exchange -> exchange.getMessage().setBody(body));
    }

    @Test
    void aFlowOfAnyNameIsStartedAndWaitedFor() throws Exception {
        var routes = routes(route -> {
            route.from("direct:in").to("asyncengine:f?await=true");
            route.from("direct:odd").to("asyncengine:größe%20of x?await=true");
        });
        try (Application application = application(Form.JAVA, routes)) {
            Exchange called = send(application, "{\"n\":1}");
            Exchange odd = application.send("direct:odd", exchange -> exchange.getMessage().setBody("{}"));

            assertEquals("{\"n\":1}", called.getMessage().getBody());
            assertNotNull(called.getMessage().getHeader(Engine.CORRELATION_ID));
            assertNull(odd.getException());
            assertEquals(List.of("f", "größe of x"),
                    engine.starts().stream().map(seen -> seen.query().get("flowName")).toList());
        }
    }

    @Test
    void anAddressWithParametersOfYamlNamesTheFlow() throws Exception {
        String yaml = "- route:\n    from:\n      uri: direct:in\n      steps:\n        - to:\n"
                + "            uri: asyncengine\n            parameters:\n              flowName: f\n              await: true\n";
        try (Application application = application(Form.JAVA, null)) {
            var resource = org.apache.camel.support.ResourceHelper.fromString("in.camel.yaml", yaml);
            org.apache.camel.support.PluginHelper.getRoutesLoader(application.context()).loadRoutes(resource);

            Exchange called = send(application, "{\"n\":1}");

            assertNull(called.getException());
            assertEquals("{\"n\":1}", called.getMessage().getBody());
            assertEquals("f", engine.starts().get(0).query().get("flowName"));
        }
    }

    @Test
    void anOptionThatIsMisspeltIsRefused() {
        var routes = routes(route -> route.from("direct:in").to("asyncengine:f?awiat=true"));

        Exception error = assertThrows(Exception.class, () -> application(Form.JAVA, routes).close());

        Throwable cause = error;
        while (cause != null && !(cause instanceof ResolveEndpointFailedException)) {
            cause = cause.getCause();
        }
        assertTrue(String.valueOf(cause).contains("awiat"), String.valueOf(error));
    }

    @Test
    void twoEnginesAndTwoUsersLiveInOneContext() throws Exception {
        try (StubEngine second = new StubEngine()) {
            var routes = routes(route -> {
                AsyncEngineComponent other = new AsyncEngineComponent();
                other.getConfiguration().setUrl(second.url());
                other.getConfiguration().setToken("other");
                route.getContext().addComponent("otherengine", other);
                route.from("direct:in").to("asyncengine:f").to("otherengine:g")
                        .to("asyncengine:f?username=second&password=RAW(a&b+c )");
            });
            try (Application application = application(Form.JAVA, routes)) {
                assertNull(send(application, "{}").getException());

                assertEquals("Bearer other", second.seen.get(0).headers().getFirst("Authorization"));
                List<String> users = engine.starts().stream()
                        .map(seen -> seen.headers().getFirst("Authorization").substring("Basic ".length()))
                        .map(text -> new String(java.util.Base64.getDecoder().decode(text), StandardCharsets.UTF_8))
                        .toList();
                assertEquals(List.of("clerk:secret", "second:a&b+c "), users);
            }
        }
    }

    @Test
    void headersGoOnlyWhereTheFilterLetsThem() throws Exception {
        DefaultHeaderFilterStrategy filter = new DefaultHeaderFilterStrategy();
        filter.setOutFilterPattern((String) null);
        var routes = routes(route -> {
            route.getContext().getRegistry().bind("filter", filter);
            route.from("direct:in").setHeader("traceparent", route.constant("00-1"))
                    .setHeader("Authorization", route.constant("Bearer mine"))
                    .to("asyncengine:f").to("asyncengine:f?headerFilterStrategy=#filter");
        });
        try (Application application = application(Form.JAVA, routes)) {
            assertNull(send(application, "{}").getException());

            assertNull(engine.seen.get(0).headers().getFirst("traceparent"));
            assertEquals("00-1", engine.seen.get(1).headers().getFirst("traceparent"));
            assertTrue(engine.seen.get(1).headers().getFirst("Authorization").startsWith("Basic "));
        }
    }

    @Test
    void theHealthCheckAsksTheEngine() throws Exception {
        try (Application application = application(Form.JAVA, null)) {
            HealthCheck check = HealthCheckRegistry.get(application.context()).getCheck("asyncengine").orElseThrow();

            assertEquals(HealthCheck.State.UP, check.call().getState());
            engine.close();
            assertEquals(HealthCheck.State.DOWN, check.call().getState());
        }
    }

    @Test
    void startsAndRetriesAreCounted() throws Exception {
        MeterRegistry meters = new SimpleMeterRegistry();
        var routes = routes(route -> {
            route.getContext().getRegistry().bind("meters", MeterRegistry.class, meters);
            route.from("direct:in").to("asyncengine:f?await=true");
        });
        try (Application application = application(Form.JAVA, routes)) {
            engine.faults.add(StubEngine.Fault.answer(502, ""));
            assertNull(send(application, "{}").getException());

            assertEquals(1, meters.get("asyncengine.starts").tags("flow", "f", "outcome", "started").counter().count());
            assertEquals(1, meters.get("asyncengine.retries").tag("reason", "502").counter().count());
            assertEquals(1, meters.get("asyncengine.awaits").tag("outcome", "completed").counter().count());
        }
    }

    // --- batches -------------------------------------------------------------------------------

    private static final org.apache.camel.builder.RouteBuilder BATCH =
            routes(route -> route.from("direct:in").to("asyncengine:f?batch=true"));

    @Test
    void ABatchOfAnyKindBecomesItsIds() throws Exception {
        List<Object> bodies = List.of(
                List.of("{\"n\":0}", Map.of("n", 1)),
                List.<Object>of("{\"n\":0}", "{\n\"n\":1}").iterator(),
                Stream.of("{\"n\":0}", "{\"n\":1}"),
                "{\"n\":0}\n{\"n\":1}\n",
                new ByteArrayInputStream("{\"n\":0}\n{\"n\":1}".getBytes()));
        try (Application application = application(Form.JAVA, BATCH)) {
            for (Object body : bodies) {
                engine.runs.clear();

                Exchange called = send(application, body);

                assertNull(called.getException());
                assertEquals(2, engine.runs.size());
                assertTrue(called.getMessage().getBody(String.class).contains("\"accepted\":2"));
            }
        }
    }

    @Test
    void aBatchIsSentAsItIsRead() throws Exception {
        AtomicInteger arrived = new AtomicInteger();
        engine.onLine = line -> arrived.incrementAndGet();
        int total = 200_000;
        AtomicInteger ahead = new AtomicInteger();
        Iterator<String> lines = IntStream.range(0, total)
                .peek(n -> ahead.accumulateAndGet(n - arrived.get(), Math::max))
                .mapToObj(n -> "{\"n\":" + n + "}")
                .iterator();
        try (Application application = application(Form.JAVA, BATCH)) {
            Exchange called = send(application, lines);

            assertNull(called.getException());
            assertEquals(total, engine.runs.size());
            assertTrue(ahead.get() < total, "all of it was read before the engine had a line");
        }
    }

    @Test
    void aPayloadThatIsWrongIsNamedByItsPlace() throws Exception {
        try (Application application = application(Form.JAVA, BATCH)) {
            Exchange called = send(application, List.of("{}", new Object()));

            Exception error = assertInstanceOf(IllegalArgumentException.class, called.getException());
            assertTrue(error.getMessage().contains("Payload 2"), error.getMessage());
        }
    }

    @Test
    void aBatchThatComesOnceIsNotSentAgainWhereItsTokenIsRefused() throws Exception {
        List<Object> bodies = List.of(
                List.of("{}", "{}").iterator(), Stream.of("{}", "{}"), new ByteArrayInputStream("{}\n{}".getBytes()));
        for (Object body : bodies) {
            engine.faults.addAll(List.of((engine, exchange, seen) -> false, StubEngine.Fault.answer(401, "")));
            try (Application application = application(Form.JAVA, BATCH, "asyncengine.authentication", "login")) {
                Exchange called = send(application, body);

                AsyncEngineException error = assertInstanceOf(AsyncEngineException.class, called.getException());
                assertEquals(401, error.getStatusCode());
                assertEquals(0, engine.runs.size());
                assertNull(send(application, List.of("{}").iterator()).getException());
            }
            engine.runs.clear();
        }
    }

    @Test
    void aBatchThatComesAgainIsSentWholeWithAFreshToken() throws Exception {
        for (Object body : List.of(List.of("{}", "{}"), "{}\n{}", "{}\n{}".getBytes(), new Object[] {"{}", "{}"})) {
            engine.faults.addAll(List.of((engine, exchange, seen) -> false, StubEngine.Fault.answer(401, "")));
            try (Application application = application(Form.JAVA, BATCH, "asyncengine.authentication", "login")) {
                assertNull(send(application, body).getException());

                assertEquals(2, engine.runs.size());
            }
            engine.runs.clear();
        }
    }

    @Test
    void aBatchIsTriedAgainWhereNothingOfItWasSent() throws Exception {
        String url = engine.url();
        engine.close();
        try (Application application = application(Form.JAVA, BATCH, "asyncengine.startTimeout", "500")) {
            Exchange called = send(application, List.of("{}").iterator());

            AsyncEngineException error = assertInstanceOf(AsyncEngineException.class, called.getException());
            assertTrue(error.getMessage().contains("500 ms"), error.getMessage());
        }
    }
}
