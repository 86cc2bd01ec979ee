package asyncengine.pipes;

import static asyncengine.pipes.AsyncEngineRoutes.CORRELATION_ID;
import static asyncengine.pipes.AsyncEngineRoutes.FLOW_NAME;
import static asyncengine.pipes.AsyncEngineRoutes.IDEMPOTENCY_KEY;
import static asyncengine.pipes.AsyncEngineRoutes.IDEMPOTENCY_KEY_HEADER;

import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.UUID;
import org.apache.camel.Exchange;
import org.apache.camel.ExchangePropertyKey;
import org.apache.camel.Message;
import org.apache.camel.Processor;

/** Starts the flow of the exchange property flowName with the body of the message. */
class StartFlow implements Processor {

    /** A key that was made here stays until the start has succeeded: a redelivery needs it. */
    private static final String MADE_KEY = "CamelAsyncEngineIdempotencyKey";

    /** Which start it was made for: the parts of a split have the properties too. */
    private static final String MADE_KEY_OF = "CamelAsyncEngineIdempotencyKeyOf";

    private final AsyncEngine engine;

    StartFlow(AsyncEngine engine) {
        this.engine = engine;
    }

    @Override
    public void process(Exchange exchange) throws Exception {
        Message message = exchange.getMessage();
        message.removeHeader(CORRELATION_ID);
        exchange.removeProperty(CORRELATION_ID);
        String flowName = flowName(exchange);
        byte[] payload = Payload.of(message);

        String path = "/async/api/start?flowName=" + URLEncoder.encode(flowName, StandardCharsets.UTF_8);
        String action = "Flow " + flowName + " was not started";
        Answer answer = engine.post(action, path, payload, idempotencyKey(exchange));

        exchange.removeProperty(MADE_KEY);
        String correlationId = answer.json().getString("correlationId");
        exchange.setProperty(CORRELATION_ID, correlationId);
        message.setHeader(CORRELATION_ID, correlationId);
        message.setBody(answer.body());
    }

    private static String flowName(Exchange exchange) {
        String name = exchange.getProperty(FLOW_NAME, String.class);
        if (name == null || name.isBlank()) {
            throw new IllegalArgumentException("The exchange property flowName is not set");
        }
        return name;
    }

    private static String idempotencyKey(Exchange exchange) {
        String key = exchange.getProperty(IDEMPOTENCY_KEY, String.class);
        if (key == null && !isPart(exchange)) {
            key = exchange.getMessage().getHeader(IDEMPOTENCY_KEY_HEADER, String.class);
        }
        return key == null ? madeKey(exchange) : key;
    }

    /**
     * Says whether a message may be one of several that came of one. The header names one start:
     * with it the parts would become one run, or be refused.
     */
    private static boolean isPart(Exchange exchange) {
        return exchange.getProperty(ExchangePropertyKey.SPLIT_INDEX) != null
                || exchange.getProperty(ExchangePropertyKey.LOOP_INDEX) != null
                || exchange.getProperty(ExchangePropertyKey.MULTICAST_INDEX) != null;
    }

    private static String madeKey(Exchange exchange) {
        String part = exchange.getExchangeId() + "/" + exchange.getProperty(ExchangePropertyKey.LOOP_INDEX);
        String key = exchange.getProperty(MADE_KEY, String.class);
        if (key == null || !part.equals(exchange.getProperty(MADE_KEY_OF))) {
            key = UUID.randomUUID().toString();
            exchange.setProperty(MADE_KEY, key);
            exchange.setProperty(MADE_KEY_OF, part);
        }
        return key;
    }
}
