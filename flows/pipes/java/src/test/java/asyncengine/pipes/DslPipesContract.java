package asyncengine.pipes;

import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.file.Path;
import org.apache.camel.http.base.HttpOperationFailedException;
import org.apache.camel.main.Main;
import org.junit.jupiter.api.Test;

/** One file with the pipes in an application that knows nothing else of ours. */
abstract class DslPipesContract extends PipesContract {

    @Override
    void addPipes(Main main) {
        main.configure().withRoutesIncludePattern("file:../async-engine.camel." + language());
    }

    @Override
    void addSnippet(Main main) {
        String pipes = main.configure().getRoutesIncludePattern();
        Path snippet = Engine.DIRECTORY.resolve("snippet." + language());
        main.configure().withRoutesIncludePattern(pipes + ",file:" + snippet);
    }

    @Override
    int statusOf(Exception refusal) {
        return assertInstanceOf(HttpOperationFailedException.class, refusal).getStatusCode();
    }

    @Override
    String problemOf(Exception refusal) {
        return assertInstanceOf(HttpOperationFailedException.class, refusal).getResponseBody();
    }

    @Test
    void theApplicationHasNoClassOfOurs() {
        assertThrows(ClassNotFoundException.class, () -> Class.forName("asyncengine.pipes.AsyncEngineRoutes"));
    }
}
