package asyncengine.pipes;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayInputStream;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.LocalDate;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import org.apache.camel.CamelContext;
import org.apache.camel.Exchange;
import org.apache.camel.component.file.GenericFile;
import org.apache.camel.impl.DefaultCamelContext;
import org.apache.camel.support.DefaultExchange;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What is sent for a body, with and without Jackson. */
class BodiesTest {

    enum Colour {
        RED {
            @Override
            public String toString() {
                return "red!";
            }
        }
    }

    record Point(int x, UUID id, LocalDate day) {}

    private static final UUID ID = UUID.fromString("00000000-0000-0000-0000-000000000001");
    private static final ObjectMapper JSON = new ObjectMapper();

    private final CamelContext context = new DefaultCamelContext();

    @AfterEach
    void stop() {
        context.stop();
    }

    private Exchange exchange(Object body) {
        Exchange exchange = new DefaultExchange(context);
        exchange.getMessage().setBody(body);
        return exchange;
    }

    private static String text(Exchange exchange) throws Exception {
        return new String(Payload.of(exchange), StandardCharsets.UTF_8);
    }

    private static Map<String, Object> everything() {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("enum", Colour.RED);
        map.put("keys", Map.of(1, "one"));
        map.put("date", LocalDate.of(2026, 1, 2));
        map.put("instant", Instant.parse("2026-01-02T03:04:05Z"));
        map.put("uuid", ID);
        map.put("record", new Point(1, ID, LocalDate.of(2026, 1, 2)));
        map.put("array", new int[] {1, 2});
        map.put("text", "ü\"\\\u0001");
        map.put("nothing", null);
        return map;
    }

    private static final String EXPECTED = "{\"enum\":\"RED\",\"keys\":{\"1\":\"one\"},\"date\":\"2026-01-02\","
            + "\"instant\":\"2026-01-02T03:04:05Z\",\"uuid\":\"" + ID + "\",\"record\":{\"x\":1,\"id\":\"" + ID
            + "\",\"day\":\"2026-01-02\"},\"array\":[1,2],\"text\":\"ü\\\"\\\\\\u0001\",\"nothing\":null}";

    @Test
    void objectsAreTheSameJsonWithAndWithoutJackson() throws Exception {
        String withJackson = text(exchange(everything()));
        String without = PlainBody.of(everything());

        assertEquals(JSON.readTree(EXPECTED), JSON.readTree(withJackson));
        assertEquals(JSON.readTree(EXPECTED), JSON.readTree(without));
        assertEquals("{\"a\":1}", PlainBody.of(Map.of("a", Optional.of(1))));
    }

    @Test
    void whatHasNoFormInJsonIsAnErrorThatNamesThePlace() {
        Map<String, Object> cycle = new HashMap<>();
        cycle.put("again", cycle);
        List<Map<String, Object>> bodies =
                List.of(Map.of("a", List.of(1, Double.NaN)), Map.of("a", List.of(1, new Object())));
        for (Map<String, Object> body : bodies) {
            for (String writer : List.of("jackson", "plain")) {
                Exception error = org.junit.jupiter.api.Assertions.assertThrows(
                        IllegalArgumentException.class,
                        () -> { if (writer.equals("plain")) PlainBody.of(body); else Payload.of(exchange(body)); });

                assertTrue(error.getMessage().contains("$.a[1]"), error.getMessage());
            }
        }
        org.junit.jupiter.api.Assertions.assertThrows(IllegalArgumentException.class, () -> PlainBody.of(cycle));
        org.junit.jupiter.api.Assertions.assertThrows(IllegalArgumentException.class, () -> Payload.of(exchange(cycle)));
    }

    @Test
    void bytesAreReadInTheirCharset(@TempDir Path folder) throws Exception {
        byte[] latin = "{\"a\":\"ü\"}".getBytes(StandardCharsets.ISO_8859_1);
        Path file = Files.write(folder.resolve("f.json"), latin);
        GenericFile<java.io.File> wrapped = new GenericFile<>();
        wrapped.setFile(file.toFile());
        wrapped.setCharset("ISO-8859-1");

        Exchange byProperty = exchange(latin);
        byProperty.setProperty(Exchange.CHARSET_NAME, "ISO-8859-1");
        Exchange byType = exchange(new ByteArrayInputStream(latin));
        byType.getMessage().setHeader(Exchange.CONTENT_TYPE, "application/json; charset=\"iso-8859-1\"");

        for (Exchange one : List.of(byProperty, byType, exchange(wrapped), exchange(new StringReader("{\"a\":\"ü\"}")),
                exchange("{\"a\":\"ü\"}"), exchange("\uFEFF{\"a\":\"ü\"}".getBytes(StandardCharsets.UTF_8)))) {
            assertEquals("{\"a\":\"ü\"}", text(one));
        }
    }

    @Test
    void aReaderKeepsCharactersThatTheCharsetOfTheMessageDoesNotHave() throws Exception {
        Exchange exchange = exchange(new StringReader("\uFEFF{\"a\":\"€\"}"));
        exchange.getMessage().setHeader(Exchange.CONTENT_TYPE, "application/json; charset=iso-8859-1");

        assertEquals("{\"a\":\"€\"}", text(exchange));
        assertEquals("{\"a\":\"€\"}", text(exchange));
    }

    @Test
    void aStreamCanBeReadAgain() throws Exception {
        Exchange exchange = exchange(new ByteArrayInputStream("{}".getBytes(StandardCharsets.UTF_8)));

        assertEquals("{}", text(exchange));
        assertEquals("{}", text(exchange));
        assertEquals("{}", exchange.getMessage().getBody(String.class));
        assertEquals("{}", text(exchange(null)));
    }

    @Test
    void halfACharacterIsAnErrorThatNamesItsPlace() throws Exception {
        for (String half : List.of("\uD83D", "\uDE00", "\uD83Dx", "\uDE00\uD83D")) {
            String json = "{\"text\":\"" + half + "\"}";

            IllegalArgumentException error = assertThrows(IllegalArgumentException.class, () -> text(exchange(json)));

            assertTrue(error.getMessage().contains("lone surrogate, which is no character, at 9"), error.getMessage());
        }
        assertEquals("{\"text\":\"\uD83D\uDE00\"}", text(exchange("{\"text\":\"\uD83D\uDE00\"}")));
    }
}
