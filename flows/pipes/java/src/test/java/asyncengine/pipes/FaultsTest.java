package asyncengine.pipes;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import asyncengine.pipes.StubEngine.Fault;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.List;
import java.util.stream.Stream;
import org.apache.camel.Exchange;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** The same table of faults for the three forms. */
class FaultsTest extends ComponentContract {

    private static final Duration BOUND = Duration.ofSeconds(60);

    /** Faults, properties, whether a run is made, how many requests for a start come, part of the error. */
    record Case(String name, List<Fault> faults, List<String> properties, boolean heals, int starts, String error) {
        @Override
        public String toString() {
            return name;
        }
    }

    private static String inASecond() {
        return DateTimeFormatter.RFC_1123_DATE_TIME.format(ZonedDateTime.now(ZoneOffset.UTC).plusSeconds(2));
    }

    private static final String HTML = "<html>welcome</html>";

    static Stream<Arguments> table() {
        List<Case> cases = List.of(
                new Case("nothing goes wrong", List.of(), List.of(), true, 1, ""),
                new Case("502", List.of(Fault.answer(502, HTML)), List.of(), true, 2, ""),
                new Case("503 with seconds", List.of(Fault.answer(503, "", "Retry-After", "0")), List.of(), true, 2, ""),
                new Case("504", List.of(Fault.answer(504, "{}")), List.of(), true, 2, ""),
                new Case("429 with a date",
                        List.of((engine, exchange, seen) -> Fault.answer(429, "", "Retry-After", inASecond())
                                .happens(engine, exchange, seen)),
                        List.of(), true, 2, ""),
                new Case("502 with a date of the past",
                        List.of(Fault.answer(502, "", "Retry-After", "Fri, 01 Jan 2021 00:00:00 GMT")),
                        List.of(), true, 2, ""),
                new Case("a Retry-After that is nonsense",
                        List.of(Fault.answer(503, "", "Retry-After", "soon")), List.of(), true, 2, ""),
                new Case("waits for Retry-After do not use up retries",
                        java.util.Collections.nCopies(7, Fault.answer(429, "", "Retry-After", "0")),
                        List.of("asyncengine.retries", "1"), true, 8, ""),
                new Case("a lost answer", List.of(Fault.lost()), List.of(), true, 2, ""),
                new Case("an answer that stalls after its headers", List.of(Fault.stalled()),
                        List.of("asyncengine.responseTimeout", "2000"), true, 2, ""),
                new Case("no answer at all", List.of(Fault.silent()),
                        List.of("asyncengine.responseTimeout", "2000"), true, 2, ""),
                new Case("no retry is allowed", List.of(Fault.answer(503, "", "Retry-After", "0")),
                        List.of("asyncengine.retries", "0"), false, 1, "503"),
                new Case("one retry is allowed", List.of(Fault.answer(502, ""), Fault.answer(502, "")),
                        List.of("asyncengine.retries", "1"), false, 2, "502"),
                new Case("the time is over", java.util.Collections.nCopies(500, Fault.answer(503, "")),
                        List.of("asyncengine.startTimeout", "300", "asyncengine.retryDelay", "250"), false, -1, "300 ms"),
                new Case("silence until the time is over", List.of(Fault.silent()),
                        List.of("asyncengine.startTimeout", "2000"), false, 1, "2000 ms"),
                new Case("a longer Retry-After than allowed", List.of(Fault.answer(503, "", "Retry-After", "31")),
                        List.of(), false, 1, "503"),
                new Case("a longer Retry-After than there is time", List.of(Fault.answer(503, "", "Retry-After", "9")),
                        List.of("asyncengine.startTimeout", "8000"), false, 1, "503"),
                new Case("a page with status 200", List.of(Fault.answer(200, HTML)), List.of(), false, 1, "without a run"),
                new Case("JSON without a run", List.of(Fault.answer(202, "{\"ok\":true}")), List.of(), false, 1,
                        "without a run"),
                new Case("a run that is null", List.of(Fault.answer(202, "{\"correlationId\":null}")), List.of(), false,
                        1, "without a run"),
                new Case("204", List.of(Fault.answer(204, "")), List.of(), false, 1, "without a run"),
                new Case("a redirect", List.of(Fault.answer(302, "", "Location", "/login")), List.of(), false, 1, "302"),
                new Case("400", List.of(Fault.answer(400, "{\"detail\":\"bad\"}")), List.of(), false, 1, "400"),
                new Case("401", List.of(Fault.answer(401, "")), List.of(), false, 1, "401"),
                new Case("404", List.of(Fault.answer(404, "")), List.of(), false, 1, "404"),
                new Case("500", List.of(Fault.answer(500, HTML)), List.of(), false, 1, "500"),
                new Case("the login is busy",
                        List.of(Fault.answer(503, "", "Retry-After", "0"), Fault.answer(429, "")),
                        List.of("asyncengine.authentication", "login"), true, 1, ""),
                new Case("the login is refused", List.of(Fault.answer(401, "")),
                        List.of("asyncengine.authentication", "login"), false, 0, "no token"),
                new Case("the token has expired",
                        List.of((engine, exchange, seen) -> false, Fault.answer(401, "")),
                        List.of("asyncengine.authentication", "login"), true, 2, ""));
        return forms().flatMap(form -> cases.stream().map(one -> Arguments.of(form, one)));
    }

    @ParameterizedTest(name = "{0}: {1}")
    @MethodSource("table")
    void aFaultEndsInOneRunOrInAnError(Form form, Case one) throws Exception {
        engine.faults.addAll(one.faults());
        try (Application application = application(form, null, one.properties().toArray(String[]::new))) {
            Exchange called = assertTimeoutPreemptively(BOUND, () -> call(application, "{\"n\":1}"));

            if (one.heals()) {
                assertNull(called.getException());
                String id = called.getMessage().getHeader(Engine.CORRELATION_ID, String.class);
                assertEquals(1, engine.runs.size());
                assertTrue(engine.runs.containsKey(id));
            } else {
                AsyncEngineException error = assertInstanceOf(AsyncEngineException.class, called.getException());
                assertTrue(error.getMessage().contains(one.error()), error.getMessage());
                assertNull(called.getMessage().getHeader(Engine.CORRELATION_ID));
                assertEquals("{\"n\":1}", called.getMessage().getBody());
                assertNotNull(error.getProblemDocument());
                assertTrue(error.getHttpStatus() >= 400);
            }
            assertEquals(engine.keys().isEmpty() ? 0 : 1, engine.keys().stream().distinct().count());
            if (one.starts() >= 0) {
                assertEquals(one.starts(), engine.starts().size());
            }
        }
    }

    @ParameterizedTest
    @MethodSource("forms")
    void aRunThatFailsIsAnErrorThatSaysWhy(Form form) throws Exception {
        try (Application application = application(form, null)) {
            Exchange called = application.call("bad", "{}");

            Exchange awaited = application.awaiting(called);

            RunFailedException error = assertInstanceOf(RunFailedException.class, awaited.getException());
            assertTrue(error.getMessage().contains("no luck"), error.getMessage());
            assertEquals("FAILED", error.getStatus());
        }
    }

    @ParameterizedTest
    @MethodSource("forms")
    void waitingIsBoundedThoughTheEngineIsAway(Form form) throws Exception {
        try (Application application =
                application(form, null, "asyncengine.awaitTimeout", "500", "asyncengine.retryDelay", "50")) {
            Exchange called = call(application, "{}");
            engine.close();

            Exchange awaited = assertTimeoutPreemptively(BOUND, () -> application.awaiting(called));

            Exception error = assertInstanceOf(RunTimeoutException.class, awaited.getException());
            assertTrue(error.getMessage().contains("500 ms"), error.getMessage());
        }
    }

    @ParameterizedTest
    @MethodSource("forms")
    void waitingGoesOnAfterFaults(Form form) throws Exception {
        try (Application application = application(form, null, "asyncengine.responseTimeout", "2000")) {
            Exchange called = call(application, "{\"n\":1}");
            engine.faults.addAll(List.of(Fault.answer(502, ""), Fault.answer(503, "", "Retry-After", "0"),
                    (engine, exchange, seen) -> Fault.answer(200, "{\"status\":\"RUNNING\"}").happens(engine, exchange, seen)));

            Exchange awaited = application.awaiting(called);

            assertNull(awaited.getException());
            assertEquals("{\"n\":1}", awaited.getMessage().getBody());
        }
    }

    @ParameterizedTest
    @MethodSource("forms")
    void aBodyOfTenMegabytesIsSentWhole(Form form, @TempDir Path folder) throws Exception {
        String body = "{\"text\":\"" + "ü".repeat(5 * 1024 * 1024) + "\"}";
        Path file = Files.writeString(folder.resolve("large.json"), body);
        try (Application application = application(form, null)) {
            for (Object sent : List.of(body, file.toFile(), Files.newInputStream(file))) {
                assertNull(call(application, sent).getException());
            }
        }
        assertEquals(3, engine.starts().size());
        engine.starts().forEach(seen -> assertEquals(body.length(), seen.body().length()));
    }

    @ParameterizedTest
    @MethodSource("forms")
    void aBodyThatIsTooLargeFailsAtOnceAndSaysWhy(Form form) throws Exception {
        engine.faults.add(Fault.answer(413, "{\"type\":\"payload-too-large\",\"title\":\"too large\"}"));
        try (Application application = application(form, null)) {
            AsyncEngineException error =
                    assertInstanceOf(AsyncEngineException.class, call(application, "x".repeat(10_000_000)).getException());

            assertEquals(413, error.getHttpStatus());
            assertTrue(error.getMessage().contains("payload-too-large"), error.getMessage());
        }
        assertEquals(1, engine.starts().size());
    }

    @ParameterizedTest
    @MethodSource("forms")
    void aStartWhoseAnswersAreLostIsNotCalledUnstarted(Form form) throws Exception {
        for (int n = 0; n < 100; n++) {
            engine.faults.add(Fault.lost());
        }
        try (Application application = application(form, null, "asyncengine.startTimeout", "2000")) {
            Exception error = call(application, "{}").getException();

            assertTrue(error.getMessage().startsWith("It is not known whether flow f was started"), error.getMessage());
        }
        assertEquals(1, engine.runs.size());
    }

    @ParameterizedTest
    @MethodSource("forms")
    void anEngineThatRefusesInTheEndHasNotStartedIt(Form form) throws Exception {
        engine.faults.add((engine, exchange, seen) -> {
            throw new java.io.IOException("broken on purpose");
        });
        engine.faults.add(Fault.answer(400, "{\"type\":\"invalid-payload\",\"detail\":\"no\"}"));
        try (Application application = application(form, null)) {
            Exception error = call(application, "{}").getException();

            assertTrue(error.getMessage().startsWith("Flow f was not started"), error.getMessage());
        }
    }

    @ParameterizedTest
    @MethodSource("forms")
    void thereIsATryShortlyBeforeTheTimeIsOver(Form form) throws Exception {
        engine.faults.add(Fault.answer(503, ""));
        try (Application application = application(form, null, "asyncengine.startTimeout", "6000",
                "asyncengine.retryDelay", "600000")) {
            assertNull(call(application, "{}").getException());
        }
        assertEquals(2, engine.starts().size());
    }
}
