package asyncengine.pipes;

import org.apache.camel.builder.RouteBuilder;

/**
 * The routes {@code direct:callAsyncEngine} and {@code direct:awaitAsyncEngine}, configured by the
 * properties {@code asyncengine.*}.
 *
 * <p>They have no error handler of their own, so what goes wrong reaches that of the calling route.
 */
public class AsyncEngineRoutes extends RouteBuilder {

    /** The exchange property with the name of the flow to start. */
    public static final String FLOW_NAME = "flowName";

    /** The header and exchange property with the id of the run that was started. */
    public static final String CORRELATION_ID = "CamelAsyncEngineCorrelationId";

    /** The exchange property with the start's idempotency key; goes before the header. */
    public static final String IDEMPOTENCY_KEY = "idempotencyKey";

    /** The header of the message with the start's idempotency key. */
    public static final String IDEMPOTENCY_KEY_HEADER = "Idempotency-Key";

    @Override
    public void configure() {
        Settings settings = Settings.of(getContext());
        AsyncEngine engine = new AsyncEngine(settings, getContext());

        from("direct:callAsyncEngine")
                .routeId("callAsyncEngine")
                .errorHandler(noErrorHandler())
                .process(new StartFlow(engine));

        from("direct:awaitAsyncEngine")
                .routeId("awaitAsyncEngine")
                .errorHandler(noErrorHandler())
                .process(new AwaitRun(engine, settings));
    }
}
