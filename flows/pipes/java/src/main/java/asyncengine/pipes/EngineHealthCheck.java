package asyncengine.pipes;

import java.util.Map;
import org.apache.camel.health.HealthCheckResultBuilder;
import org.apache.camel.impl.health.AbstractHealthCheck;

/** Whether the engine of a component is ready for starts, for Camel's own health checks. */
final class EngineHealthCheck extends AbstractHealthCheck {

    private final AsyncEngineComponent component;

    EngineHealthCheck(AsyncEngineComponent component) {
        super("asyncengine", id(component.getConfiguration().getUrl()));
        this.component = component;
    }

    private static String id(String url) {
        return url == null ? "asyncengine" : "asyncengine-" + url;
    }

    @Override
    public boolean isLiveness() {
        return false;
    }

    @Override
    protected void doCall(HealthCheckResultBuilder result, Map<String, Object> options) {
        EngineHealth health = component.health();
        result.state(health.isUp() ? State.UP : State.DOWN)
                .message(health.message())
                .detail("url", health.url());
    }
}
