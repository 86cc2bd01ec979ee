package asyncengine.pipes;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.camel.CamelContext;
import org.apache.camel.Endpoint;
import org.apache.camel.health.HealthCheckRegistry;
import org.apache.camel.spi.Metadata;
import org.apache.camel.spi.annotations.Component;
import org.apache.camel.support.HealthCheckComponent;
import org.apache.camel.support.LifecycleStrategySupport;

/** Makes the endpoints {@code asyncengine:FLOW} of one engine. */
@Component("asyncengine")
public class AsyncEngineComponent extends HealthCheckComponent {

    @Metadata(description = "The options that endpoints do not set themselves.")
    private AsyncEngineConfiguration configuration = new AsyncEngineConfiguration();

    private final MadeKeys madeKeys = new MadeKeys();
    private final Map<Settings, EngineClient> clients = new ConcurrentHashMap<>();
    private final LifecycleStrategySupport whenContextStops = new LifecycleStrategySupport() {
        @Override
        public void onContextStopping(CamelContext context) {
            if (work != null) {
                work.stopAndHandBack();
            }
        }
    };
    private Work work;
    private Counters counters = Counters.NONE;
    private EngineHealthCheck healthCheck;

    public AsyncEngineComponent() {}

    public AsyncEngineComponent(CamelContext context) {
        super(context);
    }

    @Override
    protected Endpoint createEndpoint(String uri, String remaining, Map<String, Object> parameters)
            throws Exception {
        AsyncEngineEndpoint endpoint = new AsyncEngineEndpoint(uri, this, configuration.copy());
        if (remaining != null && !remaining.isBlank()) {
            endpoint.setFlowName(remaining);
        }
        setProperties(endpoint, parameters);
        return endpoint;
    }

    @Override
    protected void doInit() throws Exception {
        super.doInit();
        Settings.warnOfUnknown(getCamelContext());
        getCamelContext().addLifecycleStrategy(whenContextStops);
    }

    @Override
    protected void doStart() throws Exception {
        super.doStart();
        work = new Work(getCamelContext(), this);
        counters = Counters.of(getCamelContext());
        HealthCheckRegistry registry = HealthCheckRegistry.get(getCamelContext());
        if (registry != null && isHealthCheckProducerEnabled()) {
            healthCheck = new EngineHealthCheck(this);
            registry.register(healthCheck);
        }
    }

    @Override
    protected void doStop() throws Exception {
        if (healthCheck != null) {
            HealthCheckRegistry.get(getCamelContext()).unregister(healthCheck);
            healthCheck = null;
        }
        clients.clear();
        if (work != null) {
            work.close();
        }
        super.doStop();
    }

    @Override
    protected void doShutdown() throws Exception {
        getCamelContext().getLifecycleStrategies().remove(whenContextStops);
        super.doShutdown();
    }

    /** The client for the options of an endpoint. Endpoints with equal options share one. */
    EngineClient client(AsyncEngineConfiguration options) {
        Settings settings = Settings.of(getCamelContext(), options);
        return clients.computeIfAbsent(settings, key -> new EngineClient(key, getCamelContext(), work, counters));
    }

    /** Asks the engine whether it is ready for starts. Takes five seconds at most. */
    public EngineHealth health() {
        return EngineHealth.of(client(configuration));
    }

    Work work() {
        return work;
    }

    Counters counters() {
        return counters;
    }

    MadeKeys madeKeys() {
        return madeKeys;
    }

    public AsyncEngineConfiguration getConfiguration() {
        return configuration;
    }

    public void setConfiguration(AsyncEngineConfiguration configuration) {
        this.configuration = configuration;
    }
}
