package asyncengine.pipes;

import org.apache.camel.builder.RouteBuilder;

/**
 * The routes {@code direct:callAsyncEngine} and {@code direct:awaitAsyncEngine}: two names for the
 * component {@code asyncengine}.
 *
 * <p>They have no error handler of their own, so what goes wrong reaches that of the calling route.
 */
public class AsyncEngineRoutes extends RouteBuilder {

    /** The exchange property with the name of the flow to start. */
    public static final String FLOW_NAME = AsyncEngineConstants.FLOW_NAME;

    /** The header and exchange property with the id of the run that was started. */
    public static final String CORRELATION_ID = AsyncEngineConstants.CORRELATION_ID;

    /** The exchange property with the start's idempotency key. */
    public static final String IDEMPOTENCY_KEY = AsyncEngineConstants.IDEMPOTENCY_KEY;

    /** The header of the message that is part of the key where keyFromHeader is true. */
    public static final String IDEMPOTENCY_KEY_HEADER = AsyncEngineConstants.IDEMPOTENCY_KEY_HEADER;

    @Override
    public void configure() {
        from("direct:callAsyncEngine")
                .routeId("callAsyncEngine")
                .errorHandler(noErrorHandler())
                .to("asyncengine:?operation=start");

        from("direct:awaitAsyncEngine")
                .routeId("awaitAsyncEngine")
                .errorHandler(noErrorHandler())
                .to("asyncengine:?operation=await");
    }
}
