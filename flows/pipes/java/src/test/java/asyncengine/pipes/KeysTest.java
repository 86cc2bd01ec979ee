package asyncengine.pipes;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import org.apache.camel.Exchange;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class KeysTest extends ComponentContract {

    @ParameterizedTest
    @MethodSource("forms")
    void keysOfAnyCharactersStayDifferent(Form form) throws Exception {
        List<String> keys = List.of("Müller.csv:1", "Möller.csv:1", "M?ller.csv:1", "M%C3%BCller.csv:1", "日本:1", "日木:1",
                " a", "a", "a ", "a,b", "a\tb", "a\u0000b", "x".repeat(300), "x".repeat(299) + "y", "\uD800", "\uD801");
        try (Application application = application(form, null)) {
            for (String key : keys) {
                Exchange called = application.send("direct:callAsyncEngine", exchange -> {
                    exchange.setProperty("flowName", "f");
                    exchange.setProperty("idempotencyKey", key);
                    exchange.getMessage().setBody("{}");
                });
                assertNull(called.getException());
            }
            assertEquals(keys.size(), new HashSet<>(engine.keys()).size());
            assertEquals(keys.size(), engine.runs.size());
            engine.keys().forEach(key -> assertTrue(key.matches("[!-~&&[^,]]([ -~&&[^,]]{0,253}[!-~&&[^,]])?"), key));
        }
    }

    @Test
    void anAsciiKeyIsSentAsItIs() {
        assertEquals("orders.csv:17 of 20", IdempotencyKey.of("orders.csv:17 of 20"));
    }

    @Test
    void noTwoTextsAreOneKey() {
        Random random = new Random(7);
        String letters = "aü%,~u2C \uD83D\uDE00x";
        Set<String> texts = new HashSet<>();
        Set<String> keys = new HashSet<>();
        for (int n = 0; n < 20_000; n++) {
            StringBuilder text = new StringBuilder();
            int length = 1 + random.nextInt(random.nextInt(10) == 0 ? 300 : 5);
            for (int i = 0; i < length; i++) {
                text.append(letters.charAt(random.nextInt(letters.length())));
            }
            texts.add(text.toString());
            keys.add(IdempotencyKey.of(text.toString()));
        }
        assertEquals(texts.size(), keys.size());
    }

    @Test
    void anExpressionNamesTheStart() throws Exception {
        var routes = routes(route -> route.from("direct:in")
                .split(route.body()).to("asyncengine:f?idempotencyKey=${header.file}:${exchangeProperty.CamelSplitIndex}")
                .end());
        try (Application application = application(Form.JAVA, routes)) {
            for (int times = 0; times < 2; times++) {
                Exchange called = application.send("direct:in", exchange -> {
                    exchange.getMessage().setHeader("file", "Müller.csv");
                    exchange.getMessage().setBody(List.of("{}", "{}"));
                });
                assertNull(called.getException());
            }
            assertEquals(Set.of("M%C3%BCller.csv:0", "M%C3%BCller.csv:1"), new HashSet<>(engine.keys()));
            assertEquals(2, engine.runs.size());
        }
    }

    @Test
    void aRedeliveryOfACallThatWaitsWaitsForTheSameRun() throws Exception {
        var routes = routes(route -> {
            route.errorHandler(route.defaultErrorHandler().maximumRedeliveries(1).redeliveryDelay(1));
            route.from("direct:in").to("asyncengine:f?await=true").to("asyncengine:f?await=true");
        });
        engine.faults.addAll(List.of((engine, exchange, seen) -> false, StubEngine.Fault.answer(404, "")));
        try (Application application = application(Form.JAVA, routes)) {
            Exchange called = application.send("direct:in", exchange -> exchange.getMessage().setBody("{\"n\":1}"));

            assertNull(called.getException());
            assertEquals("{\"n\":1}", called.getMessage().getBody());
            List<String> keys = engine.keys();
            assertEquals(3, keys.size());
            assertEquals(keys.get(0), keys.get(1));
            assertNotEquals(keys.get(1), keys.get(2));
            assertEquals(2, engine.runs.size());
        }
    }

    @Test
    void anExpressionThatGivesNothingIsAnError() throws Exception {
        var routes = routes(route -> route.from("direct:in").to("asyncengine:f?idempotencyKey=${header.missing}"));
        try (Application application = application(Form.JAVA, routes)) {
            Exchange called = application.send("direct:in", exchange -> exchange.getMessage().setBody("{}"));

            Exception error = assertInstanceOf(IllegalArgumentException.class, called.getException());
            assertTrue(error.getMessage().contains("header.missing"), error.getMessage());
            assertEquals(List.of(), engine.seen);
        }
    }
}
