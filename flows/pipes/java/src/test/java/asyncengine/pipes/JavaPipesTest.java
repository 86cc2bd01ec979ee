package asyncengine.pipes;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Path;
import java.util.Map;
import javax.tools.ToolProvider;
import org.apache.camel.Exchange;
import org.apache.camel.builder.RouteBuilder;
import org.apache.camel.main.Main;
import org.junit.jupiter.api.Test;

class JavaPipesTest extends PipesContract {

    @Override
    Form form() {
        return Form.JAVA;
    }

    @Override
    void addSnippet(Main main) throws Exception {
        String source = Engine.DIRECTORY.resolve("Snippet.java").toString();
        String classpath = System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
        int code = ToolProvider.getSystemJavaCompiler()
                .run(null, null, null, "-encoding", "UTF-8", "-classpath", classpath, source);
        assertEquals(0, code, "the snippet does not compile");
        URL[] folder = {Engine.DIRECTORY.toUri().toURL()};
        ClassLoader loader = new URLClassLoader(folder, getClass().getClassLoader());
        Class<?> snippet = loader.loadClass("Snippet");
        main.configure().addRoutesBuilder((RouteBuilder) snippet.getDeclaredConstructor().newInstance());
    }

    @Test
    void aRefusalSaysInItsMessageWhatIsWrong() throws Exception {
        try (Application application = new Application(this::addPipes, Map.of(
                "asyncengine.url", Engine.URL + "/",
                "asyncengine.username", "clerk",
                "asyncengine.password", Engine.property("clerk.password"),
                "asyncengine.retries", "0"))) {
            Engine.pause("full-java-said");
            application.call("full-java-said", "{}");

            Exception error = application.call("full-java-said", "{}").getException();

            AsyncEngineException refusal = assertInstanceOf(AsyncEngineException.class, error);
            assertTrue(refusal.getMessage().contains("Flow full-java-said was not started"), refusal.getMessage());
            assertTrue(refusal.getMessage().contains("queue-full"), refusal.getMessage());
            assertEquals("queue-full", refusal.getProblemType());
            assertEquals(refusal.getStatusCode(), ((Number) refusal.getProblem().get("status")).intValue());
            // The queue is paused.
            assertTrue(refusal.getRetryAfter().toSeconds() >= 60, refusal.getRetryAfter().toString());
        }
    }

    @Test
    void aFailedRunComesWithItsTrace() throws Exception {
        try (Application application = new Application(this::addPipes, Map.of(
                "asyncengine.url", Engine.URL,
                "asyncengine.username", "clerk",
                "asyncengine.password", Engine.property("clerk.password")))) {
            Exchange called = application.call("bad", "{}");

            RunFailedException error = assertThrows(RunFailedException.class, () -> application.await(called));

            assertEquals("FAILED", error.getStatus());
            assertEquals(called.getMessage().getHeader(Engine.CORRELATION_ID), error.getCorrelationId());
            assertEquals("bad", Engine.read(error.getRun()).at("/steps/0/scriptName").asText());
        }
    }

    @Test
    void aPropertyThatIsWrongIsNamedAtTheStart() {
        Map<String, String> wrong = Map.of("asyncengine.authentication", "kerberos");

        Exception error = assertThrows(Exception.class, () -> new Application(this::addPipes, wrong).close());

        assertTrue(error.toString().contains("asyncengine.authentication"), error.toString());
    }
}
