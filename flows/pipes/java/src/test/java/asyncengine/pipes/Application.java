package asyncengine.pipes;

import java.util.Map;
import java.util.function.Consumer;
import org.apache.camel.CamelContext;
import org.apache.camel.Exchange;
import org.apache.camel.ExchangePattern;
import org.apache.camel.ProducerTemplate;
import org.apache.camel.builder.RouteBuilder;
import org.apache.camel.main.Main;
import org.apache.camel.support.DefaultExchange;

/** A Camel application with the pipes, as its users write one. */
final class Application implements AutoCloseable {

    private final Main main = new Main();
    private final ProducerTemplate template;

    Application(Consumer<Main> pipes, Map<String, String> properties, RouteBuilder... routes)
            throws Exception {
        pipes.accept(main);
        properties.forEach(main::addInitialProperty);
        for (RouteBuilder builder : routes) {
            main.configure().addRoutesBuilder(builder);
        }
        main.start();
        template = main.getCamelTemplate();
    }

    /** Sends an exchange; what goes wrong is in it. */
    Exchange send(String uri, Consumer<Exchange> prepare) {
        Exchange exchange = new DefaultExchange(main.getCamelContext(), ExchangePattern.InOut);
        prepare.accept(exchange);
        return template.send(uri, exchange);
    }

    /** Calls the pipe for a flow; what goes wrong is in the exchange. */
    Exchange call(String flowName, Object body) {
        return send("direct:callAsyncEngine", exchange -> {
            exchange.setProperty("flowName", flowName);
            exchange.getMessage().setBody(body);
        });
    }

    /** Waits for the run of an exchange and returns its result; throws what goes wrong. */
    String await(Exchange called) throws Exception {
        Exchange awaited = awaiting(called);
        if (awaited.getException() != null) {
            throw awaited.getException();
        }
        return awaited.getMessage().getBody(String.class);
    }

    /** Waits for the run of an exchange; what goes wrong is in the exchange. */
    Exchange awaiting(Exchange called) {
        return send("direct:awaitAsyncEngine", exchange -> exchange.getMessage()
                .setHeader(Engine.CORRELATION_ID, called.getMessage().getHeader(Engine.CORRELATION_ID)));
    }

    CamelContext context() {
        return main.getCamelContext();
    }

    ProducerTemplate template() {
        return template;
    }

    @Override
    public void close() {
        main.stop();
    }
}
