package asyncengine.pipes;

import org.apache.camel.builder.RouteBuilder;
import org.apache.camel.main.Main;

/** Starts the flow "lines" for each line of the files in a folder. A file is moved when all are started. */
public final class LinesApplication extends RouteBuilder {

    private final String folder;

    private LinesApplication(String folder) {
        this.folder = folder;
    }

    public static void main(String... args) throws Exception {
        Main main = new Main();
        main.configure().addRoutesBuilder(new LinesApplication(args[0]));
        main.run();
    }

    @Override
    public void configure() {
        from("file:" + folder + "?initialDelay=0&delay=200")
                .split(body().tokenize("\n"))
                .streaming()
                .parallelProcessing()
                .stopOnException()
                .to("asyncengine:lines?idempotencyKey=${header.CamelFileName}:${exchangeProperty.CamelSplitIndex}")
                .end();
    }
}
