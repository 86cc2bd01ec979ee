package asyncengine.pipes.springboot;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpServer;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.apache.camel.Exchange;
import org.apache.camel.ProducerTemplate;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.springframework.boot.actuate.health.HealthIndicator;
import org.springframework.boot.actuate.health.Status;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.context.ConfigurableApplicationContext;

class StarterTest {

    @SpringBootApplication
    static class Application {}

    private final List<String> credentials = Collections.synchronizedList(new ArrayList<>());
    private HttpServer engine;

    @BeforeEach
    void startEngine() throws Exception {
        engine = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        engine.createContext("/", exchange -> {
            exchange.getRequestBody().readAllBytes();
            boolean isStart = exchange.getRequestURI().getPath().equals("/async/api/start");
            if (isStart) {
                credentials.add(exchange.getRequestHeaders().getFirst("Authorization"));
            }
            byte[] answer = "{\"correlationId\":\"019a\",\"status\":\"QUEUED\"}".getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(isStart ? 202 : 200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        engine.start();
    }

    @AfterEach
    void stopEngine() {
        engine.stop(0);
    }

    private ConfigurableApplicationContext application(String... properties) {
        return new SpringApplicationBuilder(Application.class)
                .properties("asyncengine.url=http://127.0.0.1:" + engine.getAddress().getPort())
                .properties(properties)
                .properties("logging.level.root=warn")
                .run();
    }

    @Test
    void theRoutesAreThereAndConfigured() {
        try (ConfigurableApplicationContext application =
                application("asyncengine.token=secret", "asyncengine.start-timeout=5s")) {
            ProducerTemplate template = application.getBean(ProducerTemplate.class);

            Exchange called = template.request("direct:callAsyncEngine", exchange -> {
                exchange.setProperty("flowName", "f");
                exchange.getMessage().setBody("{}");
            });

            assertEquals("019a", called.getMessage().getHeader("CamelAsyncEngineCorrelationId"));
            assertEquals(List.of("Bearer secret"), credentials);
        }
    }

    @Test
    void aMisspeltPropertyIsNamed() {
        Exception error = assertThrows(Exception.class, () -> application("asyncengine.usrname=x").close());

        StringBuilder text = new StringBuilder();
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            text.append(cause.getMessage());
        }
        assertTrue(text.toString().contains("usrname"), text.toString());
    }

    @Test
    void theActuatorKnowsTheEnginesHealth() {
        try (ConfigurableApplicationContext application = application()) {
            HealthIndicator health = application.getBean("asyncEngineHealthIndicator", HealthIndicator.class);

            assertEquals(Status.UP, health.health().getStatus());
            engine.stop(0);
            assertEquals(Status.DOWN, health.health().getStatus());
        }
    }

    @Test
    void thePropertiesHaveMetadata() throws Exception {
        try (InputStream file = AsyncEngineProperties.class.getResourceAsStream("/META-INF/spring-configuration-metadata.json")) {
            String metadata = new String(file.readAllBytes(), StandardCharsets.UTF_8);

            assertTrue(metadata.contains("asyncengine.start-timeout"), metadata);
            assertTrue(metadata.contains("with all its tries and delays"), metadata);
        }
    }

    @Test
    void theRoutesCanBeLeftOut() {
        try (ConfigurableApplicationContext application = application("asyncengine.routes=false")) {
            assertEquals(Map.of(), application.getBeansOfType(asyncengine.pipes.AsyncEngineRoutes.class));
        }
    }
}
