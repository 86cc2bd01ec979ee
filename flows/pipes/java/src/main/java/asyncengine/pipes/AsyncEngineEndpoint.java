package asyncengine.pipes;

import org.apache.camel.Category;
import org.apache.camel.Consumer;
import org.apache.camel.Expression;
import org.apache.camel.Processor;
import org.apache.camel.Producer;
import org.apache.camel.spi.Metadata;
import org.apache.camel.spi.UriEndpoint;
import org.apache.camel.spi.UriParam;
import org.apache.camel.spi.UriPath;
import org.apache.camel.support.DefaultEndpoint;
import org.apache.camel.support.SynchronousDelegateProducer;

/** Start flows of an Async Engine, and wait for their results. */
@UriEndpoint(
        firstVersion = "0.2.0",
        scheme = "asyncengine",
        title = "Async Engine",
        syntax = "asyncengine:flowName",
        producerOnly = true,
        category = {Category.WORKFLOW},
        headersClass = AsyncEngineConstants.class)
public class AsyncEngineEndpoint extends DefaultEndpoint {

    /** What an endpoint does with a message. */
    public enum Operation {
        start,
        await
    }

    @UriPath
    @Metadata(description = "The flow to start. Without it the exchange property flowName names the flow.")
    private String flowName;

    @UriParam(defaultValue = "start")
    @Metadata(description = "start: start a flow with the body."
            + " await: wait for the run of CamelAsyncEngineCorrelationId.")
    private Operation operation = Operation.start;

    @UriParam
    @Metadata(description = "Whether to wait for the run and make its result the body.")
    private boolean await;

    @UriParam
    @Metadata(description = "Whether the body is many payloads: an iterator, or a stream of lines of JSON.")
    private boolean batch;

    @UriParam
    @Metadata(description = "An expression in the Simple language: the name of the start, the same whenever"
            + " the same message comes again. Without it the exchange property idempotencyKey is used,"
            + " and without that a key is made for each call.")
    private String idempotencyKey;

    @UriParam(label = "advanced")
    @Metadata(description = "Whether the calling thread waits, instead of being free meanwhile.")
    private boolean synchronous;

    @UriParam
    private AsyncEngineConfiguration configuration;

    private Expression keyExpression;

    public AsyncEngineEndpoint() {}

    AsyncEngineEndpoint(String uri, AsyncEngineComponent component, AsyncEngineConfiguration configuration) {
        super(uri, component);
        this.configuration = configuration;
    }

    @Override
    public Producer createProducer() throws Exception {
        Producer producer = new AsyncEngineProducer(this);
        return isSynchronous() ? new SynchronousDelegateProducer(producer) : producer;
    }

    @Override
    public Consumer createConsumer(Processor processor) {
        throw new UnsupportedOperationException("Messages can be sent to an asyncengine endpoint only");
    }

    @Override
    public AsyncEngineComponent getComponent() {
        return (AsyncEngineComponent) super.getComponent();
    }

    @Override
    protected void doInit() throws Exception {
        super.doInit();
        if (batch && (await || operation == Operation.await)) {
            throw new IllegalArgumentException("batch=true and waiting for a run exclude each other");
        }
        if (batch && idempotencyKey != null) {
            throw new IllegalArgumentException("idempotencyKey names one start, not a batch");
        }
        if (idempotencyKey != null) {
            keyExpression = getCamelContext().resolveLanguage("simple").createExpression(idempotencyKey);
            keyExpression.init(getCamelContext());
        }
    }

    /** The expression of idempotencyKey, null without one. */
    Expression keyExpression() {
        return keyExpression;
    }

    public String getFlowName() {
        return flowName;
    }

    public void setFlowName(String flowName) {
        this.flowName = flowName;
    }

    public Operation getOperation() {
        return operation;
    }

    public void setOperation(Operation operation) {
        this.operation = operation;
    }

    public boolean isAwait() {
        return await;
    }

    public void setAwait(boolean await) {
        this.await = await;
    }

    public boolean isBatch() {
        return batch;
    }

    public void setBatch(boolean batch) {
        this.batch = batch;
    }

    public String getIdempotencyKey() {
        return idempotencyKey;
    }

    public void setIdempotencyKey(String idempotencyKey) {
        this.idempotencyKey = idempotencyKey;
    }

    public AsyncEngineConfiguration getConfiguration() {
        return configuration;
    }

    public void setConfiguration(AsyncEngineConfiguration configuration) {
        this.configuration = configuration;
    }

    public boolean isSynchronous() {
        return synchronous;
    }

    public void setSynchronous(boolean synchronous) {
        this.synchronous = synchronous;
    }
}
