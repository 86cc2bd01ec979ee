package asyncengine.pipes.springboot;

import asyncengine.pipes.AsyncEngineComponent;
import asyncengine.pipes.EngineHealth;
import org.springframework.boot.actuate.health.Health;
import org.springframework.boot.actuate.health.HealthIndicator;

/** Whether the engine is ready for starts, for the Actuator. */
class AsyncEngineHealthIndicator implements HealthIndicator {

    private final AsyncEngineComponent component;

    AsyncEngineHealthIndicator(AsyncEngineComponent component) {
        this.component = component;
    }

    @Override
    public Health health() {
        if (!component.isStarted()) {
            return Health.unknown().withDetail("message", "No route uses the component yet").build();
        }
        EngineHealth health = component.health();
        return (health.isUp() ? Health.up() : Health.down())
                .withDetail("message", health.message())
                .withDetail("url", health.url())
                .build();
    }
}
