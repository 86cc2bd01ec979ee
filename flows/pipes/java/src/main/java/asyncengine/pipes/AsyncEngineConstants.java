package asyncengine.pipes;

import org.apache.camel.spi.Metadata;

/** The names of what the component reads from an exchange and leaves there. */
public final class AsyncEngineConstants {

    /** The header and exchange property with the id of the run that was started. */
    @Metadata(label = "producer", javaType = "String",
            description = "The id of the run: set by a start, read by operation=await.")
    public static final String CORRELATION_ID = "CamelAsyncEngineCorrelationId";

    /** The header of the message that is part of the key where keyFromHeader is true. */
    @Metadata(label = "producer", javaType = "String",
            description = "A name of the message that comes from outside. Read where keyFromHeader is true.")
    public static final String IDEMPOTENCY_KEY_HEADER = "Idempotency-Key";

    /** The exchange property with the name of the flow to start. */
    public static final String FLOW_NAME = "flowName";

    /** The exchange property with the start's idempotency key. */
    public static final String IDEMPOTENCY_KEY = "idempotencyKey";

    private AsyncEngineConstants() {}
}
